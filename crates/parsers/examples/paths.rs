//! Reads URLs from its input, one a line, and writes for each its host and its path with the parameters `id` and
//! `q`, with a tab between, and `-` for what there is not. `bin/measure-parsers` compares that with what a browser
//! makes of the URL.

use std::io::{self, BufRead, Write};

use site_stats_parsers::{Url, page_path};

fn main() -> io::Result<()> {
    let mut output = io::BufWriter::new(io::stdout().lock());
    for line in io::stdin().lock().lines() {
        let url = line?;
        let host = Url::split(&url).and_then(|url| url.host).unwrap_or_else(|| "-".to_owned());
        let path = page_path(&url, &["id", "q"]).unwrap_or_else(|_| "-".to_owned());
        writeln!(output, "{host}\t{path}")?;
    }
    output.flush()
}
