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
-- The script refuses a log that it would read wrongly. It then imports nothing, names a line, and says what to do:
--   - A page view does not begin with an IPv4 or IPv6 address alone. Syslog, Docker and Kubernetes put a prefix there.
--     Other formats have a virtual host, an address with a port or in brackets, a list of addresses, or a hyphen.
--   - A page view begins with a name. The name may be that of the site or that of the visitor; see host_names below.
--   - The log is in the combined format, and no page view has a user agent (HAProxy's CLF).
--
-- A line is malformed if it is in another format or has two possible readings. Examples of the second kind:
--   - The line has a second address, as of a proxy.
--   - Its path has a # with two hexadecimal digits, which HAProxy writes in place of other bytes.
--   - Its path or user agent ends where varnishncsa or mini_httpd cuts them.
--   - It is in the common format, and other lines are in the combined format.
-- Malformed lines are counted, left out, and the first of them are shown. If they are more than a tenth of the log, the
-- script imports nothing.
--
-- Paths over 2,048 bytes are left out and counted. All is one transaction. A log that is imported twice counts twice.
-- After an error psql ends with status 3.
--
-- Variables, each given as -v name=value:
--   log        the file
--   page_type  an SQL expression over "path" for the type of a page; 'page' unless given. For example
--              -v page_type="CASE WHEN path = '/' THEN 'home' WHEN path LIKE '/blog/%' THEN 'blog' ELSE 'page' END"
--   host_names on: a name at the beginning of a line is that of the visitor (HostnameLookups of Apache).
--   allow_malformed
--              on: import the other lines if more than a tenth of the log is malformed, too.
--   triggers   off: do not count the page views now. For a first load of many millions of rows. Only a superuser can do
--              this. The statistics are wrong until SELECT site_stats.start_backfill() has been called.

\set ON_ERROR_STOP on
\set SHOW_CONTEXT never
\set QUIET on

\if :{?log}
\else
    DO $$ BEGIN RAISE EXCEPTION 'no log was named' USING HINT = 'Call psql with -v log=/path/to/access.log'; END $$;
\endif
\if :{?page_type}
\else
    \set page_type '''page'''
\endif
\if :{?host_names}
\else
    \set host_names off
\endif
\if :{?allow_malformed}
\else
    \set allow_malformed off
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
SET LOCAL access_log.host_names TO :'host_names';
SET LOCAL access_log.allow_malformed TO :'allow_malformed';
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

-- The time of a request. NULL for a date that no calendar has, such as 31/Feb, for one before 1970, and in a zone that
-- no country has, such as +0550.
CREATE FUNCTION pg_temp.access_log_time(day_and_time text) RETURNS timestamptz
LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE
AS $$
DECLARE
    requested_at timestamptz;
BEGIN
    -- 17/May/2015:10:05:03 +0000
    requested_at := translate(substr(day_and_time, 1, 11), '/', ' ') || ' ' || substr(day_and_time, 13);
    RETURN CASE
        WHEN requested_at >= '1970-01-01 00:00:00+00' AND right(day_and_time, 2) IN ('00', '15', '30', '45')
            THEN requested_at
    END;
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

-- Whether a field is one IPv4 or IPv6 address and nothing else. 0.0.0.0 and :: stand for no address.
CREATE FUNCTION pg_temp.access_log_is_address(field text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL UNSAFE
AS $$
BEGIN
    IF field ~* '^(\d{1,3}(\.\d{1,3}){3}|[0-9a-f:]*:[0-9a-f:]*(\d\.\d{1,3}\.\d{1,3}\.\d{1,3})?)$' THEN
        RETURN field::inet NOT IN ('0.0.0.0', '::');
    END IF;
    RETURN false;
EXCEPTION WHEN data_exception THEN
    RETURN false;
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
),
fields AS MATERIALIZED (
    SELECT
        line_number,
        line,
        well_formed,
        split_part(parts[1], ' ', 1) AS address,
        -- Of the first part the last 30 characters are the time with its brackets and blanks.
        CASE WHEN well_formed THEN substr(left(parts[1], -30), strpos(parts[1], ' ') + 1) END AS identity_and_user,
        CASE WHEN well_formed THEN pg_temp.access_log_time(left(right(parts[1], 28), 26)) END AS requested_at,
        substr(parts[3], 2, 3) AS status,
        -- What is asked for, without a protocol version. Of a whole URL it is the part after the host, maybe empty.
        CASE WHEN well_formed AND parts[2] LIKE 'GET %' THEN
            regexp_replace(
                regexp_replace(
                    ltrim(substr(replace(replace(parts[2], E'\x04', '\"'), E'\x03', '\\'), 5)),
                    ' +HTTP/\d+(\.\d+)?$', ''
                ),
                '^https?://[^/?#]*/?', '/', 'i'
            )
        END AS target,
        replace(replace(parts[6], E'\x04', '\"'), E'\x03', '\\') AS user_agent,
        CASE WHEN parts[7] = ' ' THEN parts[8] END AS forwarded_for,
        cardinality(parts) > 3 AS combined
    FROM checked
),
whole_log AS MATERIALIZED (
    SELECT
        bool_or(combined) AS combined,
        max(length(target)) AS target_length,
        max(length(user_agent)) AS user_agent_length
    FROM fields
    WHERE well_formed
),
judged AS MATERIALIZED (
    SELECT
        fields.*,
        -- Whether nothing but the first field can be the visitor. A user name has blanks only if the identity is a
        -- hyphen. A second address, or a hyphen in a user name with blanks, may be what follows a prefix.
        identity_and_user = '- -'
        OR identity_and_user ~ '^(- .+|\S+ \S+)$'
        AND identity_and_user !~ '^- (.+ )?-( .*)?$'
        AND identity_and_user !~ '\m\d{1,3}(\.\d{1,3}){3}(?![.\w])|:[0-9A-Fa-f]{0,4}:'
            AS nobody_else
    FROM fields
)
SELECT
    line_number,
    line,
    address,
    identity_and_user,
    nobody_else,
    requested_at,
    status,
    target,
    user_agent,
    CASE
        WHEN NOT well_formed THEN 'another format'
        WHEN requested_at IS NULL THEN 'no such time'
        WHEN whole_log.combined AND NOT judged.combined THEN 'cut, or in the common format'
        WHEN NOT nobody_else AND address ~ '^(\d+\.\d+\.\d+\.\d+|[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*)$' THEN 'two addresses'
        WHEN forwarded_for ~ '^[0-9A-Fa-f.:, ]*[.:][0-9A-Fa-f.:, ]*$'
            AND address <> ALL (string_to_array(replace(forwarded_for, ' ', ''), ',')) THEN 'two addresses'
        WHEN target ~ '#[0-9A-Fa-f]{2}' THEN '# in the path'
        WHEN length(target) = 254 AND target_length = 254 AND target NOT LIKE '%?%' THEN 'a path that was cut'
        WHEN length(user_agent) IN (200, 242) AND length(user_agent) = user_agent_length
            THEN 'a user agent that was cut'
    END AS malformed
FROM judged
CROSS JOIN whole_log;

CREATE TEMPORARY TABLE access_log_views ON COMMIT DROP AS
WITH paths AS MATERIALIZED (
    SELECT
        line_number,
        address,
        user_agent,
        md5(address || COALESCE(' ' || user_agent, '')) AS session_id,
        requested_at AS viewed_at,
        split_part(split_part(target, '?', 1), '#', 1) AS path
    FROM pg_temp.access_log_requests
    WHERE status = '200'
        AND malformed IS NULL
        AND target IS NOT NULL
)
SELECT line_number, address, user_agent, session_id, viewed_at, pg_temp.access_log_text(path) AS path
FROM paths
WHERE path LIKE '/%'
    AND path !~* (
        '\.(png|jpg|jpeg|gif|css|js|ico|txt|xml|svg|woff|ttf|pdf|zip|gz|tar|rpm|mp3|mp4|exe|jar|bz2|deb|dmg|swf|eot)$'
    );

-- Every page view begins with the address of its visitor, or the log is refused. Only if the user says so a name may be
-- there, since Apache has a documented format (comonvhost) in which it is the name of the site.
DO $$
DECLARE
    host_name CONSTANT text := '^([a-z0-9_]([a-z0-9_-]*[a-z0-9_])?\.)*[a-z]([a-z0-9-]*[a-z0-9])?\.?$';
    refused record;
    fault text;
    hint text;
    copy text := 'Import a copy that sed has made: gzip -cdf LOG | sed -E ''%s'' > COPY';
    place bigint;
BEGIN
    WITH addresses AS MATERIALIZED (
        SELECT address
        FROM (SELECT DISTINCT address FROM pg_temp.access_log_views) AS field
        WHERE pg_temp.access_log_is_address(address)
    )
    SELECT request.line_number, request.line, request.address, request.identity_and_user INTO refused
    FROM pg_temp.access_log_views AS page_view
    LEFT JOIN addresses ON addresses.address = page_view.address
    JOIN pg_temp.access_log_requests AS request ON request.line_number = page_view.line_number
    WHERE addresses.address IS NULL
        AND NOT (
            current_setting('access_log.host_names')::boolean
            AND request.address ~* host_name
            AND request.identity_and_user LIKE '- %'
            AND request.nobody_else
        )
    ORDER BY request.line_number
    LIMIT 1;
    IF NOT FOUND THEN
        RETURN;
    END IF;

    SELECT min(word.place) INTO place
    FROM unnest(string_to_array(refused.identity_and_user, ' ')) WITH ORDINALITY AS word (field, place)
    WHERE pg_temp.access_log_is_address(word.field);
    IF refused.address LIKE '%,%' THEN
        fault := 'a list of addresses, as in X-Forwarded-For';
        hint := 'Let the server write one address, that of the visitor. '
            'In the list trust only what your own proxies add.';
    ELSIF place IS NOT NULL THEN
        fault := 'a virtual host or a prefix, as of syslog, in front of the address';
        hint := format(
            'Import a copy that begins with the address: gzip -cdf LOG | cut -d '' '' -f %s- > COPY. '
            'Of a log of several sites choose the lines of one site first.',
            place + 1
        );
    ELSIF pg_temp.access_log_is_address(regexp_replace(refused.address, '^\[?(.*?)\]?:\d+$', '\1')) THEN
        fault := 'an address with a port';
        hint := format(copy, 's/^\[?([^] ]*)\]?:[0-9]+ /\1 /');
    ELSIF pg_temp.access_log_is_address(btrim(refused.address, '[]')) THEN
        fault := 'an address in brackets';
        hint := format(copy, 's/^\[([^] ]*)\] /\1 /');
    ELSIF refused.address IN ('-', '0.0.0.0', '::') THEN
        fault := 'no address';
        hint := 'Let the server write the address of the visitor there.';
    ELSIF refused.address ~* host_name THEN
        fault := 'a name, of the site or of the visitor';
        hint := 'If the server writes the names of visitors (HostnameLookups) and the identity is a hyphen, '
            'call psql with -v host_names=on.';
    ELSE
        fault := 'not an address';
        hint := 'Let the server write the address of the visitor there, or import a copy that begins with it.';
    END IF;
    RAISE EXCEPTION 'line % of the log does not begin with the address of a visitor', refused.line_number
        USING ERRCODE = 'data_exception',
            DETAIL = format(
                'The first field "%s" is %s. The line: %s',
                pg_temp.access_log_text(left(refused.address, 80)),
                fault,
                pg_temp.access_log_text(left(refused.line, 120))
            ),
            HINT = 'Nothing was imported. ' || hint;
END
$$;

-- Without user agents visitors are addresses. The common format says so; a field that is always empty does not.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_temp.access_log_views WHERE user_agent IN ('', '-'))
        AND NOT EXISTS (SELECT FROM pg_temp.access_log_views WHERE user_agent NOT IN ('', '-') OR user_agent IS NULL)
    THEN
        RAISE EXCEPTION 'no page view of the log has a user agent, though its format has a place for it'
            USING ERRCODE = 'data_exception',
                HINT = 'Nothing was imported. Let the server write the user agent. '
                    'To take each address for one visitor, import a copy in the common format: '
                    'gzip -cdf LOG | sed -E ''s/^([^"]*"[^"]*" [0-9]{3} [0-9-]+) .*/\1/'' > COPY';
    END IF;
