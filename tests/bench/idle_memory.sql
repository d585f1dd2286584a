-- Prints the private memory, in kB, of a backend that has only started.

SELECT pg_backend_pid() AS pid \gset
\setenv BACKEND :pid
\! sed -n 's/^RssAnon:[^0-9]*\([0-9]*\) kB/\1/p' /proc/$BACKEND/status
