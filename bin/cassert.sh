# shellcheck shell=bash
# A PostgreSQL with assertions, from the sources of Debian's package: its server looks at itself at every step, and at what
# extensions hand to it. Sourced after bin/lib.sh and bin/chroot.sh, whose mirror it uses. It is built once, and kept in
# build/cassert.

# shellcheck disable=SC2034,SC2153  # for the scripts, or of bin/lib.sh

# Puts the original sources of Debian's package into a folder, with package lists of its own, so that apt here stays as it
# is: fetch_sources VERSION FOLDER
fetch_sources() {
    local version=$1 folder=$2 mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg options
    mirror=$(mirror)
    [ -n "$mirror" ] || die "apt here uses no mirror of Debian" "The sources of PostgreSQL come from it."
    rm -rf "$folder"
    mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial"
    echo "deb-src $([ ! -e "$keyring" ] || echo "[signed-by=$keyring] ")$mirror $(suite_of "$version") main" >"$folder/sources.list"
    options=(-o Dir::Etc::SourceList="$folder/sources.list" -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists="$folder/lists"
        -o Dir::Cache="$folder/cache" -o Acquire::Languages=none -o APT::Sandbox::User=root
        # A mirror may be frozen at a date.
        -o Acquire::Check-Valid-Until=false -o Acquire::Check-Date=false)
    (cd "$folder" && quietly "$BUILD/log/apt.log" apt-get "${options[@]}" update &&
        quietly "$BUILD/log/apt.log" apt-get "${options[@]}" source --download-only "postgresql-$version") ||
        die "the sources could not be downloaded; apt's message is above"
}

# Sets CASSERT to a folder that has PostgreSQL with assertions at its place in the file system, which is CASSERT_PREFIX:
# need_cassert VERSION
need_cassert() {
    local version=$1 work=$BUILD/cassert/build
    CASSERT=$BUILD/cassert/$version CASSERT_PREFIX=/usr/lib/postgresql/$version-cassert
    [ ! -e "$CASSERT/.complete" ] || return 0
    say "Compiling PostgreSQL $version with assertions into ${CASSERT#"$ROOT"/}: five minutes on two cores, once"
    fetch_sources "$version" "$BUILD/cassert/sources"
    rm -rf "$work" "$CASSERT"
    mkdir -p "$work"
    tar -x -C "$work" --strip-components 1 -f "$BUILD/cassert/sources/postgresql-$version"_*.orig.tar.* ||
        die "the sources could not be unpacked"
    # What the tests do not need is left out, and so are the libraries that it would need.
    (cd "$work" && quietly "$BUILD/log/cassert.log" ./configure --prefix="$CASSERT_PREFIX" --enable-cassert --enable-debug \
        --enable-tap-tests --without-readline --without-zlib CFLAGS='-O1' &&
        quietly "$BUILD/log/cassert.log" make -s -j2 &&
        quietly "$BUILD/log/cassert.log" make -s install DESTDIR="$CASSERT" &&
        quietly "$BUILD/log/cassert.log" make -s -C contrib/amcheck install DESTDIR="$CASSERT") ||
        die "PostgreSQL could not be compiled; the compiler's message is above"
    rm -rf "$work" "$BUILD/cassert/sources"
    "$CASSERT$CASSERT_PREFIX/bin/pg_config" --configure >"$CASSERT/.complete"
}
