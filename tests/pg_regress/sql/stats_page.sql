-- The statistics page: its numbers are those of the reports, its links carry what is asked for, what visitors send is
-- no markup, and what means nothing is told.
SET TIME ZONE 'UTC';
TRUNCATE site_stats.page_views;
TRUNCATE site_stats.active_sessions;
TRUNCATE site_stats.refusal_totals;
INSERT INTO site_stats.sites (name, timezone) VALUES ('page & co', 'Europe/Lisbon'), ('empty', 'UTC');
INSERT INTO site_stats.origins (source, campaign, channel)
VALUES ('Google', 'spring', 'Organic Search'), ('<script>alert(1)</script>', '"><img src=x>', '''a''');
INSERT INTO site_stats.clients (browser, os, device, country, language)
VALUES ('Firefox', 'Linux', 'desktop', 'PT', 'pt-PT'), ('Safari', 'iOS', 'mobile', 'DE', 'de');

CREATE FUNCTION pg_temp.origin(of_source text) RETURNS integer LANGUAGE sql
AS $$ SELECT max(id) FROM site_stats.origins WHERE source = of_source $$;
CREATE FUNCTION pg_temp.client(of_browser text) RETURNS integer LANGUAGE sql
AS $$ SELECT max(id) FROM site_stats.clients WHERE browser = of_browser $$;
CREATE FUNCTION pg_temp.view(path text, session_id text, viewed_at timestamptz, source text, browser text)
RETURNS void LANGUAGE sql
AS $$
    INSERT INTO site_stats.page_views (path, page_type, session_id, viewed_at, origin_id, client_id, site_id)
    VALUES (
        path, 'page', session_id, viewed_at, pg_temp.origin(source), pg_temp.client(browser),
        site_stats.site_id('page & co')
    )
$$;

-- Three visitors in July; one of them comes at 23:30 UTC, which is the next day in Lisbon. One in June.
SELECT pg_temp.view('/', 'ana', '2025-07-14 09:00:00+00', 'Google', 'Safari');
SELECT pg_temp.view('/blog/a&b', 'ana', '2025-07-14 09:02:00+00', NULL, NULL);
SELECT pg_temp.view('/about', 'ana', '2025-07-14 09:05:30+00', NULL, NULL);
SELECT pg_temp.view('/blog/a&b', 'ben', '2025-07-14 20:50:00+00', '<script>alert(1)</script>', 'Firefox');
SELECT pg_temp.view('/<script>alert(1)</script>', 'cem', '2025-07-14 23:30:00+00', NULL, 'Firefox');
SELECT pg_temp.view('/', 'dan', '2025-06-20 12:00:00+00', 'Google', 'Firefox');

-- The page of some days. Lines that tell when it was made are not among those that are looked at here.
CREATE FUNCTION pg_temp.page(query jsonb, site text DEFAULT 'page & co') RETURNS text LANGUAGE sql
AS $$ SELECT site_stats.stats_page(query, site) $$;
CREATE FUNCTION pg_temp.july(more jsonb DEFAULT '{}') RETURNS text LANGUAGE sql
AS $$ SELECT pg_temp.page('{"since": "2025-07-14", "until": "2025-07-16"}' || more) $$;
-- What a pattern finds, each in a row.
CREATE FUNCTION pg_temp.found(page text, pattern text) RETURNS TABLE (found text) LANGUAGE sql
AS $$ SELECT array_to_string(m, ' | ') FROM regexp_matches(page, pattern, 'g') AS m $$;

-- A document, small, without anything from elsewhere, without a script.
SELECT
    page LIKE '<!DOCTYPE html>%</html>' AS is_document,
    octet_length(page) < 100000 AS is_small,
    page LIKE '%<script%' AS has_script,
    page ~ '(src|href|action)=["'']?(https?:|//|javascript:)' AS goes_elsewhere,
    page ~ ' (style|on[a-z]+)=' AS has_inline_code,
    page ~ 'unsafe-' AS is_unsafe
FROM pg_temp.july() AS page;

