-- Prints the private memory of a backend, in kB, that has done no more than begin.

SELECT pg_backend_pid() AS pid \gset
\setenv BACKEND :pid
\! sed -n 's/^RssAnon:[^0-9]*\([0-9]*\) kB/\1/p' /proc/$BACKEND/status
