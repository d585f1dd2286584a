-- Reports: summary(), timeline() and breakdown() over a history that can be counted by hand. Each answer is compared
-- with that of the oracle, too (tests/reports): a difference is a row.
SET client_min_messages = warning;
SET TIME ZONE 'UTC';
SET datestyle = ISO, YMD;
TRUNCATE site_stats.page_views;
\getenv folder PG_ABS_SRCDIR
\set oracle :folder '/../reports/oracle.sql'
\set compare :folder '/../reports/compare.sql'
\set ECHO none
\i :oracle
\i :compare
\set ECHO all

INSERT INTO site_stats.origins (source, referrer, medium, campaign, term, content, channel) VALUES
('Google', 'www.google.com/', 'cpc', 'spring', 'statistics', 'top', 'Paid Search'),
('news.example', 'news.example/item', NULL, NULL, NULL, NULL, 'Referral');
INSERT INTO site_stats.clients (browser, os, device, country, language) VALUES
('Firefox', 'Linux', 'desktop', 'DE', 'de'),
('Safari', 'iOS', 'mobile', 'FR', NULL);
CREATE FUNCTION origin(wanted text) RETURNS integer LANGUAGE sql
AS 'SELECT max(id) FROM site_stats.origins WHERE source = wanted';
CREATE FUNCTION client(wanted text) RETURNS integer LANGUAGE sql
AS 'SELECT max(id) FROM site_stats.clients WHERE browser = wanted';

-- Monday, 3 March 2025. Ann's third view comes 30 minutes after the second: one visit. Her fourth comes a microsecond
-- later than that: another visit. Bob's two views have one time, so his visit begins with the lower id. Cid's visit
-- goes over midnight. Dee's visit takes 0.2 seconds, in which a second begins.
INSERT INTO site_stats.page_views (id, path, page_type, session_id, viewed_at, origin_id, client_id)
OVERRIDING SYSTEM VALUE VALUES
(101, '/', 'home', 'ann', '2025-03-03 09:00:00+00', origin('Google'), client('Firefox')),
(102, '/a', 'page', 'ann', '2025-03-03 09:10:00+00', NULL, NULL),
(103, '/b', 'page', 'ann', '2025-03-03 09:40:00+00', origin('news.example'), client('Safari')),
(104, '/', 'home', 'ann', '2025-03-03 10:10:00.000001+00', origin('news.example'), client('Firefox')),
(106, '/', 'home', 'bob', '2025-03-03 12:00:00+00', origin('Google'), client('Safari')),
(105, '/a', 'page', 'bob', '2025-03-03 12:00:00+00', NULL, client('Safari')),
(107, '/', 'home', 'cid', '2025-03-03 23:50:00+00', NULL, NULL),
(108, '/b', 'page', 'cid', '2025-03-04 00:05:00+00', NULL, NULL),
(109, '/a', 'page', 'dee', '2025-03-04 10:00:00.9+00', NULL, NULL),
(110, '/b', 'page', 'dee', '2025-03-04 10:00:01.1+00', NULL, NULL);

-- All questions that are asked below, for the oracle.
CREATE TEMPORARY TABLE questions (question text);

-- Everything: 10 views of 4 visitors, in 5 visits, of which one has one view. Ann's first visit takes 2,400 seconds,
-- Bob's 0, Cid's 900, Dee's 1.
SELECT * FROM site_stats.summary(NULL, NULL);

-- On Monday 4 visits begin, and 3 end: Cid's ends on Tuesday, but its 900 seconds are where it begins. On Tuesday there
-- are 2 visits, one of which began on Monday.
SELECT * FROM site_stats.summary('2025-03-03', '2025-03-03');
SELECT * FROM site_stats.summary('2025-03-04', '2025-03-04');
SELECT * FROM site_stats.summary('2025-03-04', NULL);
SELECT * FROM site_stats.summary(NULL, '2025-03-03');
SELECT * FROM site_stats.summary('-infinity', 'infinity');
SELECT * FROM site_stats.summary('2025-03-04', '2025-03-03');
SELECT * FROM site_stats.summary('2025-03-05', NULL);
INSERT INTO questions VALUES
('summary(NULL, NULL)'),
($$summary('2025-03-03', '2025-03-03')$$),
($$summary('2025-03-04', '2025-03-04')$$),
($$summary('2025-03-04', NULL)$$),
($$summary(NULL, '2025-03-03')$$),
($$summary('-infinity', 'infinity')$$),
($$summary('2025-03-04', '2025-03-03')$$),
($$summary('2025-03-05', NULL)$$);