-- The numbers are those of the reports.
SELECT views, visitors, visits, entries, exits, bounces, seconds
FROM site_stats.summary('2025-07-14', '2025-07-16', site => 'page & co');
SELECT * FROM pg_temp.found(pg_temp.july(), '<dt>([^<]+)<dd><b>([^<]*)</b>(?: <span class="(\w+)" title="([^"]*)")?');
SELECT * FROM pg_temp.found(pg_temp.july(), '<title>([^<]*)</title>');
SELECT * FROM pg_temp.found(pg_temp.july(), '<p class="range">([^\n]*)</p>');
SELECT starts_at, visitors, visits, views
FROM site_stats.timeline('day', '2025-07-14', '2025-07-16', site => 'page & co');
SELECT * FROM pg_temp.found(pg_temp.july(), '<tr><th>(\w{3} \d+ \w{3} 2025)<td>(\d+)<td>(\d+)<td>(\d+)');
SELECT * FROM pg_temp.found(pg_temp.july('{"unit": "week"}'), '<tr><th>([^<]*2025)<td>(\d+)<td>(\d+)<td>(\d+)');

-- Each row of a breakdown is a link that adds the filter, and keeps what the URL has.
SELECT * FROM pg_temp.found(pg_temp.july(), '<a href="(\?[^"]*)">([^<]*)</a><td>(\d+)<td>(\d+%?)');
-- Nothing that a visitor has sent is markup.
SELECT count(*) FROM pg_temp.found(pg_temp.july(), '<(script|img)');

-- Filters narrow all numbers, and are shown with a link that removes them.
SELECT * FROM pg_temp.found(pg_temp.july('{"country": "DE", "path!": "/about"}'), '<dt>([^<]+)<dd><b>([^<]*)</b>');
SELECT * FROM pg_temp.found(
    pg_temp.july('{"country": "DE", "path!": "/about", "channel": ["Direct", "Email"], "path~": "/%"}'),
    '<li>([A-Z][a-z]+ is [^<]*)<a href="([^"]*)"'
);
SELECT * FROM pg_temp.found(
    pg_temp.july('{"path": {"like": "/blog/%"}, "source": null}'), '<li>([A-Z][a-z]+ is [^<]*)<a href="([^"]*)"'
);
SELECT * FROM pg_temp.found(pg_temp.july('{"hour": "0"}'), '<dt>(Page views)<dd><b>([^<]*)</b>');

-- The page knows all words of reports.
SELECT w.word, count(f.found) AS filters
FROM unnest(ARRAY[
    'path', 'page_type', 'entry_path', 'source', 'referrer', 'medium', 'campaign', 'term', 'content', 'channel',
    'browser', 'os', 'device', 'country', 'language', 'weekday', 'hour'
]) WITH ORDINALITY AS w (word, place)
CROSS JOIN LATERAL pg_temp.found(pg_temp.july(jsonb_build_object(w.word, 'x')), 'aria-label="Remove the filter') AS f
GROUP BY w.word, w.place
ORDER BY w.place;
-- The form for other days carries the rest; the links of periods carry the filters.
SELECT * FROM pg_temp.found(pg_temp.july('{"device": "mobile", "unit": "hour"}'), '<input ([^>]*value="[^"]*")');
SELECT * FROM pg_temp.found(
    pg_temp.july('{"device": "mobile"}'), '<li><a href="([^"]*)"[^>]*>(Today|30 days|All time)</a>'
);

-- Empty states say what to do.
SELECT * FROM pg_temp.found(pg_temp.page('{}', 'empty'), '"card empty"><h2>([^<]*)</h2>\s*<p>([^\n]*)');
SELECT * FROM pg_temp.found(
    pg_temp.page('{"since": "2025-01-01", "until": "2025-01-02"}'), '"card empty"><h2>([^<]*)</h2>\s*<p>([^\n]*)\.'
);
SELECT * FROM pg_temp.found(pg_temp.july('{"path": "/no"}'), '"card empty"><h2>([^<]*)</h2>\s*<p>([^\n]*)\.');

-- What means nothing is told, and what belongs to others is passed over.
SELECT * FROM pg_temp.found(
    pg_temp.page(
        '{"since": "yesterday", "until": ["2025-02-30"], "unit": "minute", "period": 7, "path": {"less": 1},
        "source~": "\\", "nonce": "\"", "live": "https://elsewhere.example/", "utm_source": "x", "fbclid": {"a": [1]}}'
    ),
    '<li>([^<]*\.)(?=<li>|</ul>)'
);
SELECT site_stats.stats_page(NULL);
SELECT site_stats.stats_page('[]');
SELECT site_stats.stats_page('"x"');
SELECT site_stats.stats_page('{}', 'nowhere');

