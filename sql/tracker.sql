-- tracker: the script for a site's pages, which sends the events that receive() takes.

-- It reads nothing, and is STABLE because another version of the library may have another script.
CREATE FUNCTION site_stats.tracker(endpoint text)
RETURNS text
LANGUAGE c
STABLE
CALLED ON NULL INPUT
PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'tracker_wrapper';
COMMENT ON FUNCTION site_stats.tracker(text) IS
    'The script for the pages of a site; endpoint is the path or URL to which it sends events for receive().';
