-- Whatever an owner does to the tables of counters and to the state row: what comes in is counted, or refused with an
-- error that names the cause. It is never lost or counted wrong in silence.
SET TIME ZONE 'UTC';
TRUNCATE site_stats.page_views;
\set VERBOSITY terse
\set SHOW_CONTEXT never
\pset format unaligned
\pset fieldsep ' | '

-- Some history, with rows of older epochs in all tables.
INSERT INTO site_stats.page_views (path, session_id, viewed_at)
SELECT '/' || i % 5, 's' || i % 7, '2026-01-01 00:00+00'::timestamptz + i * interval '7 hours'
FROM generate_series(1, 40) AS i;
SET client_min_messages = warning;
CALL site_stats.backfill();
SELECT * FROM site_stats.check_totals();

-- Writes of every kind, each flushed by a read, and a backfill in small batches.
CREATE PROCEDURE write_page_views()
LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO site_stats.page_views (path, session_id, viewed_at)
    SELECT '/' || i % 8, 's' || i % 11, '2026-01-08 00:00+00'::timestamptz + i * interval '9 hours'
    FROM generate_series(1, 30) AS i;
    PERFORM FROM site_stats.get_stats();
    UPDATE site_stats.page_views SET path = '/moved', session_id = 'moved' WHERE session_id = 's3';
    PERFORM FROM site_stats.get_stats();
    DELETE FROM site_stats.page_views WHERE session_id IN ('s4', 's10') OR path = '/7';
    PERFORM FROM site_stats.get_stats();
    PERFORM site_stats.fold_totals();
    PERFORM site_stats.begin_backfill();
    INSERT INTO site_stats.page_views (path, session_id) VALUES ('/meanwhile', 's1');
    WHILE site_stats.backfill_turn(9) LOOP
        DELETE FROM site_stats.page_views WHERE path = '/meanwhile';
        INSERT INTO site_stats.page_views (path, session_id) VALUES ('/meanwhile', 's1'), ('/meanwhile', 'meanwhile');
    END LOOP;
    INSERT INTO site_stats.page_views (path, session_id) VALUES ('/after', 's1'), ('/after', 'after');
    PERFORM FROM site_stats.get_stats();
END
$$;

-- The tables, with the names and the columns of their primary keys.
CREATE TABLE counted (name text, pkey text, key_columns text);
INSERT INTO counted
SELECT c.relname, p.conname, string_agg(a.attname, ', ' ORDER BY k.ordinality)
FROM pg_class AS c
JOIN pg_constraint AS p ON p.conrelid = c.oid AND p.contype = 'p'
CROSS JOIN unnest(p.conkey) WITH ORDINALITY AS k (attnum, ordinality)
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.attnum
WHERE c.relnamespace = 'site_stats'::regnamespace
AND c.relname IN ('path_totals', 'daily_totals', 'site_totals', 'sessions', 'backfill_state')
GROUP BY c.relname, p.conname;

-- What comes of the writes after each alteration of each table, each in a subtransaction of its own.
CREATE FUNCTION outcomes(VARIADIC alterations text[])
RETURNS TABLE (alteration text, outcome text, tables text)
LANGUAGE plpgsql
AS $$
DECLARE
    altered record;
    code text;
    said text;
    found text[][];
BEGIN
    FOREACH alteration IN ARRAY alterations LOOP
        found := '{}';
        FOR altered IN SELECT c.* FROM counted AS c ORDER BY c.name COLLATE "C" LOOP
            BEGIN
                EXECUTE format(
                    alteration,
                    altered.name,
                    altered.pkey,
                    altered.key_columns,
                    replace(altered.key_columns, ', ', ' WITH =, ') || ' WITH ='
                );
                CALL write_page_views();
                RAISE EXCEPTION '%', (
                    SELECT CASE count(*) WHEN 0 THEN 'exact' ELSE count(*) || ' differences' END
                    FROM site_stats.check_totals()
                );
            EXCEPTION
                WHEN OTHERS THEN
                    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, said = MESSAGE_TEXT;
                    said := replace(said, 'site_stats.' || altered.name, 'site_stats.<table>');
                    said := replace(said, '"' || altered.name || '"', '"<table>"');
                    said := replace(said, altered.pkey, '<pkey>');
                    said := CASE code WHEN 'P0001' THEN said ELSE code || ' ' || said END;
                    found := found || ARRAY[ARRAY[said, altered.name]];
            END;
        END LOOP;
        RETURN QUERY
        SELECT alteration, found[n][1], string_agg(found[n][2], ' ' ORDER BY n)
        FROM generate_subscripts(found, 1) AS n
        GROUP BY found[n][1]
        ORDER BY min(n);
    END LOOP;
