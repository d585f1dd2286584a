-- Writes the spans of all page views. Prints the process id of the backend, its private memory before in kB, and the
-- seconds that it took.

\set ON_ERROR_STOP on

SELECT pg_backend_pid() AS pid \gset
\echo :pid
\setenv BACKEND :pid
\! sed -n 's/^RssAnon:[^0-9]*\([0-9]*\) kB/\1/p' /proc/$BACKEND/status
SELECT clock_timestamp() AS began_at \gset
CALL site_stats.write_spans();
SELECT extract(epoch FROM clock_timestamp() - :'began_at'::timestamptz);
