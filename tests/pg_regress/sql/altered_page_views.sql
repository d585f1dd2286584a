-- Whatever an owner does to page_views: a page view is counted, or the statement fails and says what to repair. A row
-- that cannot be counted is never read as if it could.
SET TIME ZONE 'UTC';
TRUNCATE site_stats.page_views;
\set VERBOSITY terse
\set SHOW_CONTEXT never
\pset format unaligned
\pset fieldsep ' | '

INSERT INTO site_stats.page_views (path, session_id, viewed_at)
SELECT '/' || i % 5, 's' || i % 7, '2026-01-01 00:00+00'::timestamptz + i * interval '7 hours'
FROM generate_series(1, 40) AS i;
SET client_min_messages = warning;
CALL site_stats.backfill();
SELECT * FROM site_stats.check_totals();

-- Writes of every kind, each flushed by a read, two calls for each visitor of three, and a backfill in small batches.
CREATE PROCEDURE write_page_views()
LANGUAGE plpgsql
AS $$
DECLARE
    answers text;
BEGIN
    INSERT INTO site_stats.page_views (path, session_id, viewed_at)
    SELECT '/' || i % 8, 's' || i % 11, '2026-01-08 00:00+00'::timestamptz + i * interval '9 hours'
    FROM generate_series(1, 30) AS i;
    PERFORM FROM site_stats.get_stats();
    UPDATE site_stats.page_views SET path = '/moved', session_id = 'moved' WHERE session_id = 's3';
    PERFORM FROM site_stats.get_stats();
    DELETE FROM site_stats.page_views WHERE session_id IN ('s4', 's10') OR path = '/7';
    SELECT string_agg(site_stats.record_page_view('/called', 'page', 'called' || i % 3), ' ' ORDER BY i)
    INTO answers
    FROM generate_series(1, 6) AS i;
    IF answers <> 'recorded recorded recorded duplicate duplicate duplicate' THEN
        RAISE EXCEPTION 'record_page_view() answers: %', answers;
    END IF;
    PERFORM site_stats.begin_backfill();
    WHILE site_stats.backfill_turn(9) LOOP
        DELETE FROM site_stats.page_views WHERE path = '/meanwhile' OR session_id = 'called1';
        INSERT INTO site_stats.page_views (path, session_id) VALUES ('/meanwhile', 's1'), ('/meanwhile', 'meanwhile');
    END LOOP;
    DELETE FROM site_stats.page_views WHERE session_id = 's5' OR path = '/2';
    PERFORM FROM site_stats.get_stats();
END
$$;

-- What comes of the writes after each alteration, each in a subtransaction of its own.
CREATE FUNCTION outcomes(VARIADIC alterations text[])
RETURNS TABLE (alteration text, outcome text)
LANGUAGE plpgsql
AS $$
DECLARE
    code text;
    hint text;
BEGIN
    FOREACH alteration IN ARRAY alterations LOOP
        BEGIN
            EXECUTE alteration;
            CALL write_page_views();
            RAISE EXCEPTION '%', (
                SELECT CASE count(*) WHEN 0 THEN 'exact' ELSE count(*) || ' differences' END
                FROM site_stats.check_totals()
            );
        EXCEPTION
            WHEN OTHERS THEN
                GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, outcome = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
                IF code <> 'P0001' THEN
                    outcome := concat_ws(E'\n', code || ' ' || outcome, NULLIF(hint, ''));
                END IF;
        END;
        RETURN NEXT;
    END LOOP;
END
$$;

-- Columns: more of them, ours in another place, and none.
SELECT * FROM outcomes(
    'ALTER TABLE site_stats.page_views ADD COLUMN own text',
    'ALTER TABLE site_stats.page_views ADD COLUMN own text DEFAULT ''x'', ADD COLUMN own2 integer NOT NULL DEFAULT 7',
    'ALTER TABLE site_stats.page_views ADD COLUMN own text GENERATED ALWAYS AS (path || page_type) STORED',
    'ALTER TABLE site_stats.page_views ADD COLUMN own text; ALTER TABLE site_stats.page_views DROP COLUMN own',
    'ALTER TABLE site_stats.page_views ALTER COLUMN page_type DROP DEFAULT, '
    'ALTER COLUMN page_type SET DEFAULT ''post''',
    'ALTER TABLE site_stats.page_views DROP COLUMN page_type, ADD COLUMN page_type text NOT NULL DEFAULT ''page''',
    'ALTER TABLE site_stats.page_views DROP COLUMN page_type, ADD COLUMN page_type text',
    'ALTER TABLE site_stats.page_views DROP COLUMN session_id, '
    'ADD COLUMN session_id text COLLATE "C" NOT NULL DEFAULT ''s''',
    'ALTER TABLE site_stats.page_views DROP COLUMN page_type',
    'ALTER TABLE site_stats.page_views DROP COLUMN session_id',
    'ALTER TABLE site_stats.page_views RENAME COLUMN page_type TO own',
    'ALTER TABLE site_stats.page_views DROP COLUMN viewed_at',
    'ALTER TABLE site_stats.page_views ALTER COLUMN path SET STORAGE EXTERNAL, ALTER COLUMN path SET STATISTICS 0'
);