END
$$;

-- Triggers of the owner. One that mirrors its table misses nothing: that is how tools copy a table under load.
CREATE TABLE mirror (name text, line text);
CREATE FUNCTION mirror()
RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        DELETE FROM public.mirror WHERE ctid = (
            SELECT m.ctid FROM public.mirror AS m WHERE m.name = TG_TABLE_NAME AND m.line = OLD::text LIMIT 1
        );
        IF NOT FOUND THEN
            RAISE EXCEPTION 'a row that the mirror does not have';
        END IF;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO public.mirror VALUES (TG_TABLE_NAME, NEW::text);
    END IF;
    RETURN NULL;
END
$$;
CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN COALESCE(NEW, OLD); END $$;
CREATE FUNCTION suppress() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.epoch := NEW.epoch + 1; RETURN NEW; END $$;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused' USING ERRCODE = '23514'; END $$;
CREATE FUNCTION count_more()
RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO site_stats.page_views (path, session_id) VALUES ('/more', 'more');
    RETURN NULL;
END
$$;
CREATE FUNCTION fold_more()
RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM site_stats.fold_totals();
    RETURN NULL;
END
$$;
CREATE FUNCTION begin_more()
RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM site_stats.begin_backfill();
    RETURN NULL;
END
$$;

SELECT * FROM outcomes(
    'CREATE TRIGGER own BEFORE INSERT OR UPDATE OR DELETE ON site_stats.%I FOR EACH ROW EXECUTE FUNCTION pass()',
    'CREATE TRIGGER own AFTER INSERT OR UPDATE OR DELETE ON site_stats.%I FOR EACH STATEMENT EXECUTE '
    'FUNCTION suppress()',
    'CREATE TRIGGER own AFTER UPDATE ON site_stats.%I REFERENCING OLD TABLE AS o NEW TABLE AS n FOR EACH ROW '
    'EXECUTE FUNCTION suppress()',
    'CREATE CONSTRAINT TRIGGER own AFTER INSERT OR UPDATE OR DELETE ON site_stats.%I INITIALLY DEFERRED FOR '
    'EACH ROW EXECUTE FUNCTION suppress()',
    'CREATE TRIGGER own BEFORE INSERT OR UPDATE ON site_stats.%I FOR EACH ROW EXECUTE FUNCTION change()',
    'CREATE TRIGGER own BEFORE INSERT ON site_stats.%I FOR EACH ROW EXECUTE FUNCTION suppress()',
    'CREATE TRIGGER own BEFORE UPDATE ON site_stats.%I FOR EACH ROW EXECUTE FUNCTION suppress()',
    'CREATE TRIGGER own BEFORE DELETE ON site_stats.%I FOR EACH ROW EXECUTE FUNCTION suppress()',
    'CREATE TRIGGER own AFTER INSERT OR UPDATE ON site_stats.%I FOR EACH ROW EXECUTE FUNCTION refuse()',
    'CREATE TRIGGER own AFTER INSERT OR UPDATE ON site_stats.%I FOR EACH ROW EXECUTE FUNCTION count_more()',
    'CREATE TRIGGER own AFTER INSERT OR UPDATE ON site_stats.%I FOR EACH ROW EXECUTE FUNCTION fold_more()',
    'CREATE TRIGGER own AFTER INSERT OR UPDATE ON site_stats.%I FOR EACH ROW EXECUTE FUNCTION begin_more()',
    $$INSERT INTO mirror SELECT %1$L, t::text FROM site_stats.%1$I AS t;
    CREATE TRIGGER own AFTER INSERT OR UPDATE OR DELETE ON site_stats.%1$I FOR EACH ROW EXECUTE FUNCTION mirror()$$
);

