-- Imports a web server's access log into site_stats.page_views, as a history of page views.
--
--     psql -X -d mysite -v log=/var/log/nginx/access.log.gz -f import/access_log.sql
--
-- The log is in the common or the combined format (what nginx and Apache write), plain or compressed by gzip. psql
-- reads it, on the machine where psql runs; gzip, tr and awk must be there, as on every Unix.
--
-- A page view is a line with the method GET, the status 200 and a path that is no static asset. The path is taken as
-- the log has it, percent signs included, without its query string and fragment. A request for a whole URL
-- (GET http://host/path) counts as a request for its path. A request without a protocol version (HTTP/0.9) counts too.
-- The session is a hash of address and user agent; in the common format it is a hash of the address alone. The time is
-- that of the request, with its zone.
--
-- Lines in another format are counted, and the first of them are shown. They are not imported, and do not stop the
-- import. Paths over 2,048 bytes are left out and counted. All is one transaction. A log that is imported twice counts
-- twice.
--
-- Variables, each given as -v name=value:
--   log        the file
--   page_type  an SQL expression over "path" for the type of a page; 'page' unless given. For example
--              -v page_type="CASE WHEN path = '/' THEN 'home' WHEN path LIKE '/blog/%' THEN 'blog' ELSE 'page' END"
--   triggers   off: do not count the page views now. For a first load of many millions of rows. Only a superuser can do
--              this. The statistics are wrong until SELECT site_stats.start_backfill() has been called.

\set ON_ERROR_STOP on
\set QUIET on

\if :{?log}
\else
    DO $$ BEGIN RAISE EXCEPTION 'no log was named' USING HINT = 'Call psql with -v log=/path/to/access.log'; END $$;
\endif
\if :{?page_type}
\else
    \set page_type '''page'''
\endif
\if :{?triggers}
\else
    \set triggers on
\endif

\setenv SITE_STATS_LOG :log
\set readable `test -f "$SITE_STATS_LOG" && test -r "$SITE_STATS_LOG" && echo on || echo off`
\if :readable
\else
    DO $$ BEGIN RAISE EXCEPTION 'the log cannot be read' USING HINT = 'Is -v log=... the path of a file?'; END $$;
\endif

SELECT
    to_regclass('site_stats.page_views') IS NULL AS no_extension,
    pg_encoding_to_char(encoding) = 'UTF8' AS database_is_utf8,
    current_setting('client_encoding') AS client_encoding
FROM pg_database
WHERE datname = current_database() \gset
\if :no_extension
    DO $$
    BEGIN
        RAISE EXCEPTION 'the extension site_stats is not in this database'
            USING HINT = 'As a superuser: CREATE EXTENSION site_stats;';
    END
    $$;
\endif

BEGIN;
SET LOCAL search_path TO pg_catalog, pg_temp;
SET LOCAL TimeZone TO 'UTC';
\if :triggers
\else
    SET LOCAL session_replication_role TO 'replica';
\endif

CREATE TEMPORARY TABLE access_log_lines (
    line_number bigint GENERATED ALWAYS AS IDENTITY,
    line text NOT NULL
) ON COMMIT DROP;

-- A log holds whatever bytes visitors sent. The log is read as LATIN1, where every byte is a character, so no line
-- can break the load. Control characters are dropped; COPY uses two of them as delimiter and quote, so these cannot
-- occur. Each line of the log gets a colon in front. The colon keeps empty lines, and a line that COPY would take for
-- the end of the data. The last line, =0, says that gzip read the file to its end.
\if :database_is_utf8
    \encoding LATIN1
\endif
\copy access_log_lines (line) FROM PROGRAM '{ s=$({ { gzip -cdf <"$SITE_STATS_LOG"; echo $? >&4; } | LC_ALL=C tr -d "\000-\010\013-\037" | LC_ALL=C awk "{ print \":\" \$0 }" >&3; } 4>&1); echo "=$s"; } 3>&1' WITH (FORMAT csv, DELIMITER E'\x02', QUOTE E'\x01', ESCAPE E'\x01')
\encoding :client_encoding

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_temp.access_log_lines WHERE line = '=0') THEN
        RAISE EXCEPTION 'the log could not be read to its end'
            USING HINT = 'Is the file complete? gzip -t tells. Nothing was imported.';
    END IF;
END
$$;

-- The time of a request. NULL for a date that no calendar has, such as 31/Feb, and for one before 1970.
CREATE FUNCTION pg_temp.access_log_time(day_and_time text) RETURNS timestamptz
LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE
AS $$
DECLARE
    requested_at timestamptz;
BEGIN
    -- 17/May/2015:10:05:03 +0000
    requested_at := translate(substr(day_and_time, 1, 11), '/', ' ') || ' ' || substr(day_and_time, 13);
    RETURN CASE WHEN requested_at >= '1970-01-01 00:00:00+00' THEN requested_at END;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END
$$;