-- Live numbers: a script only where there is an address for it; both carry the nonce.
SELECT * FROM pg_temp.found(
    pg_temp.july('{"live": "/live?site=page", "nonce": "abc+/="}'), '<(style|script|b id="now")([^>]*)>'
);
SELECT * FROM pg_temp.found(pg_temp.july(), '(script-src [^ ]{15})[^"]*(connect-src [^ ]*)');
SELECT * FROM pg_temp.found(pg_temp.july('{"live": "/live"}'), '(script-src [^ ]{15})[^"]*(connect-src [^ ]*)');

-- The sites are listed where the caller leaves the choice.
SELECT * FROM pg_temp.found(
    pg_temp.page('{"site": "page & co", "since": "2025-07-14", "until": "2025-07-16", "path": "/"}', NULL),
    '<li><a href="([^"]*site=[^"]*)"( aria-current="true")?>([^<]*)</a>'
)
LIMIT 3;
SELECT * FROM pg_temp.found(pg_temp.page('{"site": "nowhere"}', NULL), '<li>(There is no such site\.)');
SELECT count(*) FROM pg_temp.found(pg_temp.page('{"site": "empty"}'), 'site=|"Sites"');

-- Who is here now, and where.
SELECT site_stats.heartbeat('ana', '/blog/a&b', 'Lisbon', 'PT', 38.72, -9.14, 'page & co');
SELECT site_stats.heartbeat('ben', '/', NULL, NULL, NULL, NULL, 'page & co');
SELECT * FROM pg_temp.found(pg_temp.july(), '<b id="now">(\d+)</b>');
SELECT * FROM pg_temp.found(pg_temp.july(), '<a href="(\?[^"]*)">([^<]*)</a><td>(\d+)(?=\n|</table>)');
SELECT * FROM pg_temp.found(pg_temp.july(), '<circle [^>]*>');
SELECT * FROM pg_temp.found(pg_temp.july(), '<li>(Lisbon[^<]*) <b>(\d+)</b>');

-- What was refused in these days, and since when anything was counted.
INSERT INTO site_stats.refusal_totals VALUES
    (site_stats.site_id('page & co'), '2025-07-14', 'bot', 0, 1000),
    (site_stats.site_id('page & co'), '2025-07-15', 'bot', 1, 234),
    (site_stats.site_id('page & co'), '2025-07-15', 'excluded', 0, 5),
    (site_stats.site_id('page & co'), '2025-07-17', 'bot', 0, 7);
SELECT * FROM pg_temp.found(pg_temp.july(), '<tr><th><span>([^<]*)</span><td>([\d,]+)');
SELECT * FROM pg_temp.found(pg_temp.july(), '[\d,]+ in all');
SELECT * FROM pg_temp.found(pg_temp.july(), 'Counted since [^.]*\.');
SELECT * FROM pg_temp.found(pg_temp.july(), 'The total is from [^.]*\.');
CALL site_stats.write_spans();
SELECT * FROM pg_temp.found(pg_temp.july(), 'The total is from [^.]*\.');
SELECT * FROM pg_temp.found(pg_temp.july(), '<dt>([^<]+)<dd><b>([^<]*)</b>(?: <span class="(\w+)" title="([^"]*)")?');

-- One snapshot: what the transaction has written itself is there, also for a reader that keeps its snapshot.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT pg_temp.view('/', 'eve', '2025-07-16 12:00:00+00', NULL, NULL);
SELECT * FROM pg_temp.found(pg_temp.july(), '<dt>(Visitors|Page views)<dd><b>([^<]*)</b>');
SELECT * FROM pg_temp.found(pg_temp.july(), 'Counted since [^.]*\.');
ROLLBACK;

-- A reader needs this one grant, and gets no table with it.
CREATE ROLE regress_page_reader;
GRANT USAGE ON SCHEMA site_stats TO regress_page_reader;
SET ROLE regress_page_reader;
SELECT site_stats.stats_page();
RESET ROLE;
GRANT EXECUTE ON FUNCTION site_stats.stats_page TO regress_page_reader;
SET ROLE regress_page_reader;
SELECT octet_length(site_stats.stats_page('{}', 'page & co')) > 10000 AS is_page;
SELECT site_stats.stats_page_in_snapshot('{}', '');
SELECT count(*) FROM site_stats.page_views;
RESET ROLE;
DROP OWNED BY regress_page_reader;
DROP ROLE regress_page_reader;

DELETE FROM site_stats.sites WHERE name <> '';
SELECT * FROM site_stats.check_totals();
DELETE FROM site_stats.origins;
DELETE FROM site_stats.clients;
TRUNCATE site_stats.refusal_totals;