-- By page. Page / begins the visits of Ann (two) and Cid; Bob's ends there. Most visitors come first, then most views.
SELECT * FROM site_stats.breakdown('path', NULL, NULL);
SELECT * FROM site_stats.breakdown('path', '2025-03-04', '2025-03-04');
SELECT * FROM site_stats.breakdown('path', NULL, NULL, max_rows => 1);
SELECT * FROM site_stats.breakdown('path', NULL, NULL, max_rows => 0);

-- By each word. What is said of a visit is what its first view says: Bob's origin is unknown, though one of his views
-- has one, and Ann's first visit is Google's with all its three views.
CREATE TEMPORARY TABLE words AS
SELECT w.word, w.place
FROM unnest(ARRAY[
    'path', 'page_type', 'entry_path', 'source', 'referrer', 'medium', 'campaign', 'term', 'content', 'channel',
    'browser', 'os', 'device', 'country', 'language', 'weekday', 'hour'
]) WITH ORDINALITY AS w (word, place);
SELECT w.word, b.*
FROM words AS w
CROSS JOIN LATERAL site_stats.breakdown(w.word, NULL, NULL) WITH ORDINALITY AS b
ORDER BY w.place, b.ordinality;
INSERT INTO questions
SELECT format('breakdown(%L, NULL, NULL, %L, %s, %L)', w.word, '{}', r.max_rows, '')
FROM words AS w
CROSS JOIN (VALUES (50), (2)) AS r (max_rows);

-- Each kind of filter, on a word of the view and on one of its visit.
CREATE TEMPORARY TABLE kinds (place integer GENERATED ALWAYS AS IDENTITY, filters jsonb);
INSERT INTO kinds (filters) VALUES
('{"path": "/"}'),
('{"path": "/A"}'),
('{"path": ["/a", "/b", "/c"]}'),
('{"path": []}'),
('{"path": null}'),
('{"path": {"not": "/"}}'),
('{"path": {"not": ["/", "/a"]}}'),
('{"path": {"not": []}}'),
('{"path": {"like": "/_"}}'),
('{"path": {"like": "%a"}}'),
('{"path": {"like": "\\/\\%"}}'),
('{"source": "Google"}'),
('{"source": ["Google", "news.example"]}'),
('{"source": []}'),
('{"source": null}'),
('{"source": {"not": "Google"}}'),
('{"source": {"not": []}}'),
('{"source": {"like": "%"}}'),
('{"source": "Google", "path": "/b"}'),
('{"source": null, "path": "/b", "weekday": "2", "hour": "0"}'),
('{"entry_path": "/a", "path": {"not": "/a"}}'),
('{"hour": ["9", "10"], "weekday": {"not": "2"}}'),
('{"hour": "09"}');
SELECT k.filters, s.*
FROM kinds AS k
CROSS JOIN LATERAL site_stats.summary(NULL, NULL, k.filters) AS s
ORDER BY k.place;
INSERT INTO questions
SELECT q.question
FROM kinds AS k
CROSS JOIN LATERAL (
    VALUES
    (format('summary(NULL, NULL, %L, %L)', k.filters, '')),
    (format('breakdown(%L, NULL, NULL, %L, 50, %L)', 'path', k.filters, ''))
) AS q (question);

