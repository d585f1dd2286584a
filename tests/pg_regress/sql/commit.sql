-- What else happens when a transaction ends: whatever it is, all that the transaction has written is counted when it
-- has committed, and nothing of one that has not. Each section ends with the oracle.
\set VERBOSITY terse
SET TIME ZONE 'UTC';
TRUNCATE site_stats.page_views;

CREATE VIEW totals AS
SELECT total_page_views, unique_visitors, total_paths FROM site_stats.get_stats();
CREATE FUNCTION view_page(session_id text)
RETURNS text
LANGUAGE sql
AS $$
    INSERT INTO site_stats.page_views (path, session_id) VALUES ('/by a function', session_id) RETURNING path;
$$;

-- ---- constraint triggers --------------------------------------------------------------------------------------------

-- They wait for the commit, and write views, read the statistics, or fail then.
CREATE TABLE orders (id integer, session_id text);
CREATE FUNCTION view_order()
RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO site_stats.page_views (path, session_id) VALUES ('/order', NEW.session_id);
    IF NEW.id > 1 THEN
        INSERT INTO orders VALUES (NEW.id - 1, NEW.session_id);
    END IF;
    IF NEW.id = 100 THEN
        RAISE EXCEPTION 'no such order';
    END IF;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER view_order AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION view_order();

CREATE TABLE answers (views bigint, differences bigint);
CREATE FUNCTION read_statistics()
RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO answers
    SELECT s.total_page_views, (SELECT count(*) FROM site_stats.check_totals())
    FROM site_stats.get_stats() AS s;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER read_statistics AFTER INSERT OR UPDATE OR DELETE ON site_stats.page_views
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION read_statistics();

BEGIN;
INSERT INTO orders VALUES (3, 'buyer');
SELECT * FROM totals;
COMMIT;
SELECT * FROM totals;
SELECT * FROM answers;
SELECT * FROM site_stats.check_totals();

-- Some of it before the commit, and views that it takes away.
BEGIN;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/shop', 'buyer');
DELETE FROM site_stats.page_views WHERE path = '/order';
INSERT INTO orders VALUES (2, 'another buyer');
SET CONSTRAINTS view_order IMMEDIATE;
COMMIT;
SELECT * FROM totals;
SELECT * FROM answers;
SELECT * FROM site_stats.check_totals();

-- The statement that commits fails: nothing is counted.
INSERT INTO orders VALUES (100, 'nobody');
BEGIN ISOLATION LEVEL REPEATABLE READ;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/shop', 'nobody');
INSERT INTO orders VALUES (100, 'nobody');
COMMIT;
SELECT * FROM totals;
SELECT * FROM site_stats.check_totals();
DROP TRIGGER read_statistics ON site_stats.page_views;
DROP TABLE answers;
DROP FUNCTION read_statistics();

-- ---- cursors --------------------------------------------------------------------------------------------------------

-- One that is held is evaluated by the commit.
BEGIN;
DECLARE before_all CURSOR WITH HOLD FOR SELECT * FROM totals;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/held', 'a');
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/held', 'b');
DECLARE after_all CURSOR WITH HOLD FOR SELECT * FROM totals;
COMMIT;
FETCH before_all;
FETCH after_all;
CLOSE ALL;
SELECT * FROM site_stats.check_totals();

-- One of a moment between two changes cannot be, and the transaction fails with it.
BEGIN;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/between', 'a');
DECLARE between_them CURSOR WITH HOLD FOR SELECT * FROM totals;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/between', 'b');
COMMIT;
SELECT * FROM totals;
SELECT * FROM site_stats.check_totals();

-- A query that writes is evaluated by the commit, too.
BEGIN;
DECLARE writes CURSOR WITH HOLD FOR SELECT view_page('c' || i) FROM generate_series(1, 3) AS i;
FETCH writes;
COMMIT;
FETCH ALL FROM writes;
CLOSE writes;
SELECT * FROM totals;
SELECT * FROM site_stats.check_totals();

-- ---- statements that read, write and read again ---------------------------------------------------------------------

-- In a transaction of its own.
SELECT
    (SELECT t.total_page_views FROM totals AS t WHERE i > 0) AS before,
    view_page('d' || i) IS NOT NULL AS written,
    (SELECT t.total_page_views FROM totals AS t WHERE i > 0) AS after,
    (SELECT count(*) FROM site_stats.check_totals() WHERE i > 0) AS differences
