-- Refusals: what is counted, by which day and site, what refusals() answers, and what folding and the removal of a site
-- do to the counts.
SET TIME ZONE 'UTC';
TRUNCATE site_stats.page_views;
TRUNCATE site_stats.refusal_totals;
INSERT INTO site_stats.sites (name) VALUES ('shop'), ('blog');

-- A view that is recorded or a duplicate is none.
SET site_stats.max_views_per_minute = 2;
SELECT i, site_stats.record_page_view('/page/' || i, 'page', 'ann') FROM generate_series(1, 5) AS i;
SELECT site_stats.record_page_view('/page/1', 'page', 'ann');
SELECT i, site_stats.record_page_view('/page/' || i, 'page', 'ann', 'shop') FROM generate_series(1, 3) AS i;
SELECT day = (now() AT TIME ZONE 'UTC')::date AS today, reason, count FROM site_stats.refusals();
SELECT reason, count FROM site_stats.refusals(site => 'shop');
SELECT reason, count FROM site_stats.refusals(site => 'blog');

-- A refusal stays or goes with its transaction, and its transaction sees it at any level.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT site_stats.record_page_view('/page/6', 'page', 'ann');
SELECT reason, count FROM site_stats.refusals();
SAVEPOINT a;
SELECT site_stats.record_page_view('/page/6', 'page', 'ann');
SELECT reason, count FROM site_stats.refusals();
ROLLBACK TO a;
SELECT reason, count FROM site_stats.refusals();
ROLLBACK;
SELECT reason, count FROM site_stats.refusals();
RESET site_stats.max_views_per_minute;

-- Days and reasons in order; both days are inclusive, NULL is open. The rows of several slots are one count.
INSERT INTO site_stats.refusal_totals (site_id, day, reason, slot, refusals)
SELECT 1, '2026-02-01'::date + d, r, s, 1
FROM generate_series(0, 3) AS d
CROSS JOIN unnest(ARRAY['unknown_host', 'bot', 'excluded']) AS r
CROSS JOIN generate_series(0, 4) AS s
WHERE r = 'bot' OR d = 1;
SELECT * FROM site_stats.refusals('2026-02-01', '2026-02-28');
SELECT * FROM site_stats.refusals('2026-02-02', '2026-02-02');
SELECT * FROM site_stats.refusals(NULL, '2026-02-01');
SELECT reason, sum(count) FROM site_stats.refusals('2026-02-03') GROUP BY reason ORDER BY reason;
SELECT * FROM site_stats.refusals('2026-02-03', '2026-02-02');
SELECT * FROM site_stats.refusals('-infinity', '2026-02-01');
SELECT * FROM site_stats.refusals(site => 'nowhere');
SELECT * FROM site_stats.refusals(site => NULL);

-- Folding adds the rows of idle slots up; no answer changes.
CREATE TEMPORARY TABLE before AS
SELECT * FROM site_stats.refusals();
SELECT site_stats.fold_totals(5) > 0 AS some;
SELECT site_stats.fold_totals() > 0 AS more;
SELECT count(*) FROM site_stats.refusal_totals AS t WHERE t.slot > 0;
SELECT * FROM site_stats.refusals()
EXCEPT
SELECT * FROM before;
SELECT count(*) = (SELECT count(*) FROM before) AS same FROM site_stats.refusals();
SET site_stats.max_views_per_minute = 1;
SELECT site_stats.record_page_view('/page/6', 'page', 'ann');
RESET site_stats.max_views_per_minute;
SELECT sum(r.count) - (SELECT sum(b.count) FROM before AS b) AS added FROM site_stats.refusals() AS r;

-- Page views that go leave the refusals; a site that goes takes its own along.
TRUNCATE site_stats.page_views;
SELECT reason, count FROM site_stats.refusals(site => 'shop');
DELETE FROM site_stats.sites WHERE name = 'shop';
SELECT DISTINCT site_id FROM site_stats.refusal_totals;
SELECT reason, sum(count) FROM site_stats.refusals(NULL, '2026-02-28') GROUP BY reason ORDER BY reason;

-- The owner may have a say in each row: it is written as an INSERT or UPDATE would write it.
TRUNCATE site_stats.refusal_totals;
ALTER TABLE site_stats.refusal_totals ADD CONSTRAINT few CHECK (refusals < 3);
SET site_stats.max_views_per_minute = 1;
SELECT i, site_stats.record_page_view('/page/' || i, 'page', 'ann') FROM generate_series(1, 3) AS i;
\set VERBOSITY terse
SELECT site_stats.record_page_view('/page/4', 'page', 'ann');
\set VERBOSITY default
RESET site_stats.max_views_per_minute;
SELECT reason, count FROM site_stats.refusals();
ALTER TABLE site_stats.refusal_totals DROP CONSTRAINT few;

DELETE FROM site_stats.sites WHERE name <> '';
TRUNCATE site_stats.refusal_totals;
TRUNCATE site_stats.page_views;
DROP TABLE before;
SELECT * FROM site_stats.check_totals();