-- Timelines. A week begins with Monday, which may be before the first day: of that week only the days asked for count.
SELECT * FROM site_stats.timeline('day', '2025-03-02', '2025-03-05');
SELECT * FROM site_stats.timeline('week', '2025-03-04', '2025-03-10');
SELECT * FROM site_stats.timeline('month', '2025-02-28', '2025-04-01');
SELECT count(*), sum(views) FROM site_stats.timeline('hour', '2025-03-03', '2025-03-04');
-- Without days it goes from the first view that matches to the last.
SELECT *
FROM site_stats.timeline('hour', NULL, NULL, '{"path": "/a"}')
WHERE views > 0 OR starts_at < '2025-03-03 12:00+00';
SELECT min(starts_at), max(starts_at), count(*) FROM site_stats.timeline('hour', NULL, NULL, '{"path": "/a"}');
SELECT * FROM site_stats.timeline('day', NULL, '2025-03-05', '{"path": "/b"}');
SELECT * FROM site_stats.timeline('day', '2025-03-02', NULL, '{"hour": "9"}');
-- Nothing matches: without both days there is no row, and with both there are all.
SELECT * FROM site_stats.timeline('day', NULL, NULL, '{"path": "/c"}');
SELECT * FROM site_stats.timeline('day', '2025-03-03', NULL, '{"path": "/c"}');
SELECT * FROM site_stats.timeline('day', NULL, '2025-03-03', '{"path": "/c"}');
SELECT * FROM site_stats.timeline('day', '2025-03-03', '2025-03-04', '{"path": "/c"}');
SELECT * FROM site_stats.timeline('day', '2025-03-04', '2025-03-03');
INSERT INTO questions
SELECT format('timeline(%L, %L, %L, %L, %L)', u.unit, d.since, d.until, f.filters, '')
FROM unnest(ARRAY['hour', 'day', 'week', 'month']) AS u (unit)
CROSS JOIN (
    VALUES
    ('2025-03-02', '2025-03-05'), ('2025-03-04', '2025-03-10'), ('2025-02-28', '2025-04-01'), (NULL, NULL),
    (NULL, '2025-03-05'), ('2025-03-02', NULL), ('2025-03-04', '2025-03-03')
) AS d (since, until)
CROSS JOIN unnest(ARRAY['{}', '{"path": "/a"}']) AS f (filters);

-- The oracle says the same, before spans are written and after.
CREATE VIEW differences AS
SELECT a.*
FROM questions AS q
CROSS JOIN LATERAL test.ask(q.question) AS a;
SELECT count(*) FROM questions;
SELECT * FROM differences;
CALL site_stats.write_spans();

-- views_by_day() and top_pages() of some days read spans, too.
WITH views AS (
    SELECT t.name, (v.viewed_at AT TIME ZONE 'UTC')::date AS day, v.path
    FROM site_stats.page_views AS v
    JOIN site_stats.sites AS t ON t.id = v.site_id
),
days AS (
    SELECT DISTINCT v.name, v.day FROM views AS v
)
SELECT 'day' AS what, d.name, d.day, NULL AS path, a.views, count(*) AS actual
FROM days AS d
JOIN views AS v USING (name, day)
LEFT JOIN LATERAL (
    SELECT b.views FROM site_stats.views_by_day(d.day, d.day, site => d.name) AS b
) AS a ON true
GROUP BY d.name, d.day, a.views
HAVING a.views IS DISTINCT FROM count(*)
UNION ALL
SELECT 'path', d.name, d.day, v.path, a.views, count(*)
FROM days AS d
JOIN views AS v ON v.name = d.name AND v.day >= d.day
LEFT JOIN LATERAL (
    SELECT p.views FROM site_stats.top_pages(50, d.day, '2027-01-01', d.name) AS p WHERE p.path = v.path
) AS a ON true
GROUP BY d.name, d.day, v.path, a.views
HAVING a.views IS DISTINCT FROM count(*);
SELECT has_spans FROM site_stats.has_spans(1::smallint);
SELECT * FROM site_stats.summary(NULL, NULL);
SELECT * FROM differences;
SELECT * FROM site_stats.check_totals();