-- The UTF-8 text that was read as LATIN1; unchanged if it was not UTF-8.
CREATE FUNCTION pg_temp.access_log_text(latin1 text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL UNSAFE
AS $$
BEGIN
    IF octet_length(latin1) = length(latin1) OR getdatabaseencoding() <> 'UTF8' THEN
        RETURN latin1;
    END IF;
    RETURN convert_from(convert_to(latin1, 'LATIN1'), 'UTF8');
EXCEPTION WHEN data_exception THEN
    RETURN latin1;
END
$$;

-- A line has address, identity and user, [time], "request", status and size. The combined format adds "referrer" and
-- "user agent"; a site may add more. Between quotes a backslash escapes the next character. While the line is split at
-- its quotes, control characters stand for the two escapes that matter here.
CREATE TEMPORARY TABLE access_log_requests ON COMMIT DROP AS
WITH split AS MATERIALIZED (
    SELECT
        line_number,
        line,
        string_to_array(replace(replace(line, '\\', E'\x03'), '\"', E'\x04'), '"') AS parts
    FROM (SELECT line_number, substr(line, 2) AS line FROM pg_temp.access_log_lines WHERE line LIKE ':%') AS log
),
checked AS MATERIALIZED (
    SELECT
        line_number,
        line,
        parts,
        parts[1] ~ '^\S+ \S+ [^[]+ \[\d\d/[A-Z][a-z][a-z]/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] $'
        AND (
            parts[3] ~ '^ \d{3} (\d+|-)$' AND cardinality(parts) = 3
            OR parts[3] ~ '^ \d{3} (\d+|-) $' AND parts[5] = ' ' AND cardinality(parts) >= 7 AND parts[7] ~ '^( |$)'
        ) AS well_formed
    FROM split
)
SELECT
    line_number,
    line,
    split_part(parts[1], ' ', 1) AS address,
    CASE WHEN well_formed THEN pg_temp.access_log_time(split_part(split_part(parts[1], '[', 2), ']', 1)) END
        AS requested_at,
    replace(replace(parts[2], E'\x04', '\"'), E'\x03', '\\') AS request,
    substr(parts[3], 2, 3) AS status,
    replace(replace(parts[6], E'\x04', '\"'), E'\x03', '\\') AS user_agent
FROM checked;

CREATE TEMPORARY TABLE access_log_views ON COMMIT DROP AS
WITH targets AS MATERIALIZED (
    SELECT
        line_number,
        address,
        user_agent,
        requested_at,
        regexp_replace(ltrim(substr(request, 5)), ' +HTTP/\d+(\.\d+)?$', '') AS target
    FROM pg_temp.access_log_requests
    WHERE status = '200'
        AND request LIKE 'GET %'
        AND requested_at IS NOT NULL
),
paths AS MATERIALIZED (
    SELECT
        line_number,
        md5(address || COALESCE(' ' || user_agent, '')) AS session_id,
        requested_at AS viewed_at,
        split_part(
            split_part(
                -- Of a whole URL, the part after the host, which may be empty.
                CASE WHEN target LIKE '/%' THEN target ELSE regexp_replace(target, '^https?://[^/?#]*/?', '/', 'i') END,
                '?', 1
            ),
            '#', 1
        ) AS path
    FROM targets
)
SELECT line_number, pg_temp.access_log_text(path) AS path, session_id, viewed_at
FROM paths
WHERE path LIKE '/%'
    AND path !~* (
        '\.(png|jpg|jpeg|gif|css|js|ico|txt|xml|svg|woff|ttf|pdf|zip|gz|tar|rpm|mp3|mp4|exe|jar|bz2|deb|dmg|swf|eot)$'
    );

INSERT INTO site_stats.page_views (path, page_type, session_id, viewed_at)
SELECT path, :page_type, session_id, viewed_at
FROM pg_temp.access_log_views
WHERE octet_length(path) <= 2048
ORDER BY line_number;

\pset format aligned
\pset border 2
\pset footer off
\pset null '-'

SELECT
    (SELECT count(*) FROM pg_temp.access_log_requests) AS lines,
    (SELECT count(*) FROM pg_temp.access_log_requests WHERE requested_at IS NULL) AS malformed,
    count(*) FILTER (WHERE octet_length(path) > 2048) AS too_long,
    count(*) FILTER (WHERE octet_length(path) <= 2048) AS views,
    count(DISTINCT path) FILTER (WHERE octet_length(path) <= 2048) AS paths,
    count(DISTINCT session_id) FILTER (WHERE octet_length(path) <= 2048) AS visitors,
    date_trunc('second', min(viewed_at)) AS first_view,
    date_trunc('second', max(viewed_at)) AS last_view
FROM pg_temp.access_log_views;

SELECT
    count(*) AS malformed,
    count(*) > 0 AS any_malformed
FROM pg_temp.access_log_requests
WHERE requested_at IS NULL \gset
\if :any_malformed
    SELECT
        line_number,
        CASE WHEN length(line) > 80 THEN left(line, 80) || '...' ELSE line END AS "malformed line (not imported)"
    FROM pg_temp.access_log_requests
    WHERE requested_at IS NULL
    ORDER BY line_number
    LIMIT 5;
\endif

COMMIT;

DROP FUNCTION pg_temp.access_log_time(text), pg_temp.access_log_text(text);
