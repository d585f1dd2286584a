# shellcheck shell=bash
# The statistics page in a browser, for the test of it and for the screenshots: Debian's Chromium, driven by puppeteer-core.
# Sourced after bin/lib.sh.

# shellcheck disable=SC2034,SC2153  # for the scripts, or of bin/lib.sh

BROWSER=$BUILD/browser PUPPETEER=24.43.1 AXE=4.14.1

# Node.js and Chromium from the distribution, and two packages of npm below build/.
need_browser() {
    local log=$BUILD/log/browser.log
    bin/setup browser || return
    [ "$(cat "$BROWSER/.made-of" 2>/dev/null)" != "$PUPPETEER $AXE" ] || return 0
    mkdir -p "$BROWSER"
    quietly "$log" timeout 300 npm install --prefix "$BROWSER" --no-audit --no-fund --ignore-scripts --no-save \
        "puppeteer-core@$PUPPETEER" "axe-core@$AXE" || return
    echo "$PUPPETEER $AXE" >"$BROWSER/.made-of"
}

# One page of the private server: page_of SITE QUERY, the site - for NULL.
page_of() {
    psql_cluster -At -v site="$1" -v query="$2" <<<"SELECT site_stats.stats_page(:'query', NULLIF(:'site', '-'));"
}

# The pages that are looked at, each a file below a folder: make_pages FOLDER
make_pages() {
    local name site query blog=blog.example
    rm -rf "$1"
    mkdir -p "$1"
    ask 'CREATE EXTENSION site_stats'
    psql_cluster -f tests/browser/site.sql >/dev/null
    while read -r name site query; do
        page_of "$site" "$query" >"$1/$name.html" || return
    done <<PAGES
full        $blog {}
today       $blog {"period": "today"}
year        $blog {"period": "year", "unit": "day"}
filtered    $blog {"period": "all", "country": "DE", "source!": ["Google", "Bing"]}
own-days    $blog {"since": "$(ask 'SELECT current_date - 9')", "until": "$(ask 'SELECT current_date - 3')", "unit": "hour"}
sites       - {"site": "$blog", "period": "7d"}
hostile     hostile {"path": "/<script>alert(1)</script>", "since": "<script>", "unit": "\"><b>", "utm_source": "x"}
hostile-all hostile {"period": "7d"}
no-match    $blog {"path": "/nothing"}
new         new.example {}
live        $blog {"live": "/events", "nonce": "c2l0ZS1zdGF0cw=="}
PAGES
}