-- Rules. PostgreSQL itself refuses RETURNING or ON CONFLICT with most of them.
SELECT * FROM outcomes(
    'CREATE RULE own AS ON INSERT TO site_stats.%I DO ALSO NOTHING',
    'CREATE RULE own AS ON INSERT TO site_stats.%I DO INSTEAD NOTHING',
    'CREATE RULE own AS ON UPDATE TO site_stats.%I DO ALSO NOTHING',
    'CREATE RULE own AS ON UPDATE TO site_stats.%I DO INSTEAD NOTHING',
    'CREATE RULE own AS ON DELETE TO site_stats.%I DO INSTEAD NOTHING'
);

-- Constraints.
SELECT * FROM outcomes(
    'ALTER TABLE site_stats.%I ADD CONSTRAINT own CHECK (epoch > 0)',
    'ALTER TABLE site_stats.%I ADD CONSTRAINT own CHECK (epoch < 0) NOT VALID',
    'ALTER TABLE site_stats.%I ADD CONSTRAINT own UNIQUE (%3$s, epoch)',
    'ALTER TABLE site_stats.%I ADD CONSTRAINT own UNIQUE (%3$s, epoch) DEFERRABLE INITIALLY DEFERRED',
    'ALTER TABLE site_stats.%I ADD CONSTRAINT own EXCLUDE USING btree (%4$s)',
    'CREATE TABLE referenced (epoch bigint PRIMARY KEY); '
    'ALTER TABLE site_stats.%I ADD CONSTRAINT own FOREIGN KEY (epoch) REFERENCES referenced NOT VALID',
    'CREATE TABLE referencing AS SELECT %3$s FROM site_stats.%1$I; '
    'ALTER TABLE referencing ADD FOREIGN KEY (%3$s) REFERENCES site_stats.%1$I'
);

-- Unique indexes that do not allow a row.
CREATE FUNCTION one(anyelement) RETURNS integer IMMUTABLE LANGUAGE sql AS 'SELECT 1';
SELECT * FROM outcomes(
    'TRUNCATE site_stats.page_views; '
    'DELETE FROM site_stats.%I WHERE %1$L <> ''backfill_state''; '
    'CREATE UNIQUE INDEX own ON site_stats.%1$I (one(epoch))',
    'TRUNCATE site_stats.page_views; '
    'DELETE FROM site_stats.%I WHERE %1$L <> ''backfill_state''; '
    'ALTER TABLE site_stats.%1$I ADD CONSTRAINT own EXCLUDE USING btree (one(epoch) WITH =)'
);

-- Other indexes.
SELECT * FROM outcomes(
    'CREATE INDEX own ON site_stats.%I (epoch)',
    'CREATE INDEX own ON site_stats.%I (epoch) WHERE epoch %% 2 = 0',
    'CREATE INDEX own ON site_stats.%I (one(epoch)) INCLUDE (epoch)',
    'CREATE INDEX own ON site_stats.%I USING hash (epoch)',
    'CREATE INDEX own ON site_stats.%I USING brin (epoch)'
);

-- Columns.
SELECT * FROM outcomes(
    'ALTER TABLE site_stats.%I ADD COLUMN own text',
    'ALTER TABLE site_stats.%I ADD COLUMN own text; ALTER TABLE site_stats.%1$I DROP COLUMN own',
    'ALTER TABLE site_stats.%I ADD COLUMN own timestamptz NOT NULL DEFAULT now()',
    'ALTER TABLE site_stats.%I ADD COLUMN own text DEFAULT ''x''',
    'ALTER TABLE site_stats.%I ADD COLUMN own bigint GENERATED ALWAYS AS (epoch * 2) STORED',
    'ALTER TABLE site_stats.%I ADD COLUMN own bigint GENERATED ALWAYS AS IDENTITY',
    'ALTER TABLE site_stats.%I ADD COLUMN own text DEFAULT ''x'' NOT NULL; '
    'ALTER TABLE site_stats.%1$I ALTER COLUMN own DROP DEFAULT',
    'ALTER TABLE site_stats.%I ALTER COLUMN epoch DROP NOT NULL',
    'ALTER TABLE site_stats.%I RENAME COLUMN epoch TO own'
);

