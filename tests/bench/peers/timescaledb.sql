-- The peer TimescaleDB: a hypertable with a continuous aggregate of the views by day and path, which a job fills later.
-- Filled with the history of the plain variant.

\set ON_ERROR_STOP on

CREATE EXTENSION timescaledb;
CREATE SCHEMA peer_timescaledb;
-- Unique indexes of a hypertable must have the time in them.
CREATE TABLE peer_timescaledb.page_views (
    LIKE site_stats.page_views INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING IDENTITY,
    PRIMARY KEY (id, viewed_at)
);
SELECT create_hypertable('peer_timescaledb.page_views', 'viewed_at');
CREATE INDEX ON peer_timescaledb.page_views (session_id, viewed_at);

INSERT INTO peer_timescaledb.page_views (path, page_type, session_id, viewed_at)
SELECT v.path, v.page_type, v.session_id, v.viewed_at FROM plain.page_views AS v ORDER BY v.id;

CREATE MATERIALIZED VIEW peer_timescaledb.daily_totals
WITH (timescaledb.continuous) AS
SELECT time_bucket('1 day', viewed_at) AS day, path, count(*) AS views
FROM peer_timescaledb.page_views
GROUP BY 1, 2;