-- What a transaction has not committed counts in it: a view more than half an hour before Bob's two joins nothing, and
-- one between Ann's two visits makes one of them.
BEGIN;
INSERT INTO site_stats.page_views (path, session_id, viewed_at) VALUES
('/c', 'bob', '2025-03-03 11:29:59.999999+00'),
('/c', 'ann', '2025-03-03 10:00:00+00');
SELECT * FROM site_stats.summary('2025-03-03', '2025-03-03');
SELECT * FROM site_stats.breakdown('entry_path', '2025-03-03', '2025-03-03');
SELECT * FROM differences;
SAVEPOINT s;
DELETE FROM site_stats.page_views WHERE path = '/c';
SELECT * FROM site_stats.summary('2025-03-03', '2025-03-03');
SELECT * FROM differences;
ROLLBACK TO s;
SELECT * FROM site_stats.summary('2025-03-03', '2025-03-03');
SELECT * FROM differences;
ROLLBACK;
SELECT * FROM site_stats.summary('2025-03-03', '2025-03-03');
SELECT * FROM differences;

-- A microsecond less in between: Ann's two visits become one. Half an hour before Bob's two views, his visit begins.
INSERT INTO site_stats.page_views (id, path, session_id, viewed_at) OVERRIDING SYSTEM VALUE VALUES
(1, '/c', 'bob', '2025-03-03 11:30:00+00');
UPDATE site_stats.page_views SET viewed_at = '2025-03-03 10:10:00+00' WHERE id = 104;
SELECT * FROM site_stats.breakdown('entry_path', '2025-03-03', '2025-03-03');
SELECT * FROM differences;
CALL site_stats.write_spans();
SELECT * FROM differences;

-- Other visitors, other pages, other origins.
UPDATE site_stats.page_views SET session_id = 'bob' WHERE id = 109;
UPDATE site_stats.page_views SET origin_id = NULL WHERE id = 101;
UPDATE site_stats.page_views SET path = '/d' WHERE id IN (103, 107);
SELECT * FROM site_stats.breakdown('path', NULL, NULL);
SELECT * FROM site_stats.breakdown('source', NULL, NULL);
SELECT * FROM differences;

-- Without the view in the middle one visit is two; without the first view another one is the first.
DELETE FROM site_stats.page_views WHERE id IN (102, 107);
SELECT * FROM site_stats.summary(NULL, NULL);
SELECT * FROM site_stats.breakdown('entry_path', NULL, NULL);
SELECT * FROM differences;
CALL site_stats.write_spans();
SELECT * FROM differences;
SELECT * FROM site_stats.check_totals();

-- Sites: each has its own visits, days and hours. The views are at the first and the last microsecond of a day in each
-- zone, and at one on each side of them.
INSERT INTO site_stats.sites (name, timezone) VALUES
('berlin', 'Europe/Berlin'), ('kolkata', 'Asia/Kolkata'), ('howe', 'Australia/Lord_Howe');
INSERT INTO site_stats.page_views (path, session_id, viewed_at, site_id)
SELECT v.path, 'ann', (d.day + v.days)::timestamp AT TIME ZONE s.timezone + v.moment * interval '1 microsecond', s.id
FROM site_stats.sites AS s
JOIN (
    VALUES
    ('berlin', date '2025-03-30'), ('berlin', '2025-10-26'), ('kolkata', '2025-03-30'),
    ('howe', '2025-04-06'), ('howe', '2025-10-05')
) AS d (name, day) ON d.name = s.name
CROSS JOIN (VALUES ('/before', 0, -1), ('/first', 0, 0), ('/last', 1, -1), ('/after', 1, 0)) AS v (path, days, moment);
-- Hours of those days. Clocks at Lord Howe go back half an hour on 6 April, where one hour begins 30 minutes after
-- another, and forward on 5 October, where an hour has 30 minutes.
CREATE TEMPORARY TABLE days AS
SELECT d.site, d.day
FROM (
    VALUES
    ('berlin', date '2025-03-30'), ('berlin', '2025-10-26'), ('kolkata', '2025-03-30'), ('howe', '2025-04-06'),
    ('howe', '2025-10-05')
) AS d (site, day);
SELECT
    d.site,
    d.day,
    count(*) AS hours,
    min(t.starts_at) AS first,
    max(t.starts_at) AS last,
    sum(t.views) AS views,
    sum(t.visits) AS visits,
    sum(t.entries) AS entries
