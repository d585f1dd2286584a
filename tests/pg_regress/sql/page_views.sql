-- Page views, written in every way that SQL has: the aggregates follow in the same transaction.
SET TIME ZONE 'UTC';
TRUNCATE site_stats.page_views;

CREATE VIEW totals AS
SELECT total_page_views, unique_visitors, total_paths, source FROM site_stats.get_stats();

-- One row, many rows, no row.
INSERT INTO site_stats.page_views (path, page_type, session_id, viewed_at)
VALUES ('/', 'home', 'ann', '2026-03-01 23:59:59.999999+00');
INSERT INTO site_stats.page_views (path, page_type, session_id, viewed_at) VALUES
    ('/', 'home', 'bob', '2026-03-02 00:00:00+00'),
    ('/blog/one', 'blog', 'bob', '2026-03-02 12:00:00+00'),
    ('/blog/one', 'blog', 'cem', '2026-03-02 23:30:00-02'),
    ('/about', 'page', 'cem', '2026-03-04 00:00:00+00');
INSERT INTO site_stats.page_views (path, session_id) SELECT '/none', 'none' WHERE false;
SELECT * FROM totals;
SELECT * FROM site_stats.check_totals();
SELECT * FROM site_stats.views_by_day();
SELECT * FROM site_stats.top_pages();

-- COPY, with ids of the database's and of the file's.
COPY site_stats.page_views (path, session_id, viewed_at) FROM stdin WITH (DELIMITER ',');
/copied,dan,2026-03-05 10:00:00+00
/copied,eve,2026-03-05 11:00:00+00
\.
COPY site_stats.page_views (id, path, page_type, session_id, viewed_at) FROM stdin WITH (DELIMITER ',');
1000000,/copied,page,dan,2026-03-05 10:00:00+00
1000001,/with id,page,fay,2026-03-05 11:00:00+00
\.
SELECT * FROM totals;
SELECT * FROM site_stats.check_totals();

-- An UPDATE that moves views to another path, session or day; one that moves none; one that only changes a type.
UPDATE site_stats.page_views SET path = '/blog/two' WHERE path = '/blog/one' AND session_id = 'cem';
UPDATE site_stats.page_views SET session_id = 'ann' WHERE session_id = 'bob' AND path = '/';
UPDATE site_stats.page_views SET viewed_at = viewed_at + '1 day' WHERE path = '/about';
UPDATE site_stats.page_views SET viewed_at = viewed_at + '1 second' WHERE path = '/about';
UPDATE site_stats.page_views SET page_type = 'post' WHERE path = '/blog/two';
UPDATE site_stats.page_views SET path = path;
UPDATE site_stats.page_views SET id = DEFAULT WHERE id = 1000001;
SELECT * FROM totals;
SELECT path, page_type, views FROM site_stats.top_pages();
SELECT * FROM site_stats.check_totals();

-- DELETE; a session whose last view goes leaves no trace.
DELETE FROM site_stats.page_views WHERE path = '/with id';
DELETE FROM site_stats.page_views WHERE session_id = 'eve';
SELECT * FROM totals;
SELECT session_id FROM site_stats.sessions WHERE session_id IN ('eve', 'fay');
SELECT * FROM site_stats.check_totals();

-- ON CONFLICT in both forms, MERGE, and writes inside WITH.
INSERT INTO site_stats.page_views (id, path, session_id, viewed_at) OVERRIDING SYSTEM VALUE
VALUES (1000000, '/conflict', 'gus', '2026-03-06 00:00:00+00'), (1000002, '/conflict', 'gus', '2026-03-06 00:00:00+00')
ON CONFLICT (id) DO NOTHING;
INSERT INTO site_stats.page_views (id, path, session_id, viewed_at) OVERRIDING SYSTEM VALUE
VALUES (1000000, '/conflict', 'gus', '2026-03-06 00:00:00+00'), (1000003, '/conflict', 'hal', '2026-03-06 00:00:00+00')
ON CONFLICT (id) DO UPDATE SET path = '/updated';
SELECT * FROM site_stats.check_totals();
MERGE INTO site_stats.page_views AS v
USING (VALUES ('/updated', 'delete'), ('/conflict', 'update'), ('/merged', 'insert')) AS m (path, action)
ON v.path = m.path
WHEN MATCHED AND m.action = 'delete' THEN DELETE
WHEN MATCHED THEN UPDATE SET session_id = 'ida'
WHEN NOT MATCHED THEN INSERT (path, session_id, viewed_at) VALUES (m.path, 'joe', '2026-03-07 00:00:00+00');
SELECT * FROM site_stats.check_totals();
WITH one AS (
    INSERT INTO site_stats.page_views (path, session_id, viewed_at)
    VALUES ('/with', 'kim', '2026-03-07 00:00:00+00')
    RETURNING 1
),
two AS (
    INSERT INTO site_stats.page_views (path, session_id, viewed_at)
    VALUES ('/with', 'leo', '2026-03-07 00:00:00+00')
    RETURNING 1
),
three AS (
    DELETE FROM site_stats.page_views WHERE path = '/merged' RETURNING 1
),
four AS (
    UPDATE site_stats.page_views SET path = '/four' WHERE session_id = 'ida' RETURNING 1
)
SELECT
    (SELECT count(*) FROM one),
    (SELECT count(*) FROM two),
    (SELECT count(*) FROM three),
    (SELECT count(*) FROM four);
