//! Keeps the section of the library from which `cargo pgrx install` writes the SQL script: no reference leads to it,
//! so a linker may drop it. cargo-pgrx would pass the same flag for every crate and so have all of them compiled apart
//! from those of `cargo build`, `clippy` and `test`; here it is for this library alone, and bin/lib.sh turns that off.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os != "macos") {
        println!("cargo::rustc-link-arg-cdylib=-Wl,--no-gc-sections");
    }
}