FROM days AS d
CROSS JOIN LATERAL site_stats.timeline('hour', d.day, d.day, site => d.site) AS t
GROUP BY d.site, d.day
ORDER BY d.site, d.day;
SELECT starts_at FROM site_stats.timeline('hour', '2025-04-06', '2025-04-06', site => 'howe') LIMIT 5;
SELECT starts_at FROM site_stats.timeline('hour', '2025-10-05', '2025-10-05', site => 'howe') LIMIT 5;
SELECT b.* FROM site_stats.breakdown('path', '2025-03-30', '2025-03-30', site => 'berlin') AS b;
SELECT b.* FROM site_stats.breakdown('hour', '2025-03-30', '2025-03-30', site => 'kolkata') AS b;
SELECT b.* FROM site_stats.breakdown('weekday', NULL, NULL, site => 'howe') AS b;
SELECT * FROM site_stats.timeline('day', '2025-03-29', '2025-03-31', site => 'berlin');
SELECT * FROM site_stats.timeline('week', '2025-10-26', '2025-10-27', site => 'berlin');
INSERT INTO questions
SELECT format('timeline(%L, %L, %L, %L, %L)', u.unit, d.day - n.days, d.day + n.days, '{}', d.site)
FROM days AS d
CROSS JOIN unnest(ARRAY['hour', 'day', 'week']) AS u (unit)
CROSS JOIN unnest(ARRAY[0, 1]) AS n (days)
UNION ALL
SELECT format('breakdown(%L, %L, %L, %L, 50, %L)', w.word, d.day, d.day, '{}', d.site)
FROM days AS d
CROSS JOIN unnest(ARRAY['hour', 'weekday', 'path']) AS w (word);
SELECT * FROM differences;
CALL site_stats.write_spans();
SELECT * FROM differences;

-- Another time zone holds at once, for all views.
UPDATE site_stats.sites SET timezone = 'UTC' WHERE name = 'berlin';
SELECT * FROM site_stats.timeline('day', '2025-03-29', '2025-03-31', site => 'berlin');
SELECT * FROM differences;

-- The same visitor's views on another site are of another visitor.
UPDATE site_stats.page_views
SET site_id = (SELECT s.id FROM site_stats.sites AS s WHERE s.name = 'kolkata')
WHERE id IN (1, 101, 103);
SELECT * FROM site_stats.summary('2025-03-03', '2025-03-03');
SELECT * FROM site_stats.summary('2025-03-03', '2025-03-03', site => 'kolkata');
SELECT * FROM differences;

-- Views of days after today are in a summary, and a timeline without a last day does not go that far.
INSERT INTO site_stats.page_views (path, session_id, viewed_at) VALUES ('/later', 'ann', now() + interval '3 days');
SELECT views FROM site_stats.summary('2025-03-04', NULL);
SELECT starts_at, views FROM site_stats.timeline('day', '2025-03-04', NULL);
SELECT starts_at, views FROM site_stats.timeline('day', '2025-03-05', NULL);
SELECT count(*), sum(views)
FROM site_stats.timeline('day', current_date + 1, current_date + 4);
SELECT * FROM differences;

-- Bytes decide: how texts are ordered, and which are equal.
TRUNCATE site_stats.page_views;
INSERT INTO site_stats.page_views (path, session_id, viewed_at)
SELECT p.path, 'ann', '2025-03-03 09:00:00+00'
FROM unnest(ARRAY['/é', '/b', '/B', '/_', '/e', '/10', '/9', '/a b', '/a']) AS p (path);
SELECT value FROM site_stats.breakdown('path', NULL, NULL);
SELECT value FROM site_stats.breakdown('path', NULL, NULL, '{"path": {"like": "/_"}}');
SELECT value FROM site_stats.breakdown('path', NULL, NULL, '{"path": {"like": "/\\_"}}');
SELECT * FROM differences;

-- Errors. The hint lists the words that there are.
CREATE FUNCTION raises(VARIADIC statements text[])
RETURNS TABLE (statement text, code text, lists_words boolean)
LANGUAGE plpgsql
AS $$
DECLARE
    hint text;
