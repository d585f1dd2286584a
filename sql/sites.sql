-- sites: the web sites whose statistics are kept here. Their owner fills the table with plain SQL. The site without a
-- name is always there, and is meant where none is named.

-- Names without a schema in this script mean PostgreSQL's own, whatever else is in the database.
SET LOCAL search_path TO pg_catalog, pg_temp;
-- The library reads and writes the tables directly, as heaps.
SET LOCAL default_table_access_method TO heap;

-- A schema that is there may hold triggers or rules of another role, which this script, run by a superuser, would set
-- off: it must be empty. A dump makes the schema first, and gives it to the owner that it had. An owner of the schema
-- can replace what is in it, and so can a role that may create there. So the role that creates the extension takes the
-- schema, and takes the rights of others away. A dump gives its own rights after that.
DO $$
DECLARE
    schema_id oid;
    other regrole;
BEGIN
    SELECT n.oid
    INTO schema_id
    FROM pg_catalog.pg_namespace AS n
    WHERE n.nspname = 'site_stats';

    IF EXISTS (SELECT FROM pg_catalog.pg_class AS c WHERE c.relnamespace = schema_id)
        OR EXISTS (SELECT FROM pg_catalog.pg_proc AS p WHERE p.pronamespace = schema_id)
        OR EXISTS (SELECT FROM pg_catalog.pg_type AS t WHERE t.typnamespace = schema_id)
        OR EXISTS (SELECT FROM pg_catalog.pg_operator AS o WHERE o.oprnamespace = schema_id)
    THEN
        RAISE EXCEPTION 'schema "site_stats" already exists and is not empty'
            USING ERRCODE = 'duplicate_schema',
                HINT = 'Drop or rename that schema; CREATE EXTENSION creates its own.';
    END IF;

    ALTER SCHEMA site_stats OWNER TO CURRENT_USER;
    FOR other IN
        SELECT DISTINCT a.grantee::regrole
        FROM pg_catalog.pg_namespace AS n
        CROSS JOIN LATERAL aclexplode(n.nspacl) AS a
        WHERE n.oid = schema_id AND a.grantee NOT IN (0, n.nspowner)
    LOOP
        EXECUTE format('REVOKE ALL ON SCHEMA site_stats FROM %s CASCADE', other);
    END LOOP;
END
$$;

CREATE TABLE site_stats.sites (
    id smallint GENERATED ALWAYS AS IDENTITY,
    name text COLLATE "C" NOT NULL,
    timezone text NOT NULL DEFAULT 'UTC',
    hosts text[],
    excluded_addresses cidr[],
    excluded_paths text[],
    kept_parameters text[],
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT sites_id_pkey PRIMARY KEY (id),
    CONSTRAINT sites_name_key UNIQUE (name),
    CONSTRAINT sites_name_check CHECK (octet_length(name) <= 128 AND (id = 1) = (name = '')),
    -- An unknown time zone raises 22023.
    CONSTRAINT sites_timezone_check CHECK (
        '2000-01-01 00:00:00+00'::timestamptz AT TIME ZONE timezone IS NOT NULL
    ),
    -- As an array of one dimension without NULL.
    CONSTRAINT sites_hosts_check CHECK (array_ndims(hosts) = 1 AND array_position(hosts, NULL) IS NULL),
    CONSTRAINT sites_excluded_addresses_check CHECK (
        array_ndims(excluded_addresses) = 1 AND array_position(excluded_addresses, NULL) IS NULL
    ),
    CONSTRAINT sites_excluded_paths_check CHECK (
        array_ndims(excluded_paths) = 1 AND array_position(excluded_paths, NULL) IS NULL
    ),
    CONSTRAINT sites_kept_parameters_check CHECK (
        array_ndims(kept_parameters) = 1 AND array_position(kept_parameters, NULL) IS NULL
    )
);

INSERT INTO site_stats.sites (name) VALUES ('');

COMMENT ON TABLE site_stats.sites IS
    'The sites whose statistics are kept, filled by their owner; the first has no name.';
COMMENT ON COLUMN site_stats.sites.name IS
    'What functions call the site by: at most 128 bytes, empty for site 1 alone.';
COMMENT ON COLUMN site_stats.sites.timezone IS 'The time zone that decides what a day of the site is in reports.';
COMMENT ON COLUMN site_stats.sites.hosts IS 'Hosts whose views are recorded, without ports; NULL for any.';
COMMENT ON COLUMN site_stats.sites.excluded_addresses IS 'Networks whose views are not recorded; NULL for none.';
COMMENT ON COLUMN site_stats.sites.excluded_paths IS 'LIKE patterns of paths that are not recorded; NULL for none.';
COMMENT ON COLUMN site_stats.sites.kept_parameters IS
    'Query parameters that make another page, and so stay in a path; NULL for none.';

-- A dump carries the first site, too, and CREATE EXTENSION has made it: what comes for it changes it.
CREATE FUNCTION site_stats.restore_first_site()
RETURNS trigger
LANGUAGE plpgsql
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE site_stats.sites AS s
    SET
        timezone = NEW.timezone,
        hosts = NEW.hosts,
        excluded_addresses = NEW.excluded_addresses,
        excluded_paths = NEW.excluded_paths,
        kept_parameters = NEW.kept_parameters,
        created_at = NEW.created_at
    WHERE s.id = 1;
    RETURN CASE WHEN NOT FOUND THEN NEW END;
