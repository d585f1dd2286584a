-- Every object of the extension: one that is added by accident fails here. Nothing is granted to PUBLIC.
-- In later versions of PostgreSQL row types are among them, too, and NOT NULL is a constraint.
SELECT pg_describe_object(classid, objid, objsubid) COLLATE "C" AS object
FROM pg_depend
WHERE refclassid = 'pg_extension'::regclass
    AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'site_stats')
    AND deptype = 'e'
    AND classid <> 'pg_type'::regclass
ORDER BY 1;

SELECT c.oid::regclass AS index
FROM pg_class AS c
JOIN pg_index AS i ON i.indexrelid = c.oid
WHERE c.relnamespace = 'site_stats'::regnamespace
ORDER BY c.relname COLLATE "C";

SELECT c.conrelid::regclass AS table, c.conname AS constraint, c.contype AS type
FROM pg_constraint AS c
WHERE c.connamespace = 'site_stats'::regnamespace AND c.contype <> 'n'
ORDER BY c.conrelid::regclass::text COLLATE "C", 2;

-- Nobody but the owner has any privilege, except to call what CHECK constraints call as the role that writes.
SELECT nspname FROM pg_namespace WHERE nspname = 'site_stats' AND nspacl::text LIKE '%=%' AND nspacl::text ~ '[{,]=';
SELECT relname FROM pg_class WHERE relnamespace = 'site_stats'::regnamespace AND relacl::text ~ '[{,]=';
SELECT proname FROM pg_proc
WHERE pronamespace = 'site_stats'::regnamespace AND (proacl IS NULL OR proacl::text ~ '[{,]=')
ORDER BY proname;

-- Every function that runs with its owner's rights has a fixed search_path.
SELECT proname FROM pg_proc
WHERE pronamespace = 'site_stats'::regnamespace AND prosecdef
    AND NOT COALESCE('search_path=pg_catalog, pg_temp' = ANY (proconfig), false);

-- Every object that a user sees has a comment.
SELECT proname FROM pg_proc
WHERE pronamespace = 'site_stats'::regnamespace AND obj_description(oid, 'pg_proc') IS NULL;
SELECT relname FROM pg_class
WHERE relnamespace = 'site_stats'::regnamespace AND relkind IN ('r', 'v') AND obj_description(oid, 'pg_class') IS NULL;

LOAD 'site_stats';
SELECT name, boot_val, unit, context, min_val, max_val FROM pg_settings WHERE name LIKE 'site\_stats.%'
    AND name NOT LIKE 'site\_stats.fault\_%' ORDER BY name COLLATE "C";

SELECT extconfig::regclass[] FROM pg_extension WHERE extname = 'site_stats';