-- NULL allowed. It is refused when it comes, and a row with it that came past the triggers does not harm others.
SELECT * FROM outcomes(
    'ALTER TABLE site_stats.page_views ALTER COLUMN page_type DROP NOT NULL, '
    'ALTER COLUMN session_id DROP NOT NULL, ALTER COLUMN path DROP NOT NULL, '
    'ALTER COLUMN viewed_at DROP NOT NULL',
    'ALTER TABLE site_stats.page_views ALTER COLUMN page_type DROP NOT NULL, ALTER COLUMN page_type DROP DEFAULT',
    'ALTER TABLE site_stats.page_views ALTER COLUMN session_id DROP NOT NULL; '
    'UPDATE site_stats.page_views SET session_id = NULL WHERE id % 7 = 0',
    'ALTER TABLE site_stats.page_views ALTER COLUMN path DROP NOT NULL; '
    'INSERT INTO site_stats.page_views (path, session_id) VALUES (''/'', ''s''), (NULL, ''s'')',
    'ALTER TABLE site_stats.page_views ALTER COLUMN viewed_at DROP NOT NULL; '
    'UPDATE site_stats.page_views SET viewed_at = NULL WHERE id % 7 = 0',
    'ALTER TABLE site_stats.page_views ALTER COLUMN session_id DROP NOT NULL; '
    'SET LOCAL session_replication_role = replica; '
    'UPDATE site_stats.page_views SET session_id = NULL WHERE path = ''/2''; '
    'SET LOCAL session_replication_role = origin'
);

-- Types and collations. Texts are compared byte by byte whatever their collation is.
SELECT * FROM outcomes(
    'ALTER TABLE site_stats.page_views ALTER COLUMN page_type TYPE varchar(64)',
    'ALTER TABLE site_stats.page_views ALTER COLUMN session_id TYPE varchar(200)',
    'ALTER TABLE site_stats.page_views ALTER COLUMN session_id TYPE varchar COLLATE "C"',
    'ALTER TABLE site_stats.page_views ALTER COLUMN session_id TYPE text COLLATE "default"',
    'ALTER TABLE site_stats.page_views ALTER COLUMN session_id TYPE text COLLATE "POSIX"',
    'ALTER TABLE site_stats.page_views ALTER COLUMN page_type TYPE char(8)',
    'ALTER TABLE site_stats.page_views DROP CONSTRAINT page_views_session_id_check, '
    'ALTER COLUMN session_id TYPE uuid USING md5(session_id)::uuid; '
    'INSERT INTO site_stats.page_views (path, session_id) VALUES (''/'', gen_random_uuid())',
    'ALTER TABLE site_stats.page_views DROP CONSTRAINT page_views_session_id_check, '
    'ALTER COLUMN session_id TYPE uuid USING md5(session_id)::uuid; '
    'DELETE FROM site_stats.page_views WHERE path = ''/1''',
    'ALTER TABLE site_stats.page_views DROP CONSTRAINT page_views_session_id_check, '
    'ALTER COLUMN session_id TYPE bytea USING session_id::bytea; '
    'DO $$ BEGIN PERFORM site_stats.begin_backfill(), site_stats.backfill_turn(); '
    'END $$',
    'ALTER TABLE site_stats.page_views ALTER COLUMN session_id TYPE char(40)',
    'ALTER TABLE site_stats.page_views ALTER COLUMN session_id TYPE name',
    'CREATE DOMAIN visitor AS text; ALTER TABLE site_stats.page_views ALTER COLUMN session_id TYPE visitor',
    'ALTER TABLE site_stats.page_views ALTER COLUMN path TYPE varchar(2048)',
    'ALTER TABLE site_stats.page_views ALTER COLUMN viewed_at TYPE timestamp',
    'ALTER TABLE site_stats.page_views ALTER COLUMN id TYPE integer',
    'ALTER TABLE site_stats.page_views ALTER COLUMN id TYPE numeric'
);

