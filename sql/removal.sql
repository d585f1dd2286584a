-- removal: takes page views away for good, those of one visitor or the old ones. The triggers of page_views take them
-- out of the counters in the same transaction.

-- A visitor who is forgotten takes along the rows of origins and clients that no other page view refers to. These
-- indexes find another one. A page view that has neither, as most direct ones have no origin, costs them nothing.
CREATE INDEX page_views_origin_id_idx ON site_stats.page_views (origin_id) WHERE origin_id IS NOT NULL;
CREATE INDEX page_views_client_id_idx ON site_stats.page_views (client_id) WHERE client_id IS NOT NULL;

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
