-- origins and clients: a new combination of values is one row, which stays whatever becomes of the transaction.
SET client_min_messages = warning;
SET TIME ZONE 'UTC';
TRUNCATE site_stats.page_views, site_stats.active_sessions, site_stats.dictionary_growth;
DELETE FROM site_stats.origins;
DELETE FROM site_stats.clients;

CREATE SCHEMA visits;

-- A view with these texts, each time of another session.
CREATE SEQUENCE visits.sessions;
CREATE FUNCTION visits.view(url text, site text DEFAULT '', language text DEFAULT NULL, agent text DEFAULT NULL)
RETURNS text
LANGUAGE sql
AS $$
    SELECT site_stats.receive(
        jsonb_build_object(
            'type', 'view', 'url', url, 'site', site, 'language', language, 'session', nextval('visits.sessions')::text
        ),
        NULL,
        agent
    )
$$;
CREATE VIEW visits.origins AS
SELECT
    row_number() OVER (ORDER BY o.id) AS n,
    o.source,
    o.referrer,
    o.medium,
    o.campaign,
    o.term,
    o.content,
    o.channel,
    (SELECT count(*) FROM site_stats.page_views AS v WHERE v.origin_id = o.id) AS views
FROM site_stats.origins AS o
ORDER BY o.id;

-- What is known is found again, whether this process or another has added it. NULL is a value as any other.
SELECT visits.view('/a?utm_source=x'), visits.view('/b?utm_source=x'), visits.view('/c?utm_source=x&utm_campaign=y');
\c
SET client_min_messages = warning;
SELECT visits.view('/d?utm_source=x');
SELECT * FROM visits.origins;

-- A rollback does not take the row back, also one to a savepoint. The process and others go on with it.
BEGIN;
SELECT visits.view('/a?utm_source=rolled-back', '', 'fr', 'Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Firefox/125.0');
SAVEPOINT s;
SELECT visits.view('/a?utm_source=rolled-back-too');
ROLLBACK TO s;
SELECT source, views FROM visits.origins WHERE source LIKE 'rolled%';
ROLLBACK;
SELECT source, views FROM visits.origins WHERE source LIKE 'rolled%';
SELECT browser, os, device, country, language FROM site_stats.clients;
SELECT visits.view('/a?utm_source=rolled-back');
\c
SET client_min_messages = warning;
SELECT visits.view('/a?utm_source=rolled-back-too');
SELECT source, views FROM visits.origins WHERE source LIKE 'rolled%';

-- In REPEATABLE READ, too, a view finds the row that it names.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM site_stats.page_views;
SELECT visits.view('/a?utm_source=repeatable');
SELECT o.source FROM site_stats.page_views AS v JOIN site_stats.origins AS o ON o.id = v.origin_id WHERE v.id = (
    SELECT max(id) FROM site_stats.page_views
);
COMMIT;

-- The owner inserts a row that is there: the lowest id is given. One with the next id: that is passed over.
INSERT INTO site_stats.origins (source, channel)
SELECT source, channel FROM site_stats.origins WHERE source = 'repeatable';
\c
SET client_min_messages = warning;
SELECT visits.view('/a?utm_source=repeatable');
SELECT source, views FROM visits.origins WHERE source = 'repeatable';
SELECT last_value AS last FROM site_stats.origins_id_seq \gset
INSERT INTO site_stats.origins (id, source) OVERRIDING SYSTEM VALUE VALUES (:last + 1, 'owner'), (:last + 2, 'owner');
SELECT visits.view('/a?utm_source=next');
SELECT id - :last AS id, source FROM site_stats.origins WHERE id > :last ORDER BY id;

-- A row that the owner has not committed is not remembered.
BEGIN;
INSERT INTO site_stats.origins (source, channel) VALUES ('uncommitted', 'Referral');
SELECT visits.view('/a?utm_source=uncommitted');
ROLLBACK;
SELECT visits.view('/a?utm_source=uncommitted');
SELECT source, views FROM visits.origins WHERE source = 'uncommitted';

-- The owner changes a row, or deletes it: processes hear of it.
UPDATE site_stats.origins SET source = 'renamed' WHERE source = 'next';
SELECT visits.view('/a?utm_source=next'), visits.view('/a?utm_source=renamed');
DELETE FROM site_stats.origins WHERE source = 'renamed';
SELECT visits.view('/a?utm_source=renamed');
SELECT source, views FROM visits.origins WHERE source IN ('next', 'renamed');
TRUNCATE site_stats.origins;
SELECT visits.view('/a?utm_source=next');
SELECT source, views FROM visits.origins;

