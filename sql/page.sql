-- page: the statistics page as an HTML document. It is exact and of one snapshot, like the numbers on it.

CREATE FUNCTION site_stats.stats_page(query jsonb DEFAULT '{}', site text DEFAULT '')
RETURNS text
LANGUAGE c
STABLE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'read_statistics';
COMMENT ON FUNCTION site_stats.stats_page(jsonb, text) IS
    'The statistics page of a site as HTML; query has the parameters of its URL. Site NULL is the one that these name.';

CREATE FUNCTION site_stats.stats_page_in_snapshot(query jsonb, site text)
RETURNS text
LANGUAGE c
STABLE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'stats_page_wrapper';
COMMENT ON FUNCTION site_stats.stats_page_in_snapshot(jsonb, text) IS 'What stats_page() shows, and its HTML.';