BEGIN
    FOREACH statement IN ARRAY statements LOOP
        BEGIN
            EXECUTE 'SELECT FROM site_stats.' || statement;
            code := '00000';
            lists_words := false;
        EXCEPTION
            WHEN OTHERS THEN
                GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, hint = PG_EXCEPTION_HINT;
                lists_words := COALESCE(
                    hint ~ '\mpath\M.*\mentry_path\M.*\mlanguage\M.*\mhour\M'
                    OR hint ~ '\mhour\M.*\mday\M.*\mweek\M.*\mmonth\M', false
                );
        END;
        RETURN NEXT;
    END LOOP;
END
$$;
SELECT * FROM raises(
    $$breakdown('page', NULL, NULL)$$,
    $$breakdown('PATH', NULL, NULL)$$,
    $$breakdown('', NULL, NULL)$$,
    $$breakdown('session_id', NULL, NULL)$$,
    $$breakdown(NULL, NULL, NULL)$$,
    $$breakdown('path', NULL, NULL, '{"page": "/"}')$$,
    $$summary(NULL, NULL, '{"path": "/", "page": "/"}')$$,
    $$timeline('day', NULL, NULL, '{"page": "/"}')$$,
    $$timeline('year', NULL, NULL)$$,
    $$timeline('Day', NULL, NULL)$$,
    $$timeline(NULL, NULL, NULL)$$
);
SELECT * FROM raises(
    $$summary(NULL, NULL, '[]')$$,
    $$summary(NULL, NULL, '"path"')$$,
    $$summary(NULL, NULL, 'null')$$,
    $$summary(NULL, NULL, NULL)$$,
    $$summary(NULL, NULL, '{"hour": 9}')$$,
    $$summary(NULL, NULL, '{"path": true}')$$,
    $$summary(NULL, NULL, '{"path": [1]}')$$,
    $$summary(NULL, NULL, '{"path": ["/", null]}')$$,
    $$summary(NULL, NULL, '{"path": [["/"]]}')$$,
    $$summary(NULL, NULL, '{"path": {}}')$$,
    $$summary(NULL, NULL, '{"path": {"unknown": "/"}}')$$,
    $$summary(NULL, NULL, '{"path": {"not": null}}')$$,
    $$summary(NULL, NULL, '{"path": {"not": 1}}')$$,
    $$summary(NULL, NULL, '{"path": {"not": ["/", 1]}}')$$,
    $$summary(NULL, NULL, '{"path": {"not": {"like": "/"}}}')$$,
    $$summary(NULL, NULL, '{"path": {"like": null}}')$$,
    $$summary(NULL, NULL, '{"path": {"like": 1}}')$$,
    $$summary(NULL, NULL, '{"path": {"like": ["/"]}}')$$,
    $$summary(NULL, NULL, '{"path": {"not": "/", "like": "/"}}')$$,
    $$summary(NULL, NULL, '{"path": {"like": "%\\"}}')$$,
    $$breakdown('path', NULL, NULL, '[]')$$,
    $$timeline('day', NULL, NULL, '{"path": 1}')$$
);
SELECT * FROM raises(
    $$breakdown('path', NULL, NULL, max_rows => NULL)$$,
    $$breakdown('path', NULL, NULL, max_rows => -1)$$,
    $$summary(NULL, NULL, site => 'nowhere')$$,
    $$timeline('day', NULL, NULL, site => 'nowhere')$$,
    $$breakdown('path', NULL, NULL, site => 'nowhere')$$,
    $$summary(NULL, NULL, site => NULL)$$,
    $$timeline('day', '-infinity', NULL)$$,
    $$timeline('day', 'infinity', NULL)$$,
    $$timeline('day', NULL, 'infinity')$$,
    $$timeline('month', '-infinity', 'infinity')$$,
    $$breakdown('path', '-infinity', 'infinity')$$
);

DELETE FROM site_stats.sites WHERE name <> '';
TRUNCATE site_stats.page_views;
DROP VIEW differences;
DROP SCHEMA test CASCADE;
DROP FUNCTION origin(text), client(text), raises(text[]);
DROP TABLE questions, words, kinds, days;
DELETE FROM site_stats.origins;
DELETE FROM site_stats.clients;
SELECT * FROM site_stats.check_totals();
