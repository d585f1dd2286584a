-- A prepared transaction counts when it is committed, also what a trigger has written when it was prepared, and not at
-- all when it is rolled back. A server without prepared transactions refuses them: the second expected file.
\set VERBOSITY terse
TRUNCATE site_stats.page_views;

CREATE VIEW totals AS
SELECT total_page_views, unique_visitors, total_paths FROM site_stats.get_stats();
CREATE TABLE orders (session_id text);
CREATE FUNCTION view_order()
RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO site_stats.page_views (path, session_id) VALUES ('/order', NEW.session_id);
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER view_order AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION view_order();

INSERT INTO site_stats.page_views (path, session_id) VALUES ('/', 'g');
BEGIN;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/two phases', 'h');
SAVEPOINT one;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/two phases', 'i');
ROLLBACK TO one;
INSERT INTO orders VALUES ('h');
PREPARE TRANSACTION 'kept';
BEGIN;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/two phases', 'j');
PREPARE TRANSACTION 'lost';
SELECT * FROM totals;
SELECT * FROM site_stats.check_totals();
COMMIT PREPARED 'kept';
ROLLBACK PREPARED 'lost';
SELECT * FROM totals;
SELECT * FROM site_stats.check_totals();

DROP VIEW totals;
DROP TABLE orders;
DROP FUNCTION view_order();
