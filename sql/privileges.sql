-- privileges: only the owner of the extension has any, until the owner grants them.
--
-- A site needs USAGE on the schema, and EXECUTE on record_page_view and heartbeat. A reader needs USAGE on the schema,
-- and EXECUTE on the functions of report.sql that it calls.

REVOKE ALL ON SCHEMA site_stats FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA site_stats FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA site_stats FROM PUBLIC;
REVOKE ALL ON ALL ROUTINES IN SCHEMA site_stats FROM PUBLIC;

-- A CHECK constraint is evaluated as the role that writes.
GRANT EXECUTE ON FUNCTION
    site_stats.is_path(text),
    site_stats.is_page_type(text),
    site_stats.is_session_id(text),
    site_stats.is_time_of_view(timestamptz)
TO PUBLIC;