-- A trigger of the owner: a statement inserts the row, in the transaction. One that refuses the row is an error.
CREATE FUNCTION visits.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.source = 'refused' THEN
        RETURN NULL;
    END IF;
    NEW.content := 'noted';
    RETURN NEW;
END
$$;
CREATE TRIGGER note BEFORE INSERT ON site_stats.origins FOR EACH ROW EXECUTE FUNCTION visits.note();
SELECT visits.view('/a?utm_source=seen');
BEGIN;
SELECT visits.view('/a?utm_source=seen-and-gone');
ROLLBACK;
SELECT visits.view('/a?utm_source=refused');
\echo :LAST_ERROR_SQLSTATE
DROP TRIGGER note ON site_stats.origins;
SELECT source, content, views FROM visits.origins;

-- A column that the owner has dropped is an error, and one that the owner has added is not.
ALTER TABLE site_stats.origins ADD COLUMN note text;
SELECT visits.view('/a?utm_source=one-more-column');
ALTER TABLE site_stats.origins DROP COLUMN note;
SELECT visits.view('/a?utm_source=dropped-column');
BEGIN;
ALTER TABLE site_stats.origins RENAME COLUMN term TO terms;
SELECT visits.view('/a?utm_source=renamed-column');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
BEGIN;
DROP INDEX site_stats.origins_values_idx;
SELECT visits.view('/a?utm_source=without-index');
ROLLBACK;
SELECT source, views FROM visits.origins WHERE source LIKE '%column' OR source LIKE 'without%';

-- The bound of a site and day. Beyond it all values but the channel are (other), once for each channel. What is known
-- stays known. Another site has a bound of its own, and so has the next day.
INSERT INTO site_stats.sites (name) VALUES ('other');
TRUNCATE site_stats.origins, site_stats.dictionary_growth;
SET site_stats.max_new_origins_per_day = 3;
SELECT visits.view('/?utm_source=' || n) FROM generate_series(1, 6) AS n;
SELECT visits.view('/?utm_source=3'), visits.view('/?utm_source=facebook&utm_medium=social'), visits.view('/?gclid=1');
SELECT visits.view('/?utm_source=' || n, 'other') FROM generate_series(1, 6) AS n;
SELECT * FROM visits.origins;
SELECT site_id = 1 AS is_first, new_origins, new_clients FROM site_stats.dictionary_growth ORDER BY 1;
\c
SET client_min_messages = warning;
SET site_stats.max_new_origins_per_day = 3;
SELECT visits.view('/?utm_source=7');
UPDATE site_stats.dictionary_growth SET day = day - 1;
\c
SET client_min_messages = warning;
SET site_stats.max_new_origins_per_day = 3;
SELECT visits.view('/?utm_source=8');
SET site_stats.max_new_origins_per_day = 0;
SELECT visits.view('/?utm_source=' || n) FROM generate_series(9, 15) AS n;
SET site_stats.max_new_origins_per_day = 3;
SELECT visits.view('/?utm_source=16');
SELECT source, channel, views FROM visits.origins WHERE source::text NOT IN ('1', '2', '3');
RESET site_stats.max_new_origins_per_day;

-- The count is of the day, and of committed and other views alike.
BEGIN;
SELECT visits.view('/?utm_source=17');
ROLLBACK;
SELECT new_origins FROM site_stats.dictionary_growth WHERE site_id = 1;

-- A client loses its language beyond the bound.
UPDATE site_stats.dictionary_growth SET new_clients = 5000;
SELECT
    visits.view('/', '', 'da', 'Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:125.0) Firefox/125.0'),
    visits.view('/', '', 'da');
SELECT c.browser, c.language FROM site_stats.page_views AS v LEFT JOIN site_stats.clients AS c ON c.id = v.client_id
ORDER BY v.id DESC LIMIT 2;

-- The table of the counts has been altered.
CREATE INDEX growth_day ON site_stats.dictionary_growth (day);
SELECT visits.view('/?utm_source=18');
\echo :LAST_ERROR_SQLSTATE
DROP INDEX site_stats.growth_day;

DELETE FROM site_stats.sites WHERE name = 'other';
DROP SCHEMA visits CASCADE;
TRUNCATE site_stats.origins, site_stats.clients, site_stats.dictionary_growth;
SELECT * FROM site_stats.check_totals();