END
$$;
COMMENT ON FUNCTION site_stats.restore_first_site() IS
    'Trigger that changes the first site in place of inserting it again, as the restore of a dump does.';

CREATE TRIGGER sites_restore
BEFORE INSERT ON site_stats.sites
FOR EACH ROW WHEN (NEW.id = 1) EXECUTE FUNCTION site_stats.restore_first_site();
-- For a subscriber of logical replication, too.
ALTER TABLE site_stats.sites ENABLE ALWAYS TRIGGER sites_restore;

-- The page views of a site go with it. Nobody may record one meanwhile, and each writer must hear of it: the ids of
-- sites that are gone are kept, and page views for them are refused. A transaction of a higher isolation level would
-- not see all page views, and leave some behind.
CREATE TABLE site_stats.removed_sites (
    id smallint NOT NULL,
    CONSTRAINT removed_sites_id_pkey PRIMARY KEY (id)
);

COMMENT ON TABLE site_stats.removed_sites IS 'The ids of sites that were deleted: no page view may come in for them.';

CREATE FUNCTION site_stats.prepare_site_removal()
RETURNS trigger
LANGUAGE plpgsql
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'a site cannot be deleted in a transaction with isolation level REPEATABLE READ or SERIALIZABLE'
            USING ERRCODE = 'active_sql_transaction',
                HINT = 'Begin the transaction with BEGIN ISOLATION LEVEL READ COMMITTED.';
    END IF;
    LOCK TABLE ONLY site_stats.page_views IN SHARE ROW EXCLUSIVE MODE;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION site_stats.prepare_site_removal() IS
    'Trigger that keeps writers of page views out until the site and its page views are gone.';

CREATE TRIGGER sites_before_delete
BEFORE DELETE ON site_stats.sites
FOR EACH STATEMENT EXECUTE FUNCTION site_stats.prepare_site_removal();

CREATE FUNCTION site_stats.remove_sites()
RETURNS trigger
LANGUAGE plpgsql
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM removed AS r WHERE r.id = 1) THEN
        RAISE EXCEPTION 'the site without a name cannot be deleted'
            USING ERRCODE = 'restrict_violation',
                HINT = 'DELETE FROM site_stats.page_views WHERE site_id = 1 takes its page views away.';
    END IF;
    INSERT INTO site_stats.removed_sites (id)
    SELECT r.id
    FROM removed AS r
    ON CONFLICT (id) DO NOTHING;
    DELETE FROM ONLY site_stats.page_views AS v
    USING removed AS r
    WHERE v.site_id = r.id;
    DELETE FROM site_stats.content AS c
    USING removed AS r
    WHERE c.site_id = r.id;
    DELETE FROM site_stats.active_sessions AS a
    USING removed AS r
    WHERE a.site_id = r.id;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION site_stats.remove_sites() IS
    'Trigger that removes what deleted sites have, and refuses to delete the first site.';

CREATE TRIGGER sites_after_delete
AFTER DELETE ON site_stats.sites
REFERENCING OLD TABLE AS removed
FOR EACH STATEMENT EXECUTE FUNCTION site_stats.remove_sites();

CREATE FUNCTION site_stats.keep_site_ids()
RETURNS trigger
LANGUAGE plpgsql
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'the id of a site cannot be changed, and site_stats.sites cannot be truncated'
        USING ERRCODE = 'restrict_violation',
            HINT = 'DELETE takes a site away, with its page views.';
END
$$;
COMMENT ON FUNCTION site_stats.keep_site_ids() IS
    'Trigger that refuses what would leave page views of a site that is not there.';

CREATE TRIGGER sites_keep_ids
BEFORE UPDATE OF id ON site_stats.sites
FOR EACH ROW WHEN (NEW.id <> OLD.id) EXECUTE FUNCTION site_stats.keep_site_ids();

CREATE TRIGGER sites_keep
BEFORE TRUNCATE ON site_stats.sites
FOR EACH STATEMENT EXECUTE FUNCTION site_stats.keep_site_ids();

-- A process remembers the sites that it has met.
CREATE FUNCTION site_stats.announce_sites()
RETURNS trigger
LANGUAGE c
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'announce_sites_wrapper';
COMMENT ON FUNCTION site_stats.announce_sites() IS
    'Trigger that tells every process that the sites have changed.';

CREATE TRIGGER sites_changed
AFTER INSERT OR UPDATE OR DELETE ON site_stats.sites
FOR EACH STATEMENT EXECUTE FUNCTION site_stats.announce_sites();
ALTER TABLE site_stats.sites ENABLE ALWAYS TRIGGER sites_changed;

CREATE FUNCTION site_stats.site_id(site text)
RETURNS smallint
LANGUAGE c
STABLE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'site_id_wrapper';
COMMENT ON FUNCTION site_stats.site_id(text) IS 'The id of the site with a name; an error if there is none.';
