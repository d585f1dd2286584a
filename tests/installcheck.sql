-- A server as somebody else may have it: settings that change what statements mean or print, and what a run of
-- make installcheck leaves when it is interrupted. bin/check runs the SQL tests on it.
ALTER SYSTEM SET timezone TO 'Asia/Kolkata';
ALTER SYSTEM SET datestyle TO 'German';
ALTER SYSTEM SET intervalstyle TO 'iso_8601';
ALTER SYSTEM SET bytea_output TO 'escape';
ALTER SYSTEM SET extra_float_digits TO 0;
ALTER SYSTEM SET quote_all_identifiers TO on;
ALTER SYSTEM SET standard_conforming_strings TO off;
ALTER SYSTEM SET transform_null_equals TO on;
ALTER SYSTEM SET client_min_messages TO debug1;
ALTER SYSTEM SET search_path TO 'site_stats';
ALTER SYSTEM SET default_transaction_isolation TO 'serializable';
ALTER SYSTEM SET default_transaction_read_only TO on;
ALTER SYSTEM SET statement_timeout TO '50ms';
LOAD 'site_stats';
ALTER SYSTEM SET site_stats.dedup_window TO 10;
ALTER SYSTEM SET site_stats.max_views_per_minute TO 3;
ALTER SYSTEM SET site_stats.visit_timeout TO 60;
ALTER SYSTEM SET site_stats.counter_slots TO 2;
ALTER SYSTEM SET site_stats.backfill_batch_size TO 7;
CREATE ROLE regress_web;
CREATE DATABASE regress_readme OWNER regress_web;
SELECT pg_reload_conf();
