-- Asks some questions three times. Prints the process id of the backend, and its private memory before in kB.
-- Variable: questions, a file of statements.

\set ON_ERROR_STOP on

SELECT pg_backend_pid() AS pid \gset
\echo :pid
\setenv BACKEND :pid
\! sed -n 's/^RssAnon:[^0-9]*\([0-9]*\) kB/\1/p' /proc/$BACKEND/status
\o /dev/null
\i :questions
\i :questions
\i :questions