-- The primary key, and what it is kept by.
SELECT * FROM outcomes(
    'ALTER TABLE site_stats.%I RENAME CONSTRAINT %2$I TO own',
    'ALTER TABLE site_stats.%I DROP CONSTRAINT %2$I',
    'ALTER TABLE site_stats.%I DROP CONSTRAINT %2$I, ADD PRIMARY KEY (%3$s)',
    'ALTER TABLE site_stats.%I DROP CONSTRAINT %2$I, ADD PRIMARY KEY (%3$s) INCLUDE (epoch)',
    'ALTER TABLE site_stats.%I ADD COLUMN i1 integer, ADD COLUMN i2 integer, ADD COLUMN i3 integer, '
    'ADD COLUMN i4 integer, ADD COLUMN i5 integer, ADD COLUMN i6 integer, ADD COLUMN i7 integer, '
    'ADD COLUMN i8 integer, ADD COLUMN i9 integer, ADD COLUMN i10 integer, ADD COLUMN i11 integer, '
    'ADD COLUMN i12 integer, ADD COLUMN i13 integer, ADD COLUMN i14 integer, '
    'DROP CONSTRAINT %2$I, ADD PRIMARY KEY (%3$s) '
    'INCLUDE (epoch, i1, i2, i3, i4, i5, i6, i7, i8, i9, i10, i11, i12, i13, i14)',
    'ALTER TABLE site_stats.%I DROP CONSTRAINT %2$I, ADD PRIMARY KEY (%3$s, epoch)',
    'ALTER TABLE site_stats.%I DROP CONSTRAINT %2$I, ADD PRIMARY KEY (epoch, %3$s)',
    'ALTER TABLE site_stats.%I DROP CONSTRAINT %2$I, ADD PRIMARY KEY (%3$s) DEFERRABLE',
    'ALTER TABLE site_stats.%I DROP CONSTRAINT %2$I, ADD UNIQUE (%3$s)',
    'UPDATE pg_index SET indisvalid = false WHERE indexrelid = ''site_stats.%2$I''::regclass; '
    'ALTER TABLE site_stats.%1$I SET (fillfactor = 50)',
    'CREATE ACCESS METHOD heap2 TYPE TABLE HANDLER heap_tableam_handler; '
    'ALTER TABLE site_stats.%I SET ACCESS METHOD heap2',
    'ALTER TABLE site_stats.%I SET (fillfactor = 100, parallel_workers = 0)',
    'ALTER TABLE site_stats.%I REPLICA IDENTITY FULL',
    'ALTER TABLE site_stats.%I CLUSTER ON %2$I',
    'CREATE TABLE child () INHERITS (site_stats.%I)',
    'ALTER TABLE site_stats.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY'
);