FROM generate_series(1, 2) AS i;

-- In one that has written before.
BEGIN;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/first', 'd');
SELECT
    (SELECT t.total_page_views FROM totals AS t WHERE i > 0) AS before,
    view_page('d' || i) IS NOT NULL AS written,
    (SELECT count(*) FROM site_stats.check_totals() WHERE i > 0) AS differences
FROM generate_series(1, 2) AS i;
SELECT * FROM totals;
COMMIT;
SELECT * FROM totals;
SELECT * FROM site_stats.check_totals();

-- ---- chains of transactions -----------------------------------------------------------------------------------------

BEGIN;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/chain', 'e');
COMMIT AND CHAIN;
SELECT * FROM totals;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/chain', 'f');
ROLLBACK AND CHAIN;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/chain', 'e');
COMMIT;
SELECT * FROM totals;
SELECT * FROM site_stats.check_totals();

-- A procedure that commits and rolls back, with subtransactions in between.
CREATE PROCEDURE view_pages()
LANGUAGE plpgsql
AS $$
DECLARE
    n integer;
BEGIN
    FOR n IN SELECT i FROM generate_series(1, 6) AS i LOOP
        INSERT INTO site_stats.page_views (path, session_id) VALUES ('/procedure', 'g' || n);
        IF n % 3 = 0 THEN
            ROLLBACK;
        ELSIF n % 2 = 0 THEN
            COMMIT AND CHAIN;
        ELSE
            COMMIT;
        END IF;
        BEGIN
            INSERT INTO site_stats.page_views (path, session_id) VALUES ('/inner', 'g' || n);
            IF n % 2 = 0 THEN
                RAISE EXCEPTION 'caught';
            END IF;
        EXCEPTION
            WHEN raise_exception THEN
                NULL;
        END;
    END LOOP;
END
$$;
CALL view_pages();
SELECT * FROM totals;
SELECT * FROM site_stats.check_totals();
DROP PROCEDURE view_pages();

-- ---- many subtransactions -------------------------------------------------------------------------------------------

-- Many small subtransactions count as much as a large one, and are flushed as early: here by the last of them, and
-- again if what flushed is rolled back.
BEGIN;
DO $$
BEGIN
    FOR i IN 1..20100 LOOP
        BEGIN
            INSERT INTO site_stats.page_views (path, session_id) VALUES ('/small', 'small ' || i);
            IF i % 200 = 0 THEN
                RAISE EXCEPTION 'caught';
            END IF;
        EXCEPTION
            WHEN raise_exception THEN
                NULL;
        END;
    END LOOP;
END
$$;
SELECT count(*) FROM site_stats.sessions WHERE session_id LIKE 'small %';
SAVEPOINT one;
DO $$
BEGIN
    FOR i IN 1..5 LOOP
        BEGIN
            INSERT INTO site_stats.page_views (path, session_id) VALUES ('/small', 'small ' || i);
        EXCEPTION
            WHEN raise_exception THEN
                NULL;
        END;
    END LOOP;
END
$$;
INSERT INTO site_stats.page_views (path, session_id)
SELECT '/large', 'large ' || i FROM generate_series(1, 20100) AS i;
SELECT count(*) FROM site_stats.sessions WHERE session_id LIKE 'small %' OR session_id LIKE 'large %';
ROLLBACK TO one;
SELECT * FROM totals;
SELECT * FROM site_stats.check_totals();
COMMIT;
SELECT * FROM totals;
SELECT * FROM site_stats.check_totals();
DELETE FROM site_stats.page_views WHERE path = '/small';

-- ---- a backfill in the transaction ----------------------------------------------------------------------------------

-- It begins, and counts, in a transaction that has written views for the epoch of before.
BEGIN;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/before', 'before');
SELECT site_stats.begin_backfill() > 0 AS begun;
SELECT site_stats.backfill_turn(100000);
COMMIT;
SELECT * FROM site_stats.check_totals();
CALL site_stats.backfill();
SELECT * FROM totals;
SELECT * FROM site_stats.check_totals();

-- ---- tables that change in the transaction --------------------------------------------------------------------------

