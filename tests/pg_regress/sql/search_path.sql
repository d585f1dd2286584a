-- Somebody puts a schema with traps before pg_catalog: every function and operator on common types, some types, and
-- tables named like ours. Whatever is called or written then, and CREATE EXTENSION itself, sets off none of them.
SET client_min_messages = warning;
SET TIME ZONE 'UTC';
TRUNCATE site_stats.page_views RESTART IDENTITY;
TRUNCATE site_stats.active_sessions;

CREATE SCHEMA evil;
CREATE FUNCTION evil.trap()
RETURNS boolean
LANGUAGE plpgsql
AS $$ BEGIN RAISE EXCEPTION 'a trap was set off'; END $$;
DO $$
DECLARE
    common oid[] := ARRAY[
        'text', 'bigint', 'integer', 'smallint', 'boolean', 'date', 'interval', 'numeric', 'double precision',
        'timestamptz', 'timestamp', 'jsonb', 'regclass', 'oid', 'name', 'tid', 'text[]', 'tid[]'
    ]::regtype[];
    item record;
    made integer := 0;
BEGIN
    FOR item IN
        SELECT p.proname, oidvectortypes(p.proargtypes) AS arguments, p.proretset, p.prorettype::regtype AS result
        FROM pg_proc AS p
        WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind IN ('f', 'a')
            AND p.proargtypes::oid[] <@ common AND p.prorettype = ANY (common)
            AND p.proargmodes IS NULL AND p.provariadic = 0
        UNION ALL
        SELECT a.name, a.arguments, false, 'bigint'::regtype
        FROM (VALUES ('count', ''), ('count', 'anyelement'), ('max', 'anyelement'), ('min', 'anyelement'))
            AS a (name, arguments)
    LOOP
        BEGIN
            EXECUTE format(
                'CREATE FUNCTION evil.%I(%s) RETURNS %s %s LANGUAGE plpgsql AS %L',
                item.proname, item.arguments, CASE WHEN item.proretset THEN 'SETOF' ELSE '' END, item.result,
                'BEGIN RAISE EXCEPTION ''a trap was set off''; END'
            );
            made := made + 1;
        EXCEPTION
            WHEN duplicate_function THEN NULL;
        END;
    END LOOP;
    FOR item IN
        SELECT o.oprname, o.oprleft, o.oprright, o.oprresult
        FROM pg_operator AS o
        WHERE o.oprnamespace = 'pg_catalog'::regnamespace AND o.oprleft = ANY (common || 0::oid)
            AND o.oprright = ANY (common) AND o.oprresult = ANY (common)
    LOOP
        EXECUTE format(
            'CREATE FUNCTION evil.operator_%s(%s) RETURNS %s LANGUAGE plpgsql AS %L',
            made,
            concat_ws(', ', nullif(format_type(item.oprleft, NULL), '-'), format_type(item.oprright, NULL)),
            format_type(item.oprresult, NULL),
            'BEGIN RAISE EXCEPTION ''a trap was set off''; END'
        );
        EXECUTE format(
            'CREATE OPERATOR evil.%s (FUNCTION = evil.operator_%s, %s RIGHTARG = %s)',
            item.oprname,
            made,
            CASE WHEN item.oprleft = 0 THEN '' ELSE 'LEFTARG = ' || format_type(item.oprleft, NULL) || ',' END,
            format_type(item.oprright, NULL)
        );
        made := made + 1;
    END LOOP;
    FOR item IN SELECT unnest(ARRAY['text', 'date', 'regclass', 'jsonb']) AS name LOOP
        EXECUTE format('CREATE DOMAIN evil.%I AS pg_catalog.%I CHECK (evil.trap())', item.name, item.name);
    END LOOP;
    FOR item IN
        SELECT c.relname
        FROM pg_class AS c
        WHERE c.relnamespace = 'site_stats'::regnamespace AND c.relkind IN ('r', 'v')
    LOOP
        EXECUTE format('CREATE VIEW evil.%I AS SELECT evil.trap()', item.relname);
        EXECUTE format('CREATE TEMPORARY VIEW %I AS SELECT evil.trap()', item.relname);
    END LOOP;
    RAISE WARNING '%', CASE WHEN made > 1000 THEN 'more than a thousand traps' ELSE 'few traps' END;
END
$$;

-- The traps are traps.
SET search_path = evil, pg_catalog;
\set SHOW_CONTEXT never
SELECT 1 = 1; -- the name of the trap has a number that differs between versions
\set SHOW_CONTEXT errors
SELECT octet_length('a'::pg_catalog.text);
SELECT * FROM page_views;
RESET search_path;