END
$$;

DO $$
DECLARE
    counted record;
BEGIN
    SELECT
        count(*) AS lines,
        count(malformed) AS malformed,
        min(line_number) FILTER (WHERE malformed IS NOT NULL) AS first
    INTO counted
    FROM pg_temp.access_log_requests;
    IF counted.malformed * 10 > counted.lines AND NOT current_setting('access_log.allow_malformed')::boolean THEN
        RAISE EXCEPTION '% of the % lines of the log are malformed, more than a tenth', counted.malformed, counted.lines
            USING ERRCODE = 'data_exception',
                DETAIL = (
                    SELECT format(
                        'The first is line %s (%s): %s',
                        line_number, malformed, pg_temp.access_log_text(left(line, 120))
                    )
                    FROM pg_temp.access_log_requests
                    WHERE line_number = counted.first
                ),
                HINT = 'Nothing was imported. Is the log in the common or combined format, plain or compressed '
                    'by gzip? To import the other lines, call psql with -v allow_malformed=on.';
    END IF;
END
$$;

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
    (SELECT count(malformed) FROM pg_temp.access_log_requests) AS malformed,
    count(*) FILTER (WHERE octet_length(path) > 2048) AS too_long,
    count(*) FILTER (WHERE octet_length(path) <= 2048) AS views,
    count(DISTINCT path) FILTER (WHERE octet_length(path) <= 2048) AS paths,
    count(DISTINCT session_id) FILTER (WHERE octet_length(path) <= 2048) AS visitors,
    date_trunc('second', min(viewed_at)) AS first_view,
    date_trunc('second', max(viewed_at)) AS last_view
FROM pg_temp.access_log_views;

SELECT EXISTS (SELECT FROM pg_temp.access_log_views WHERE user_agent IS NULL) AS without_user_agents,
    EXISTS (SELECT FROM pg_temp.access_log_requests WHERE malformed IS NOT NULL) AS any_malformed \gset
\if :without_user_agents
    \echo The log has no user agents: each address is one visitor.
    \echo
\endif
\if :any_malformed
    SELECT
        line_number,
        malformed AS why,
        CASE WHEN length(line) > 80 THEN left(line, 80) || '...' ELSE line END AS "malformed line (not imported)"
    FROM pg_temp.access_log_requests
    WHERE malformed IS NOT NULL
    ORDER BY line_number
    LIMIT 5;
\endif

COMMIT;

DROP FUNCTION pg_temp.access_log_time(text), pg_temp.access_log_text(text), pg_temp.access_log_is_address(text);
