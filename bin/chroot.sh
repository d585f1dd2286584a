# shellcheck shell=bash
# Small Debian systems in folders (chroots). They stand for what this machine does not have: other versions of PostgreSQL
# to test with, and machines without Rust to install packages on. Sourced after bin/lib.sh. Needs root, mmdebstrap, and
# the mirror that apt uses here.
#
# A chroot is made once, kept in build/chroots, and never changed. A command in it runs on a layer of memory above it, in
# namespaces of its own. All processes that the command started end with it.

# shellcheck disable=SC2034,SC2153  # half of the names are for the scripts, or of bin/lib.sh

CHROOTS=$BUILD/chroots

# The Debian release that has a version of PostgreSQL; none has 16.
suite_of() {
    case $1 in
    15) echo bookworm ;;
    17) echo trixie ;;
    18) echo sid ;;
    *) return 1 ;;
    esac
}

need_root_for_chroots() {
    [ "$(id -u)" = 0 ] || die "this needs root: it makes small Debian systems in folders and runs commands in them" \
        "A PostgreSQL that is installed here can be tested without: make check PG_CONFIG=/path/to/pg_config"
}

need_mmdebstrap() {
    command -v mmdebstrap >/dev/null && return
    say "Installing mmdebstrap"
    quietly "$BUILD/log/apt.log" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends mmdebstrap ||
        die "mmdebstrap could not be installed; apt's message is above"
}

# The mirror of the distribution that apt uses here.
mirror() {
    # shellcheck disable=SC2016  # apt's own variables
    apt-get indextargets --format '$(SITE)|$(RELEASE)' 'Created-By: Packages' 2>/dev/null |
        sed -nE 's/^(.*[^-]debian\/?)\|.*/\1/p' | head -n 1
}

# What Debian has of the software that people use beside site_stats: tests/neighbours.
neighbours_of() {
    echo "postgresql-$1-repack,postgresql-$1-wal2json,postgresql-$1-pglogical,postgresql-$1-pgaudit,postgresql-$1-plpgsql-check,pgbouncer,pgpool2"
}

# Sets CHROOT to a system with the server of a version and nothing else; or, of the kind "tests", also with its test
# runners and headers; or, of the kind "neighbours", with the software of neighbours_of, too:
# need_chroot bare|tests|neighbours VERSION
need_chroot() {
    local kind=$1 version=$2 suite mirror options
    suite=$(suite_of "$version") || die "no Debian release has PostgreSQL $version" "There are 15, 17 and 18."
    CHROOT=$CHROOTS/$kind-$version
    [ ! -e "$CHROOT/etc/made-for-site_stats" ] || return 0
    need_mmdebstrap
    mirror=$(mirror)
    [ -n "$mirror" ] || die "apt here uses no mirror of Debian" "bin/chroot.sh makes Debian systems from it."
    say "Making a small Debian system with PostgreSQL $version ($suite) in ${CHROOT#"$ROOT"/}: one to three minutes, once"
    # shellcheck disable=SC2016  # expanded by mmdebstrap's shell
    options=(--mode=root --variant=apt --format=directory
        # A mirror may be frozen at a date.
        --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Check-Date "false"' --aptopt='APT::Sandbox::User "root"'
        --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*'
        # No cluster of its own, no port taken.
        --essential-hook='mkdir -p "$1/etc/postgresql-common" && echo "create_main_cluster = false" >"$1/etc/postgresql-common/createcluster.conf"')
    case $kind in
    bare) options+=(--include="postgresql-$version") ;;
    tests | neighbours)
        [ "$kind" = tests ] || options+=(--include="$(neighbours_of "$version")")
        # The development package depends on a compiler, which nothing here needs. So it is unpacked without.
        # shellcheck disable=SC2016  # expanded by mmdebstrap's shell
        options+=(--include="postgresql-$version,perl,libipc-run-perl,diffutils"
            --customize-hook='cd "$1/tmp" && APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get -q download postgresql-server-dev-'"$version"' libpq-dev &&
                for package in *.deb; do dpkg-deb --fsys-tarfile "$package" | tar -x -C "$1" --keep-directory-symlink --no-overwrite-dir || exit 1; done && rm -f -- *.deb')
        ;;
    *) die "\"$kind\" is not a kind of chroot" ;;
    esac
    rm -rf --one-file-system "$CHROOT" "$CHROOT.new"
    mkdir -p "$CHROOTS"
    quietly "$BUILD/log/chroot-$kind-$version.log" mmdebstrap "${options[@]}" "$suite" "$CHROOT.new" "$mirror" ||
        die "the system could not be made; mmdebstrap's message is above"
    touch "$CHROOT.new/etc/made-for-site_stats"
    mv "$CHROOT.new" "$CHROOT"
}

# A pg_config that runs here, and answers with the paths of a chroot as seen from here.
chroot_pg_config() {
    local chroot=$1 version=$2 program=$1.pg_config loader text
    loader=$(cd "$chroot" && find -H lib64 lib -maxdepth 1 -name 'ld-linux*.so.*' 2>/dev/null | head -n 1)
    text="#!/bin/sh
exec '$chroot/$loader' --library-path '$chroot/usr/lib/$(uname -m)-linux-gnu' '$chroot/usr/lib/postgresql/$version/bin/pg_config' \"\$@\""
    if [ ! -e "$program" ] || [ "$(cat "$program")" != "$text" ]; then
        printf '%s\n' "$text" >"$program"
        chmod 755 "$program"
    fi
    echo "$program"
}

# Runs a command as root in a chroot, in the same path $ROOT as here. The files of this checkout are there, but cannot be
# changed, except for build, which is a folder of its own: in_chroot CHROOT BUILD COMMAND...
in_chroot() {
    local chroot=$1 build=$2
    shift 2
    mkdir -p "$build" "$CHROOTS/layer"
    # A chain of signals ends everything inside, however this script ends.
    setpriv --pdeathsig KILL unshare --mount --pid --ipc --uts --fork --kill-child --propagation private -- \
        bash "$ROOT/bin/chroot-inside" "$chroot" "$ROOT" "$build" "$CHROOTS/layer" "$@" 9>&-
}