-- Indexes: dropped, renamed, of another kind, or not valid. record_page_view() answers the same, if more slowly.
SELECT * FROM outcomes(
    'DROP INDEX site_stats.page_views_session_id_viewed_at_idx',
    'DROP INDEX site_stats.page_views_site_id_viewed_at_idx',
    'ALTER INDEX site_stats.page_views_session_id_viewed_at_idx RENAME TO own',
    'DROP INDEX site_stats.page_views_session_id_viewed_at_idx; '
    'CREATE INDEX page_views_session_id_viewed_at_idx ON site_stats.page_views (viewed_at, session_id)',
    'DROP INDEX site_stats.page_views_session_id_viewed_at_idx; '
    'CREATE INDEX page_views_session_id_viewed_at_idx ON site_stats.page_views (session_id, '
    'viewed_at) WHERE path <> ''/called''',
    'DROP INDEX site_stats.page_views_session_id_viewed_at_idx; '
    'CREATE INDEX page_views_session_id_viewed_at_idx ON site_stats.page_views (session_id DESC, '
    'viewed_at DESC NULLS LAST)',
    'DROP INDEX site_stats.page_views_session_id_viewed_at_idx; '
    'CREATE INDEX page_views_session_id_viewed_at_idx ON site_stats.page_views (session_id, viewed_at, '
    'path) INCLUDE (id)',
    'DROP INDEX site_stats.page_views_session_id_viewed_at_idx; '
    'CREATE INDEX page_views_session_id_viewed_at_idx ON site_stats.page_views (lower(session_id), viewed_at)',
    'DROP INDEX site_stats.page_views_session_id_viewed_at_idx; '
    'CREATE INDEX page_views_session_id_viewed_at_idx ON site_stats.page_views (session_id text_pattern_ops, '
    'viewed_at)',
    'DROP INDEX site_stats.page_views_session_id_viewed_at_idx; '
    'CREATE INDEX page_views_session_id_viewed_at_idx ON site_stats.page_views (session_id COLLATE '
    '"default", viewed_at)',
    'INSERT INTO site_stats.page_views (path, session_id) '
    'SELECT ''/'', ''Z'' || i FROM generate_series(1, 100) AS i; '
    'DROP INDEX site_stats.page_views_session_id_viewed_at_idx; '
    'CREATE INDEX page_views_session_id_viewed_at_idx ON site_stats.page_views '
    '(session_id COLLATE "und-x-icu", viewed_at)',
    'DROP INDEX site_stats.page_views_session_id_viewed_at_idx; '
    'CREATE INDEX page_views_session_id_viewed_at_idx ON site_stats.page_views USING hash (session_id)',
    'DROP INDEX site_stats.page_views_session_id_viewed_at_idx; '
    'CREATE INDEX page_views_session_id_viewed_at_idx ON site_stats.page_views USING brin (session_id, '
    'viewed_at)',
    'DROP INDEX site_stats.page_views_session_id_viewed_at_idx; '
    'CREATE INDEX page_views_session_id_viewed_at_idx ON site_stats.content (path)',
    'UPDATE pg_index SET indisvalid = false WHERE indexrelid = '
    '''site_stats.page_views_session_id_viewed_at_idx''::regclass; '
    'ALTER TABLE site_stats.page_views SET (fillfactor = 90)',
    'UPDATE pg_index SET indisvalid = false, '
    'indisready = false WHERE indexrelid = ''site_stats.page_views_session_id_viewed_at_idx''::regclass; '
    'ALTER TABLE site_stats.page_views SET (fillfactor = 90)'
);

-- An index that is younger than an update of the same transaction does not lead to the older rows, by which a
-- session is counted.
BEGIN;
DROP INDEX site_stats.page_views_session_id_viewed_at_idx;
UPDATE site_stats.page_views SET session_id = 'moved' WHERE session_id = 's3' AND id % 2 = 0;
CREATE INDEX page_views_session_id_viewed_at_idx ON site_stats.page_views (session_id, viewed_at);
SELECT indcheckxmin FROM pg_index WHERE indexrelid = 'site_stats.page_views_session_id_viewed_at_idx'::regclass;
SELECT * FROM site_stats.check_totals();
ROLLBACK;

-- The primary key, by which a backfill reads.
SELECT * FROM outcomes(
    'ALTER TABLE site_stats.page_views RENAME CONSTRAINT page_views_id_pkey TO own',
    'ALTER TABLE site_stats.page_views DROP CONSTRAINT page_views_id_pkey',
    'ALTER TABLE site_stats.page_views DROP CONSTRAINT page_views_id_pkey, ADD PRIMARY KEY (id, viewed_at)',
    'ALTER TABLE site_stats.page_views DROP CONSTRAINT page_views_id_pkey, ADD PRIMARY KEY (id) INCLUDE (path)',
    'ALTER TABLE site_stats.page_views DROP CONSTRAINT page_views_id_pkey, ADD PRIMARY KEY (viewed_at, id)',
    'ALTER TABLE site_stats.page_views DROP CONSTRAINT page_views_id_pkey, ADD UNIQUE (id)',
    'UPDATE pg_index SET indisvalid = false WHERE indexrelid = ''site_stats.page_views_id_pkey''::regclass; '
    'ALTER TABLE site_stats.page_views SET (fillfactor = 90)'
);

-- Triggers, rules, constraints and policies of the owner do on page_views what they do on any table.
CREATE FUNCTION redact() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.path := replace(NEW.path, '1', '2');
    RETURN CASE WHEN NEW.session_id <> 's6' THEN NEW END;
END
$$;
SELECT * FROM outcomes(
    'CREATE TRIGGER own BEFORE INSERT OR UPDATE ON site_stats.page_views FOR EACH ROW EXECUTE FUNCTION redact()',
    'CREATE RULE own AS ON INSERT TO site_stats.page_views WHERE NEW.session_id = ''s1'' DO INSTEAD NOTHING',
    'CREATE RULE own AS ON DELETE TO site_stats.page_views DO INSTEAD UPDATE site_stats.page_views SET path '
    '= ''/deleted'' WHERE id = OLD.id',
    'ALTER TABLE site_stats.page_views ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY',
    'CREATE TABLE child () INHERITS (site_stats.page_views); ALTER TABLE child NO INHERIT site_stats.page_views',
    'CREATE UNIQUE INDEX own ON site_stats.page_views (session_id, path, viewed_at, id)',
    'ALTER TABLE site_stats.page_views ADD CONSTRAINT own CHECK (session_id <> ''meanwhile'')',
    'ALTER TABLE site_stats.page_views REPLICA IDENTITY FULL, SET (autovacuum_enabled = off)',
    'CREATE ACCESS METHOD heap2 TYPE TABLE HANDLER heap_tableam_handler; '
    'ALTER TABLE site_stats.page_views SET ACCESS METHOD heap2'
);
SELECT * FROM site_stats.check_totals();

-- With commits, and in the session that has seen the table before: the server lives, and says what is wrong.
INSERT INTO site_stats.page_views (path, session_id, viewed_at) VALUES ('/', 'erased', '2026-01-05 09:00+00');
ALTER TABLE site_stats.page_views ALTER page_type DROP NOT NULL, ALTER page_type DROP DEFAULT;
INSERT INTO site_stats.page_views (path, session_id, viewed_at) VALUES ('/', 's', '2026-01-05 09:00+00');
INSERT INTO site_stats.page_views (path, page_type, session_id, viewed_at)
VALUES ('/', 'page', 's', '2026-01-05 09:00+00');
ALTER TABLE site_stats.page_views ALTER session_id DROP NOT NULL;
UPDATE site_stats.page_views SET session_id = NULL WHERE session_id = 'erased';
SELECT * FROM site_stats.check_totals();

-- A row with NULL that came past the triggers: a backfill says so, and others are counted. It can be deleted.
SET session_replication_role = replica;
INSERT INTO site_stats.page_views (path, page_type, session_id, viewed_at)
VALUES ('/null', 'page', NULL, '2026-01-05 09:00+00');
RESET session_replication_role;
INSERT INTO site_stats.page_views (path, page_type, session_id, viewed_at)
VALUES ('/null', 'page', 's', '2026-01-05 09:00+00');
SELECT * FROM site_stats.check_totals();
CALL site_stats.backfill();
SELECT site_stats.stop_backfill();
SELECT status FROM site_stats.backfill_state;
DELETE FROM site_stats.page_views WHERE session_id IS NULL;
CALL site_stats.backfill();
SELECT status, last_error FROM site_stats.backfill_state;
ALTER TABLE site_stats.page_views
    ALTER session_id SET NOT NULL,
    ALTER page_type SET NOT NULL,
    ALTER page_type SET DEFAULT 'page';
SELECT * FROM site_stats.check_totals();

-- A column that is gone; then it is there again, at another place of the row.
ALTER TABLE site_stats.page_views DROP COLUMN page_type;
INSERT INTO site_stats.page_views (path, session_id, viewed_at) VALUES ('/', 's', '2026-01-05 09:00+00');
DELETE FROM site_stats.page_views WHERE session_id = 's';
CALL site_stats.backfill();
SELECT site_stats.stop_backfill();
ALTER TABLE site_stats.page_views ADD COLUMN page_type text NOT NULL DEFAULT 'page';
INSERT INTO site_stats.page_views (path, page_type, session_id, viewed_at)
VALUES ('/again', 'again', 's', '2026-01-05 09:00+00');
SELECT site_stats.record_page_view('/again', 'again', 'called');
SELECT site_stats.record_page_view('/again', 'again', 'called');
CALL site_stats.backfill();
SELECT path, page_type, views FROM site_stats.top_pages() WHERE path = '/again';
SELECT * FROM site_stats.check_totals();

DROP FUNCTION outcomes(text[]), redact();
DROP PROCEDURE write_page_views();

-- The other tests find the tables as they were made.
DROP EXTENSION site_stats;
CREATE EXTENSION site_stats;
