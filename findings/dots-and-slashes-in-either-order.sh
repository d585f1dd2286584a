#!/usr/bin/env bash
# Guess:     `..` and `//` in the path of an URL are no problem: whoever makes a path normal gets the same path, so that a page has one
#            name in a browser's tracker, in the log of the server and in a report.
# Versions:  nginx 1.22.1 of Debian 12, node 20 (its URL is WHATWG's), curl 7.88 or newer, posixpath of Python 3.
# Behaviour: it depends on which of the two is first. A browser's URL and curl take `..` away with the EMPTY segment before it and keep
#            other `//`: /a//../b is /a/b. nginx merges the slashes first, so `..` takes `a` away: /b. So does posixpath.normpath.
#            With `merge_slashes off` nginx agrees with the browser.
# Seen:      see `expected` below.
# Concerns:  who compares page paths of location.href with those of a log with nginx's $uri, or makes the paths of raw requests normal
#            with the functions of a file system. A link clicked in a browser arrives as /a/b; the same link requested as it was
#            written, as a simple client does, is served, and logged as $uri, as another page.
set -euo pipefail

folder=$(mktemp -d)
stop() {
    [ ! -f "$folder/pid" ] || kill "$(cat "$folder/pid")"
    rm -rf "$folder"
}
trap stop EXIT
cd "$folder"
chmod 755 .
apt-get -qq -o APT::Sandbox::User=root download 'nginx=1.22.1-9*' >&2
dpkg -x nginx_*.deb .

cat > nginx.conf <<EOF
pid $folder/pid;
error_log $folder/errors;
events {}
http {
    access_log off;
    client_body_temp_path $folder/1;
    proxy_temp_path $folder/2;
    fastcgi_temp_path $folder/3;
    uwsgi_temp_path $folder/4;
    scgi_temp_path $folder/5;
    server { listen unix:$folder/merging; location / { return 200 \$uri; } }
    server { listen unix:$folder/keeping; merge_slashes off; location / { return 200 \$uri; } }
    server { listen unix:$folder/echoing; location / { return 200 \$request_uri; } }
}
EOF
usr/sbin/nginx -e "$folder/errors" -p "$folder/" -c nginx.conf
for _ in {1..50}; do
    [ ! -S echoing ] || [ ! -f pid ] || break
    sleep 0.1
done

served() { curl -sS --path-as-is --unix-socket "$1" "http://site.example$2"; }
seen=$(
    for path in /a/../b /a//b /a//../b /a/b//../../c; do
        echo "$path: URL $(node -p 'new URL(process.argv[1], "http://site.example").pathname' "$path")," \
            "curl $(curl -sS --unix-socket echoing "http://site.example$path")," \
            "nginx $(served merging "$path"), merge_slashes off $(served keeping "$path")," \
            "normpath $(python3 -c 'import posixpath, sys; print(posixpath.normpath(sys.argv[1]))' "$path")"
    done
)
expected='/a/../b: URL /b, curl /b, nginx /b, merge_slashes off /b, normpath /b
/a//b: URL /a//b, curl /a//b, nginx /a/b, merge_slashes off /a//b, normpath /a/b
/a//../b: URL /a/b, curl /a/b, nginx /b, merge_slashes off /a/b, normpath /b
/a/b//../../c: URL /a/c, curl /a/c, nginx /c, merge_slashes off /a/c, normpath /c'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