-- Every function of the extension, as the catalog lists them, with an ordinary value for each argument.
CREATE FUNCTION call_of(function oid)
RETURNS text
LANGUAGE sql
AS $$
    SELECT format('SELECT site_stats.%I(%s)', p.proname, (
        SELECT string_agg(
            CASE
                WHEN p.proargnames[a.place] = 'site' THEN $q$''::pg_catalog.text$q$
                WHEN a.type = 'text'::regtype THEN $q$'/a'::pg_catalog.text$q$
                WHEN a.type = 'smallint'::regtype THEN '1::smallint'
                WHEN a.type = 'integer'::regtype THEN '1'
                WHEN a.type = 'bigint'::regtype THEN '1::bigint'
                WHEN a.type = 'date'::regtype THEN $q$'2026-01-01'::pg_catalog.date$q$
                WHEN a.type = 'interval'::regtype THEN $q$'0'::interval$q$
                WHEN a.type = 'timestamptz'::regtype THEN $q$'2026-01-01 00:00:00+00'::pg_catalog.timestamptz$q$
                WHEN a.type = 'inet'::regtype THEN $q$'192.0.2.1'::pg_catalog.inet$q$
                WHEN a.type = 'jsonb'::regtype THEN $q$'{"type": "view", "url": "/"}'::pg_catalog.jsonb$q$
                WHEN a.type = 'double precision'::regtype THEN '1::double precision'
            END,
            ', ' ORDER BY a.place
        )
        FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY AS a (type, place)
    ))
    FROM pg_proc AS p
    WHERE p.oid = function
$$;
CREATE TABLE calls AS
SELECT p.proname AS name, call_of(p.oid) AS call
FROM pg_proc AS p
WHERE p.pronamespace = 'site_stats'::regnamespace AND p.prorettype <> 'trigger'::regtype AND p.prokind = 'f';
SELECT count(*) > 0 AS any, count(*) FILTER (WHERE call IS NULL) AS not_called FROM calls;
CREATE TABLE outcomes (name text, outcome text);
-- Once with everything to plan, once more with what the session keeps; in mid-backfill, so that views are counted
-- directly, too.
INSERT INTO site_stats.page_views (path, session_id, viewed_at)
SELECT '/p' || i, 's' || i, '2026-01-01 00:00:00+00' FROM generate_series(1, 5) AS i;
DO $outer$
DECLARE
    item record;
BEGIN
    FOR item IN
        SELECT * FROM pg_catalog.generate_series(1, 2) AS r (round)
        CROSS JOIN public.calls AS c
        ORDER BY r.round, c.name <> 'begin_backfill', c.name COLLATE "C"
    LOOP
        BEGIN
            SET LOCAL search_path = evil, pg_temp, pg_catalog;
            EXECUTE item.call;
            SET LOCAL search_path = pg_catalog;
            INSERT INTO public.outcomes VALUES (item.name, 'called');
        EXCEPTION
            WHEN OTHERS THEN
                SET LOCAL search_path = pg_catalog;
                INSERT INTO public.outcomes VALUES (item.name, SQLSTATE || ' ' || SQLERRM);
        END;
    END LOOP;
END
$outer$;
-- The worker of the backfill that was started and stopped in one transaction has nothing to do.
DO $$
BEGIN
    WHILE EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.backend_type = 'site_stats backfill') LOOP
        PERFORM pg_sleep(0.01), pg_stat_clear_snapshot();
    END LOOP;
END
$$;
SELECT name, outcome, count(*) FROM outcomes GROUP BY name, outcome ORDER BY name COLLATE "C", outcome COLLATE "C";
SELECT * FROM site_stats.check_totals();

-- Every way to write page views, by a role of its own.
CREATE ROLE regress_writer;
GRANT USAGE ON SCHEMA site_stats, evil TO regress_writer;
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON site_stats.page_views TO regress_writer;
SET ROLE regress_writer;
SET search_path = evil, pg_catalog;
INSERT INTO site_stats.page_views (path, session_id, viewed_at) VALUES ('/w', 'w', '2026-01-01 00:00:00+00');
COPY site_stats.page_views (path, session_id) FROM stdin WITH (DELIMITER ',');
/copied,w
\.
UPDATE site_stats.page_views SET path = '/moved', session_id = 'x', viewed_at = '2026-01-02 00:00:00+00';
DELETE FROM site_stats.page_views WHERE id OPERATOR(pg_catalog.<) 3;
BEGIN;
TRUNCATE site_stats.page_views;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/w', 'w');
ROLLBACK;
RESET ROLE;
CALL site_stats.backfill();
RESET search_path;
SELECT path, views FROM site_stats.top_pages();
SELECT * FROM site_stats.check_totals();

-- CREATE EXTENSION, and what it has made.
DROP TABLE calls, outcomes;
DROP FUNCTION call_of(oid);
SET search_path = evil, pg_catalog;
DROP EXTENSION site_stats;
DROP SCHEMA site_stats;
CREATE EXTENSION site_stats;
RESET search_path;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/', 's');
SELECT total_page_views, unique_visitors FROM site_stats.get_stats();
SELECT octet_length(site_stats.stats_page()) > 1000 AS is_page;
SELECT * FROM site_stats.check_totals();
SELECT pg_describe_object(d.classid, d.objid, d.objsubid) AS depends_on_a_trap
FROM pg_depend AS d
JOIN pg_depend AS e ON e.classid = d.classid AND e.objid = d.objid AND e.deptype = 'e'
WHERE d.refobjid IN (
    SELECT p.oid FROM pg_proc AS p WHERE p.pronamespace = 'evil'::regnamespace
    UNION ALL
    SELECT t.oid FROM pg_type AS t WHERE t.typnamespace = 'evil'::regnamespace
    UNION ALL
    SELECT o.oid FROM pg_operator AS o WHERE o.oprnamespace = 'evil'::regnamespace
);

DISCARD TEMPORARY;
DROP SCHEMA evil CASCADE;
DROP OWNED BY regress_writer;
DROP ROLE regress_writer;
