-- For pgbench: heartbeats of 10,000 visitors who move on to another page each time.
\set rank random(1, 1000)
\set session random(1, 10000)
SELECT site_stats.heartbeat(md5(:session), '/blog/post-' || :rank);