-- Columns, statistics and indexes.
BEGIN;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/altered', 'k');
ALTER TABLE site_stats.page_views ADD COLUMN referrer text DEFAULT 'none';
ALTER TABLE site_stats.path_totals ALTER COLUMN page_type SET STATISTICS 10;
CREATE INDEX path_totals_views_idx ON site_stats.path_totals (views);
CREATE INDEX sessions_views_idx ON site_stats.sessions ((views + 1)) WHERE views > 1;
INSERT INTO site_stats.page_views (path, session_id, referrer) VALUES ('/altered', 'k', 'here');
COMMIT;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/altered', 'k'), ('/altered', 'l');
SET enable_seqscan = off;
SELECT sum(views) AS by_index FROM site_stats.path_totals WHERE views > 0 AND path || '' = '/altered';
SELECT session_id FROM site_stats.sessions WHERE views > 1 AND views + 1 = 4 AND session_id IN ('k', 'l');
RESET enable_seqscan;
SELECT * FROM totals;
SELECT * FROM site_stats.check_totals();
DROP INDEX site_stats.path_totals_views_idx, site_stats.sessions_views_idx;
ALTER TABLE site_stats.page_views DROP COLUMN referrer;

-- The rows of the counters move, and page_views has another name when the transaction commits.
BEGIN;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/moved', 'm');
ALTER TABLE site_stats.path_totals SET (fillfactor = 60);
CLUSTER site_stats.path_totals USING path_totals_site_id_path_slot_pkey;
ALTER TABLE site_stats.page_views RENAME TO old_page_views;
COMMIT;
ALTER TABLE site_stats.old_page_views RENAME TO page_views;
ALTER TABLE site_stats.path_totals SET (fillfactor = 70);
SELECT * FROM totals;
SELECT * FROM site_stats.check_totals();

-- A table that it needs has another name when the transaction commits: it fails.
BEGIN;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/unwritable', 'n');
ALTER TABLE site_stats.sessions RENAME TO visitors;
COMMIT;
SELECT * FROM totals;
SELECT * FROM site_stats.check_totals();

-- ... or is in another schema, where it was looked up before.
BEGIN;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/elsewhere', 'n');
SELECT total_page_views FROM site_stats.get_stats();
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/elsewhere', 'n');
ALTER SCHEMA site_stats RENAME TO elsewhere;
COMMIT;
SELECT * FROM totals;
SELECT * FROM site_stats.check_totals();

-- ---- an extension that goes in the transaction ----------------------------------------------------------------------

BEGIN;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/dropped', 'o');
DROP EXTENSION site_stats CASCADE;
COMMIT;
DROP SCHEMA site_stats;
CREATE EXTENSION site_stats;

-- It is made anew, and that is taken back.
BEGIN;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/kept', 'p');
SAVEPOINT one;
DROP EXTENSION site_stats;
DROP SCHEMA site_stats;
CREATE EXTENSION site_stats;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/other', 'q');
SELECT total_page_views FROM site_stats.get_stats();
ROLLBACK TO one;
COMMIT;
SELECT path, views FROM site_stats.top_pages();
SELECT * FROM site_stats.check_totals();

-- ... or is not.
BEGIN;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/old', 'p');
DROP EXTENSION site_stats;
DROP SCHEMA site_stats;
CREATE EXTENSION site_stats;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/new', 'q');
COMMIT;
SELECT path, views FROM site_stats.top_pages();
SELECT * FROM site_stats.check_totals();

-- An error of the owner's trigger, met where a statement of a deferred trigger ends, says where it comes from.
CREATE FUNCTION refuse()
RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    RAISE EXCEPTION 'refused' USING ERRCODE = '23514', DETAIL = 'a detail', HINT = 'a hint', COLUMN = 'c';
END
$$;
CREATE TRIGGER own BEFORE INSERT OR UPDATE ON site_stats.path_totals
FOR EACH ROW WHEN (NEW.path = '/refused') EXECUTE FUNCTION refuse();
CREATE FUNCTION view_later()
RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO site_stats.page_views (path, session_id) VALUES ('/refused', 's');
    RETURN NULL;
END
$$;
CREATE TABLE later (id integer);
CREATE CONSTRAINT TRIGGER view_later AFTER INSERT ON later INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION view_later();
\set VERBOSITY default
INSERT INTO later VALUES (1);
\set VERBOSITY terse
DROP TRIGGER own ON site_stats.path_totals;
SELECT * FROM site_stats.check_totals();

DROP TABLE later;
DROP FUNCTION view_later(), refuse();
DROP FUNCTION view_page(text);
DROP TABLE orders;
DROP FUNCTION view_order();
