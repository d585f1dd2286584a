-- Copies the page views of a file into the page_views of the search path, in the server. Prints the process id of the
-- backend, its private memory before the COPY in kB, and the seconds that the COPY took.
-- Variable: file.

\set ON_ERROR_STOP on

SELECT pg_backend_pid() AS pid \gset
\echo :pid
\setenv BACKEND :pid
\! sed -n 's/^RssAnon:[^0-9]*\([0-9]*\) kB/\1/p' /proc/$BACKEND/status
SELECT clock_timestamp() AS began_at \gset
COPY page_views (path, page_type, session_id, viewed_at) FROM :'file';
SELECT extract(epoch FROM clock_timestamp() - :'began_at'::timestamptz);