-- What one of the tables has.
BEGIN;
DELETE FROM counted WHERE name <> 'sessions';
SELECT alteration, outcome FROM outcomes(
    'ALTER TABLE site_stats.%I ALTER COLUMN session_id TYPE varchar(128)',
    'ALTER TABLE site_stats.%I ALTER COLUMN session_id TYPE text COLLATE "POSIX"',
    'ALTER TABLE site_stats.%I ALTER COLUMN views TYPE integer',
    'ALTER TABLE site_stats.%I ALTER COLUMN views SET DEFAULT 7',
    'ALTER TABLE site_stats.%I ALTER COLUMN is_lower_bound DROP DEFAULT',
    'ALTER TABLE site_stats.%I ALTER COLUMN is_lower_bound SET NOT NULL',
    'ALTER TABLE site_stats.%I DROP COLUMN is_lower_bound',
    'ALTER TABLE site_stats.%I DROP COLUMN is_lower_bound, ADD COLUMN is_lower_bound boolean',
    'ALTER TABLE site_stats.%I DROP COLUMN views, ADD COLUMN views bigint NOT NULL DEFAULT 0',
    'ALTER TABLE site_stats.%I DROP COLUMN epoch',
    'ALTER TABLE site_stats.%I ADD CONSTRAINT own CHECK (views < 3) NOT VALID',
    'CREATE UNIQUE INDEX own ON site_stats.%I (lower(session_id))',
    $$CREATE UNIQUE INDEX own ON site_stats.%I (upper(session_id));
    INSERT INTO site_stats.page_views (path, session_id) VALUES ('/', 'S1')$$,
    $$ALTER TABLE site_stats.%I ADD CONSTRAINT own EXCLUDE USING hash (session_id WITH =) WHERE (views > 0)$$,
    'CREATE INDEX own ON site_stats.%I (views, session_id) WHERE views > 2'
);
ROLLBACK;
BEGIN;
DELETE FROM counted WHERE name <> 'path_totals';
SELECT alteration, outcome FROM outcomes(
    'ALTER TABLE site_stats.%I ADD CONSTRAINT own FOREIGN KEY (site_id, path) REFERENCES site_stats.content NOT VALID',
    $$INSERT INTO site_stats.content (path, title) SELECT DISTINCT path, '' FROM site_stats.page_views;
    INSERT INTO site_stats.content (path, title)
    VALUES ('/5', ''), ('/6', ''), ('/7', ''), ('/moved', ''), ('/meanwhile', ''), ('/after', '');
    ALTER TABLE site_stats.%I ADD CONSTRAINT own FOREIGN KEY (site_id, path) REFERENCES site_stats.content$$,
    'ALTER TABLE site_stats.%I ADD CONSTRAINT own CHECK (length(path) > 2) NOT VALID'
);
ROLLBACK;
SELECT * FROM site_stats.check_totals();

-- Statistics are read directly, too: from a table of another shape not at all.
BEGIN;
ALTER TABLE site_stats.path_totals ALTER COLUMN epoch DROP NOT NULL;
UPDATE site_stats.path_totals SET epoch = NULL;
SELECT total_page_views FROM site_stats.get_stats();
ROLLBACK;
BEGIN;
ALTER TABLE site_stats.path_totals ALTER COLUMN slot TYPE text;
SELECT total_page_views FROM site_stats.get_stats();
ROLLBACK;

-- With commits: tables that mirror all of them miss nothing, in writes, in a backfill and in a TRUNCATE.
INSERT INTO mirror
SELECT 'path_totals', t::text FROM site_stats.path_totals AS t
UNION ALL SELECT 'daily_totals', t::text FROM site_stats.daily_totals AS t
UNION ALL SELECT 'site_totals', t::text FROM site_stats.site_totals AS t
UNION ALL SELECT 'sessions', t::text FROM site_stats.sessions AS t
UNION ALL SELECT 'backfill_state', t::text FROM site_stats.backfill_state AS t;
DO $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT c.name FROM counted AS c LOOP
        EXECUTE format(
            'CREATE TRIGGER own AFTER INSERT OR UPDATE OR DELETE ON site_stats.%I '
            'FOR EACH ROW EXECUTE FUNCTION mirror()',
            name
        );
        EXECUTE format('ALTER TABLE site_stats.%I ENABLE ALWAYS TRIGGER own', name);
    END LOOP;
