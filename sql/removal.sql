-- removal: takes page views away for good, those of one visitor or the old ones. The triggers of page_views take them
-- out of the counters in the same transaction.

CREATE FUNCTION site_stats.forget_session(session_id text, site text DEFAULT '')
RETURNS bigint
LANGUAGE c
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'forget_session_wrapper';
COMMENT ON FUNCTION site_stats.forget_session(text, text) IS
    'Erases a visitor of a site from every table, and returns how many page views went with the visitor.';

CREATE FUNCTION site_stats.remove_page_views(before timestamptz, max_rows integer DEFAULT 500)
RETURNS bigint
LANGUAGE c
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'remove_page_views_wrapper';
COMMENT ON FUNCTION site_stats.remove_page_views(timestamptz, integer) IS
    'Removes at most max_rows page views that are older, the oldest of a site first; returns how many, 0 when all are.';
