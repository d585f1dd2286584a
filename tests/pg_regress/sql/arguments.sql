-- Every argument of every function, as the catalog lists them, with everything that its type can be: an answer, or an
-- error of class 22, 23, 42 or 54. A function or type that is added fails here until it has passed, too.
SET client_min_messages = warning;
SET TIME ZONE 'UTC';
TRUNCATE site_stats.page_views;
TRUNCATE site_stats.active_sessions;

CREATE TABLE hostile (type regtype, value text);
INSERT INTO hostile VALUES
    ('text', NULL), ('text', ''), ('text', ' '), ('text', '/'), ('text', repeat('x', 1048576)),
    ('text', repeat('é', 524288)), ('text', repeat('x', 2049)), ('text', repeat('x', 2048)),
    ('text', repeat('ab', 60000)),
    ('text', E'\x01\x02\x07\x1b[31m\x7f'), ('text', E'\r\n\t'), ('text', E'/\u202egnp.exe\u200b\ufeff'),
    ('text', E'/\U0001F600\U0010FFFF'), ('text', $q$'; DROP TABLE site_stats.page_views; --$q$), ('text', '$$'),
    ('text', E'\\x00\\N\\.'), ('text', '%s%n%L'), ('text', '{"path": "\u0000"}'), ('text', 'NaN'),
    ('smallint', NULL), ('smallint', '0'), ('smallint', '1'), ('smallint', '-32768'), ('smallint', '32767'),
    ('integer', NULL), ('integer', '0'), ('integer', '1'), ('integer', '-1'), ('integer', '100001'),
    ('integer', '2147483647'), ('integer', '-2147483648'),
    ('bigint', NULL), ('bigint', '0'), ('bigint', '-1'), ('bigint', '9223372036854775807'),
    ('bigint', '-9223372036854775808'),
    ('date', NULL), ('date', 'infinity'), ('date', '-infinity'), ('date', '4713-01-01 BC'), ('date', '5874897-12-31'),
    ('date', '1969-12-31'), ('date', '1970-01-01'), ('date', '10000-01-01'),
    ('date', '2000-02-29'),
    ('timestamptz', NULL), ('timestamptz', 'infinity'), ('timestamptz', '-infinity'), ('timestamptz', '4713-01-01 BC'),
    ('timestamptz', '294276-12-31 23:59:59.999999+00'), ('timestamptz', '1970-01-01 00:00+00'),
    ('inet', NULL), ('inet', '192.0.2.1'), ('inet', '0.0.0.0'), ('inet', '::'), ('inet', '::ffff:192.0.2.1'),
    ('inet', '10.0.0.0/8'), ('inet', '2001:db8::/32'), ('inet', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/0'),
    ('jsonb', NULL), ('jsonb', 'null'), ('jsonb', '1'), ('jsonb', '"view"'), ('jsonb', '[]'), ('jsonb', '{}'),
    ('jsonb', '[{"type": "view", "url": "/"}]'), ('jsonb', '{"type": "view"}'), ('jsonb', '{"type": null, "url": "/"}'),
    ('jsonb', '{"type": "view", "url": "/", "session": {"a": ["b"]}}'), ('jsonb', '{"type": "view", "url": 1e308}'),
    ('jsonb', '{"type": "view", "url": "/", "at": "infinity"}'), ('jsonb', '{"type": "view", "url": "/", "at": "now"}'),
    ('jsonb', jsonb_build_object('type', 'view', 'url', repeat('/x', 100000))::text),
    ('jsonb', jsonb_build_object('type', 'view', 'url', '/', 'title', repeat('é', 7000))::text),
    ('interval', NULL), ('interval', '0'), ('interval', '-1 microsecond'), ('interval', '178000000 years'),
    ('interval', '-178000000 years'), ('interval', '2147483647 days 2147483647 hours'), ('interval', '1 hour'),
    ('double precision', NULL), ('double precision', 'NaN'), ('double precision', 'Infinity'),
    ('double precision', '-Infinity'), ('double precision', '1e308'), ('double precision', '-1e-308'),
    ('double precision', '-0'), ('double precision', '180'), ('double precision', '90.0000001');
CREATE TABLE outcomes (name text, place bigint, outcome text);

-- Whatever a call does is rolled back: this is about what it answers.
DO $outer$
DECLARE
    item record;
    answer text;
BEGIN
    FOR item IN
        SELECT
            p.proname AS name,
            a.place,
            h.value,
            format(
                CASE p.prokind WHEN 'p' THEN 'CALL site_stats.%I(%s)' ELSE 'SELECT count(*) FROM site_stats.%I(%s)' END,
                p.proname,
                (
                    -- An ordinary value for each of the others.
                    SELECT string_agg(
                        CASE WHEN o.place = a.place THEN '$1::' ELSE quote_literal(
                            CASE
                                WHEN p.proargnames[o.place] = 'site' THEN ''
                                WHEN p.proargnames[o.place] = 'by' THEN 'path'
                                WHEN p.proargnames[o.place] = 'unit' THEN 'day'
                                WHEN p.proargnames[o.place] = 'filters' THEN '{}'
                                WHEN o.type = 'text'::regtype THEN '/ordinary'
                                WHEN o.type = 'date'::regtype THEN '2026-01-01'
                                WHEN o.type = 'interval'::regtype THEN '0'
                                WHEN o.type = 'timestamptz'::regtype THEN '2026-01-01 00:00:00+00'
                                WHEN o.type = 'inet'::regtype THEN '192.0.2.1'
                                WHEN o.type = 'jsonb'::regtype THEN '{"type": "view", "url": "/"}'
                                ELSE '1'
                            END
                        ) || '::' END || format_type(o.type, NULL),
                        ', ' ORDER BY o.place
                    )
                    FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY AS o (type, place)
                )
            ) AS call
        FROM pg_proc AS p
        CROSS JOIN unnest(p.proargtypes::oid[]) WITH ORDINALITY AS a (type, place)
        LEFT JOIN hostile AS h ON h.type = a.type
        WHERE p.pronamespace = 'site_stats'::regnamespace
        ORDER BY p.proname, a.place
    LOOP
        BEGIN
            IF item.call LIKE 'CALL%' THEN
                EXECUTE replace(item.call, '$1', quote_nullable(item.value));
                answer := 'answered';
            ELSE
                EXECUTE replace(item.call, '$1', '$1::text') USING item.value;
                answer := 'answered';
            END IF;
            RAISE EXCEPTION USING ERRCODE = 'ZZ000';
        EXCEPTION
            WHEN SQLSTATE 'ZZ000' THEN
                NULL;
            WHEN OTHERS THEN
                answer := SQLSTATE;
                -- A procedure that commits cannot be called from here; the test 'errors' has its argument.
                IF left(SQLSTATE, 2) NOT IN ('22', '23', '42', '54')
                    AND NOT (SQLSTATE = '2D000' AND item.call LIKE 'CALL%')
                THEN
                    answer := 'UNEXPECTED ' || SQLSTATE || ' ' || SQLERRM || ' for ' || left(item.value, 40);
                END IF;
        END;
        INSERT INTO outcomes VALUES (item.name, item.place, answer);
    END LOOP;
END
$outer$;
DO $$
BEGIN
    WHILE EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.backend_type = 'site_stats backfill') LOOP
        PERFORM pg_sleep(0.01), pg_stat_clear_snapshot();
    END LOOP;
END
$$;

SELECT format_type(a.type, NULL) AS type_without_values
FROM pg_proc AS p
CROSS JOIN unnest(p.proargtypes::oid[]) AS a (type)
WHERE p.pronamespace = 'site_stats'::regnamespace AND a.type NOT IN (SELECT h.type FROM hostile AS h);
SELECT name, place, string_agg(outcome || ' ' || n, ', ' ORDER BY outcome COLLATE "C") AS outcomes
FROM (SELECT name, place, outcome, count(*) AS n FROM outcomes GROUP BY name, place, outcome) AS o
GROUP BY name, place
ORDER BY name COLLATE "C", place;
SELECT * FROM site_stats.check_totals();

-- Bytes that are no text do not come as far as a function.
CREATE FUNCTION code_of(statement text)
RETURNS text
LANGUAGE plpgsql
AS $$
BEGIN
    EXECUTE statement;
    RETURN 'answered';
EXCEPTION
    WHEN OTHERS THEN
        RETURN SQLSTATE;
END
$$;
SELECT code_of(format('SELECT site_stats.record_page_view(convert_from(%L, ''UTF8''), ''page'', ''s'')', v))
FROM (VALUES ('\xff'::bytea), ('\xc3'), ('\xeda080'), ('\x2f00'), ('\xf8888888')) AS b (v);

-- In a database of an encoding that any bytes are text in, they are kept as they are.
\set tests :DBNAME
CREATE DATABASE regress_bytes ENCODING SQL_ASCII LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0;
\c regress_bytes
SET client_min_messages = warning;
CREATE EXTENSION site_stats;
SELECT site_stats.record_page_view(E'/\xff\xfe\xc3', E'\xe9', E's\x80');
SELECT site_stats.record_page_view(E'/\xff\xfe\xc3', E'\xe9', E's\x80');
SELECT site_stats.heartbeat(E's\x80', E'/\xff\xfe\xc3', E'\xff', E'\xc0\x80', 1, 1);
INSERT INTO site_stats.page_views (path, session_id) VALUES (E'\xc3\x28', E'\xa0\xa1'), (E'/\xff', E's\x80');
INSERT INTO site_stats.content (path, title) VALUES (E'/\xff', E'\xfe title');
SELECT
    encode(path::bytea, 'hex') AS path,
    encode(title::bytea, 'hex') AS title,
    encode(page_type::bytea, 'hex') AS type,
    views
FROM site_stats.top_pages();
SELECT encode(path::bytea, 'hex') AS path, visitors FROM site_stats.active_pages();
SELECT sum(views) FROM site_stats.views_by_day(path => E'/\xff');
SELECT total_page_views, unique_visitors, total_paths, jsonb_array_length(page_stats) AS page_stats
FROM site_stats.get_stats();
-- The page shows them with substitutes, and is ASCII itself.
SELECT page LIKE '%</html>' AS is_whole, page ~ '[^\x01-\x7f]' AS has_bytes, page ~ '>/&#65533;+' AS has_substitutes
FROM site_stats.stats_page() AS page;
SELECT * FROM site_stats.check_totals();
CALL site_stats.backfill(1);
SELECT total_page_views, unique_visitors, total_paths FROM site_stats.get_stats();
SELECT * FROM site_stats.check_totals();
\c :tests
DROP DATABASE regress_bytes;
DROP FUNCTION code_of(text);
DROP TABLE hostile, outcomes;
