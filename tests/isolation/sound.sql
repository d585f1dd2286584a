-- The database of the isolation specs. Each permutation of a spec drops the extension at its end, so nothing is left to
-- look at afterwards. So an event trigger looks at the tables and indexes before each DROP EXTENSION, as
-- pg_amcheck --heapallindexed --parent-check does. Its error becomes part of what the spec prints.

CREATE EXTENSION amcheck;

-- How many times the event trigger has looked.
CREATE SEQUENCE public.looks AS bigint;

CREATE FUNCTION public.look_at_pages()
RETURNS event_trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    damage text;
    tables oid[] := ARRAY(
        SELECT c.oid
        FROM pg_class AS c
        WHERE c.relnamespace = to_regnamespace('site_stats') AND c.relkind = 'r'
    );
BEGIN
    PERFORM public.bt_index_parent_check(i.indexrelid, true)
    FROM pg_index AS i
    WHERE i.indrelid = ANY (tables) AND i.indisvalid;

    SELECT string_agg(format('%s, block %s, row %s: %s', t, h.blkno, h.offnum, h.msg), E'\n')
    INTO damage
    FROM unnest(tables) AS t, public.verify_heapam(t) AS h;

    IF damage IS NOT NULL THEN
        RAISE EXCEPTION 'damaged tables: %', damage;
    END IF;

    PERFORM nextval('public.looks') FROM unnest(tables) LIMIT 1;
END
$$;

CREATE EVENT TRIGGER look_at_pages
ON ddl_command_start
WHEN TAG IN ('DROP EXTENSION')
EXECUTE FUNCTION public.look_at_pages();