SELECT * FROM totals;
SELECT * FROM site_stats.check_totals();

-- Rollback, savepoints, and a block that catches an error: rows and counts go together.
BEGIN;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/rolled back', 'max');
SELECT total_page_views FROM totals;
ROLLBACK;
BEGIN;
INSERT INTO site_stats.page_views (path, session_id, viewed_at) VALUES ('/kept', 'max', '2026-03-08 00:00:00+00');
SAVEPOINT one;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/rolled back', 'nan');
SAVEPOINT two;
DELETE FROM site_stats.page_views;
SELECT total_page_views, unique_visitors FROM totals;
ROLLBACK TO one;
SELECT * FROM site_stats.check_totals();
INSERT INTO site_stats.page_views (path, session_id, viewed_at) VALUES ('/kept', 'oli', '2026-03-08 00:00:00+00');
COMMIT;
DO $$
BEGIN
    INSERT INTO site_stats.page_views (path, session_id) VALUES ('/caught', 'pia');
    RAISE EXCEPTION 'caught';
EXCEPTION
    WHEN raise_exception THEN
        INSERT INTO site_stats.page_views (path, session_id, viewed_at)
        VALUES ('/handled', 'pia', '2026-03-08 00:00:00+00');
END
$$;
SELECT * FROM totals;
SELECT * FROM site_stats.check_totals();

-- A big statement is flushed in pieces; keys of every kind and length.
INSERT INTO site_stats.page_views (path, page_type, session_id, viewed_at)
SELECT
    '/many/' || i % 22000,
    'page',
    'session ' || i % 21000,
    '2026-01-01 00:00:00+00'::timestamptz + i * interval '1 minute'
FROM generate_series(1, 24000) AS i;
INSERT INTO site_stats.page_views (path, page_type, session_id, viewed_at) VALUES
    (repeat('/long', 409) || '/é', 'page', repeat('é', 64), '1970-01-01 00:00:00+00'),
    (E'/\u4e16\u754c \\ "quoted" ''single'' \t tab', 'page', E'\r\n', '9999-12-31 23:59:59.999999+00');
SELECT * FROM totals;
SELECT * FROM site_stats.check_totals();
UPDATE site_stats.page_views SET path = path || '/moved', viewed_at = viewed_at + '1 day' WHERE path LIKE '/many/%';
SELECT * FROM site_stats.check_totals();
DELETE FROM site_stats.page_views WHERE path LIKE '/many/%';
SELECT * FROM totals;
SELECT * FROM site_stats.check_totals();

-- Room for temporary files runs out in the middle of a statement: it fails as a whole.
SET work_mem = '64kB';
SET temp_file_limit = '64kB';
\set VERBOSITY sqlstate
INSERT INTO site_stats.page_views (path, session_id) SELECT '/too much', 's' || i FROM generate_series(1, 20000) AS i;
\set VERBOSITY default
RESET temp_file_limit;
RESET work_mem;
SELECT * FROM totals;
SELECT * FROM site_stats.check_totals();

-- TRUNCATE, also rolled back, and with new ids from 1.
BEGIN;
TRUNCATE site_stats.page_views;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/after', 'q');
SELECT total_page_views, unique_visitors, total_paths FROM totals;
SELECT * FROM site_stats.check_totals();
ROLLBACK;
SELECT * FROM totals;
SELECT * FROM site_stats.check_totals();
INSERT INTO site_stats.page_views (path, session_id, viewed_at)
VALUES ('/after rollback', 'q', '2026-03-09 00:00:00+00');
SELECT * FROM site_stats.check_totals();
TRUNCATE site_stats.page_views RESTART IDENTITY;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/', 'r') RETURNING id;
SELECT * FROM totals;
SELECT * FROM site_stats.check_totals();

-- What bypasses the triggers is found, and a backfill repairs it.
SET session_replication_role = replica;
INSERT INTO site_stats.page_views (path, session_id, viewed_at) VALUES ('/unseen', 's', '2026-03-09 00:00:00+00');
RESET session_replication_role;
SELECT * FROM site_stats.check_totals();
CALL site_stats.backfill();
SELECT * FROM totals;
SELECT * FROM site_stats.check_totals();

DROP VIEW totals;
