-- What somebody may send on purpose: each text and number through each function that takes one. It is kept as it is, or
-- refused with an error of class 22, 23, 42 or 54; never an internal error, and never a crash.
SET TIME ZONE 'UTC';
TRUNCATE site_stats.page_views;
TRUNCATE site_stats.active_sessions;

CREATE TABLE hostile_text (label text, value text);
INSERT INTO hostile_text VALUES
    ('a megabyte', repeat('x', 1048576)),
    ('a megabyte of two-byte letters', repeat('é', 524288)),
    ('one byte more than a path', repeat('x', 2049)),
    ('a letter across the limit', repeat('x', 2047) || 'é'),
    ('as long as a path', repeat('x', 2048)),
    ('compressible', repeat('ab', 1000)),
    ('control characters', E'\x01\x02\x07\x1b[31m\x7f'),
    ('line ends', E'/a\r\n/b\n'),
    ('blanks only', '   '),
    ('right to left', E'/\u202egnp.exe'),
    ('zero width', E'\u200b\u200d\ufeff'),
    ('beyond the basic plane', E'/\U0001F600\U0010FFFF'),
    ('combining', repeat(E'e\u0301', 500)),
    ('quotes', $q$'; DROP TABLE site_stats.page_views; --$q$),
    ('dollar quotes', '$$; SELECT 1; $$'),
    ('backslashes', E'\\x00\\000\\N\\.'),
    ('format', '%s%n%x%L%I'),
    ('json', '{"path": "\u0000", "count": -1}'),
    ('markup', '<script>alert(1)</script>'),
    ('a path that climbs', '/../../../../etc/passwd'),
    ('a number', '-9223372036854775808'),
    ('the word null', 'NULL'),
    ('nothing', ''),
    ('NULL', NULL);

CREATE FUNCTION attempt(statement text, value anyelement)
RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
    result text;
BEGIN
    EXECUTE statement INTO result USING value;
    RETURN left(COALESCE(result, 'NULL'), 40);
EXCEPTION
    WHEN OTHERS THEN
        IF left(SQLSTATE, 2) NOT IN ('22', '23', '42', '54') THEN
            RETURN 'UNEXPECTED ' || SQLSTATE || ' ' || SQLERRM;
        END IF;
        RETURN SQLSTATE;
END
$$;

SELECT
    label,
    attempt('SELECT site_stats.record_page_view($1, ''page'', ''s'')', value) AS path,
    attempt('SELECT site_stats.record_page_view(''/'' || md5(COALESCE($1, '''')), $1, ''t'')', value) AS page_type,
    attempt('SELECT site_stats.record_page_view(''/'', ''page'', $1)', value) AS session_id,
    attempt('SELECT site_stats.heartbeat($1, ''/'')', value) AS session_here,
    attempt('SELECT site_stats.heartbeat(''here'', $1, $1, $1)', value) AS path_here,
    attempt('SELECT count(*) FROM site_stats.views_by_day(NULL, NULL, $1)', value) AS days
FROM hostile_text
ORDER BY label COLLATE "C";
SELECT * FROM site_stats.check_totals();

-- The same, written to the table.
SELECT
    label,
    attempt('INSERT INTO site_stats.page_views (path, session_id) VALUES ($1, ''u'') RETURNING ''kept''', value)
        AS path,
    attempt('INSERT INTO site_stats.page_views (path, session_id) VALUES (''/'', $1) RETURNING ''kept''', value)
        AS session_id,
    attempt('UPDATE site_stats.page_views SET path = $1 WHERE session_id = ''u'' RETURNING ''kept''', value) AS moved
FROM hostile_text
ORDER BY label COLLATE "C";
SELECT * FROM site_stats.check_totals();

-- Bytes that are no text in this encoding do not come as far as the extension.
SELECT attempt('SELECT site_stats.record_page_view(convert_from($1, ''UTF8''), ''page'', ''s'')', v)
FROM (VALUES ('\xff'::bytea), ('\xc3'), ('\xeda080'), ('\x2f00')) AS b (v);

-- Times and numbers.
SELECT v, attempt('INSERT INTO site_stats.page_views (path, session_id, viewed_at)
    VALUES (''/'', ''v'', $1::timestamptz) RETURNING ''kept''', v) AS result
FROM (VALUES ('infinity'), ('-infinity'), ('294276-12-31 23:59:59'), ('4713-01-01 BC'), ('epoch'),
    ('1969-12-31 23:59:59'), ('9999-12-31 23:59:59.999999'), ('10000-01-01'), ('not a time')) AS t (v);
SELECT v, attempt('INSERT INTO site_stats.page_views (id, path, session_id, viewed_at) OVERRIDING SYSTEM VALUE
    VALUES ($1::bigint, ''/'', ''w'', ''2026-01-01'') RETURNING ''kept''', v) AS result
FROM (VALUES ('0'), ('-1'), ('-9223372036854775808'), ('9223372036854775807'), ('9223372036854775808'), ('NaN'))
    AS t (v);
SELECT
    v,
    attempt('SELECT site_stats.heartbeat(''x'', ''/'', NULL, NULL, $1::float8, 0)', v) AS latitude,
    attempt('SELECT site_stats.heartbeat(''y'', ''/'', NULL, NULL, 0, $1::float8)', v) AS longitude
FROM (VALUES ('NaN'), ('Infinity'), ('-Infinity'), ('1e308'), ('1e-308'), ('-0'), ('90'), ('90.0000001'),
    ('-180')) AS t (v);
SELECT
    v,
    attempt('SELECT count(*) FROM site_stats.top_pages($1::integer)', v) AS top_pages,
    attempt('SELECT site_stats.cleanup_stale_sessions($1::integer)', v) AS cleanup,
    attempt('SELECT site_stats.fold_totals($1::integer)', v) AS fold,
    attempt('SELECT site_stats.backfill_turn($1::integer)', v) AS turn
FROM (VALUES ('-2147483648'), ('-1'), ('2147483647'), ('2147483648')) AS t (v);
SELECT v, attempt('SELECT count(*) >= 0 FROM site_stats.top_pages(1, $1::date, $1::date)', v) AS top_pages,
    attempt('SELECT count(*) FROM site_stats.views_by_day($1::date, $1::date)', v) AS views_by_day
FROM (VALUES ('infinity'), ('-infinity'), ('5874897-12-31'), ('4713-01-01 BC'), ('1970-01-01'), ('9999-12-31'),
    ('10000-01-01')) AS t (v);
SELECT v, attempt('SELECT site_stats.wait_for_backfill($1::interval)', v) AS result
FROM (VALUES ('-1 microsecond'), ('0'), ('-178000000 years')) AS t (v);

-- All of it is served, and counted.
SELECT s.total_page_views = (SELECT count(*) FROM site_stats.page_views) AS views,
    s.unique_visitors = (SELECT count(DISTINCT session_id) FROM site_stats.page_views) AS visitors,
    s.total_paths = (SELECT count(DISTINCT path) FROM site_stats.page_views) AS paths,
    jsonb_array_length(page_stats) > 0 AS pages
FROM site_stats.get_stats() AS s;
SELECT * FROM site_stats.check_totals();
CALL site_stats.backfill(1);
SELECT * FROM site_stats.check_totals();
TRUNCATE site_stats.page_views;
TRUNCATE site_stats.active_sessions;
DROP TABLE hostile_text;
DROP FUNCTION attempt(text, anyelement);