END
$$;
CREATE VIEW missed AS
WITH stored AS (
    SELECT 'path_totals' AS name, t::text AS line FROM site_stats.path_totals AS t
    UNION ALL SELECT 'daily_totals', t::text FROM site_stats.daily_totals AS t
    UNION ALL SELECT 'site_totals', t::text FROM site_stats.site_totals AS t
    UNION ALL SELECT 'sessions', t::text FROM site_stats.sessions AS t
    UNION ALL SELECT 'backfill_state', t::text FROM site_stats.backfill_state AS t
)
(TABLE stored EXCEPT ALL TABLE mirror) UNION ALL (TABLE mirror EXCEPT ALL TABLE stored);
INSERT INTO site_stats.page_views (path, session_id, viewed_at)
SELECT '/' || i % 8, 's' || i % 11, '2026-01-08 00:00+00'::timestamptz + i * interval '9 hours'
FROM generate_series(1, 30) AS i;
SELECT site_stats.record_page_view('/called', 'page', 's1');
BEGIN;
UPDATE site_stats.page_views SET path = '/moved', session_id = 'moved' WHERE session_id = 's3';
SAVEPOINT one;
DELETE FROM site_stats.page_views WHERE session_id = 's2';
SELECT count(*) > 0 AS counted FROM site_stats.get_stats();
ROLLBACK TO one;
DELETE FROM site_stats.page_views WHERE session_id = 's4';
COMMIT;
SELECT * FROM site_stats.check_totals();
SELECT * FROM missed;
CALL site_stats.backfill(7);
DELETE FROM site_stats.page_views WHERE session_id IN ('s5', 'moved');
SELECT site_stats.fold_totals() >= 0 AS folded;
SELECT * FROM site_stats.check_totals();
SELECT * FROM missed;
TRUNCATE site_stats.page_views;
INSERT INTO site_stats.page_views (path, session_id, viewed_at) VALUES ('/', 's1', '2026-02-01 12:00+00');
SELECT * FROM site_stats.check_totals();
SELECT * FROM missed;
DROP VIEW missed;
DO $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT c.name FROM counted AS c LOOP
        EXECUTE format('DROP TRIGGER own ON site_stats.%I', name);
    END LOOP;
END
$$;

-- A commit that meets an index of the owner fails at once, and leaves nothing.
CREATE UNIQUE INDEX one_visitor ON site_stats.sessions (lower(session_id));
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/', 'ABC');
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/', 'abc');
BEGIN;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/', 'abc');
COMMIT;
DROP INDEX site_stats.one_visitor;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/', 'abc');
SELECT session_id, views FROM site_stats.sessions WHERE session_id !~ '^s' ORDER BY session_id;
SELECT * FROM site_stats.check_totals();

-- Columns of the owner have what an INSERT and an UPDATE would give them.
ALTER TABLE site_stats.sessions
    ADD COLUMN first_seen text NOT NULL DEFAULT 'now',
    ADD COLUMN is_busy boolean GENERATED ALWAYS AS (views > 1) STORED,
    ADD CONSTRAINT few CHECK (views < 3);
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/', 'abc'), ('/', 'after');
INSERT INTO site_stats.page_views (path, session_id) SELECT '/', 'many' FROM generate_series(1, 3);
SELECT session_id, views, first_seen, is_busy FROM site_stats.sessions WHERE session_id !~ '^s' ORDER BY session_id;
CREATE TEMP TABLE copied (LIKE site_stats.sessions INCLUDING CONSTRAINTS);
INSERT INTO copied SELECT * FROM site_stats.sessions;
ALTER TABLE site_stats.sessions DROP COLUMN first_seen, DROP COLUMN is_busy, DROP CONSTRAINT few;
INSERT INTO site_stats.page_views (path, session_id) SELECT '/', 'many' FROM generate_series(1, 3);
SELECT * FROM site_stats.check_totals();

-- The state row, rewritten and with columns of the owner: writers and a backfill go on.
ALTER TABLE site_stats.backfill_state
    ADD COLUMN own bigint GENERATED ALWAYS AS (epoch * 2) STORED,
    ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY;
CALL site_stats.backfill(2);
DELETE FROM site_stats.page_views WHERE session_id = 'many';
SELECT status, own = epoch * 2 AS is_generated, number FROM site_stats.backfill_state;
ALTER TABLE site_stats.backfill_state DROP COLUMN own, DROP COLUMN number;
SELECT * FROM site_stats.check_totals();

DROP FUNCTION mirror() CASCADE;
DROP FUNCTION pass(), suppress(), change(), refuse(), count_more(), fold_more(), begin_more();
DROP FUNCTION outcomes(text[]), one(anyelement);
DROP PROCEDURE write_page_views();
DROP TABLE mirror, counted;

-- The other tests find the tables as they were made.
DROP EXTENSION site_stats;
CREATE EXTENSION site_stats;
