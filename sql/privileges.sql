-- privileges: only the owner of the extension has any, until the owner grants them.
--
-- A site needs USAGE on the schema, and EXECUTE on record_page_view and heartbeat. A reader needs USAGE on the schema,
-- and EXECUTE on the functions of report.sql that it calls.

REVOKE ALL ON SCHEMA site_stats FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA site_stats FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA site_stats FROM PUBLIC;
REVOKE ALL ON ALL ROUTINES IN SCHEMA site_stats FROM PUBLIC;
