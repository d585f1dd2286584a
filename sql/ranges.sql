-- ranges: any question about any range of days. docs/reports.md defines the numbers.

CREATE FUNCTION site_stats.summary(
    since date DEFAULT NULL,
    until date DEFAULT NULL,
    filters jsonb DEFAULT '{}',
    site text DEFAULT ''
)
RETURNS TABLE (
    views bigint,
    visitors bigint,
    visits bigint,
    entries bigint,
    exits bigint,
    bounces bigint,
    seconds bigint
)
LANGUAGE c
STABLE
CALLED ON NULL INPUT
PARALLEL UNSAFE
ROWS 1
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'summary_wrapper';
COMMENT ON FUNCTION site_stats.summary(date, date, jsonb, text) IS
    'Views, visitors, visits, entries, exits, bounces and seconds of the days from since to until, as one row.';

CREATE FUNCTION site_stats.timeline(
    unit text,
    since date DEFAULT NULL,
    until date DEFAULT NULL,
    filters jsonb DEFAULT '{}',
    site text DEFAULT ''
)
RETURNS TABLE (
    starts_at timestamptz,
    views bigint,
    visitors bigint,
    visits bigint,
    entries bigint,
    exits bigint,
    bounces bigint,
    seconds bigint
)
LANGUAGE c
STABLE
CALLED ON NULL INPUT
PARALLEL UNSAFE
ROWS 100
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'timeline_wrapper';
COMMENT ON FUNCTION site_stats.timeline(text, date, date, jsonb, text) IS
    'The numbers of summary() for each hour, day, week or month of the site, also where there are none.';

CREATE FUNCTION site_stats.breakdown(
    "by" text,
    since date DEFAULT NULL,
    until date DEFAULT NULL,
    filters jsonb DEFAULT '{}',
    max_rows integer DEFAULT 50,
    site text DEFAULT ''
)
RETURNS TABLE (
    value text,
    views bigint,
    visitors bigint,
    visits bigint,
    entries bigint,
    exits bigint,
    bounces bigint,
    seconds bigint
)
LANGUAGE c
STABLE
CALLED ON NULL INPUT
PARALLEL UNSAFE
ROWS 50
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'breakdown_wrapper';
COMMENT ON FUNCTION site_stats.breakdown(text, date, date, jsonb, integer, text) IS
    'The numbers of summary() for each path, source, country or other value: those with the most visitors first.';
