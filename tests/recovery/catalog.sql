-- Everything of the extension that a user or a program can tell, one line for each, by name: what an update must make
-- the same as CREATE EXTENSION does.
SELECT line FROM (
    SELECT 'member: ' || pg_describe_object(classid, objid, objsubid) AS line
    FROM pg_depend
    WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
        AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'site_stats')
    UNION ALL
    SELECT 'extension: ' || (
        extversion, extrelocatable, extnamespace::regnamespace, extconfig::regclass[], extcondition
    )::text
    FROM pg_extension
    WHERE extname = 'site_stats'
    UNION ALL
    SELECT 'relation: ' || (
        c.relname, c.relkind, c.relpersistence, c.reloptions, a.amname, c.relacl, c.relrowsecurity, c.relreplident,
        obj_description(c.oid, 'pg_class')
    )::text
    FROM pg_class AS c
    LEFT JOIN pg_am AS a ON a.oid = c.relam
    WHERE c.relnamespace = 'site_stats'::regnamespace
    UNION ALL
    SELECT 'column: ' || (
        c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
        a.attgenerated, a.attcollation::regcollation, a.attstorage, a.attstattarget,
        -- Minor releases of 2026 keep a number of their own there.
        ARRAY(SELECT o FROM unnest(a.attoptions) AS o WHERE o NOT LIKE 'pg\_attver=%' ORDER BY o),
        pg_get_expr(d.adbin, d.adrelid), a.attacl, col_description(c.oid, a.attnum)
    )::text
    FROM pg_class AS c
    JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relnamespace = 'site_stats'::regnamespace AND c.relkind IN ('r', 'v', 'S', 'm', 'p')
    UNION ALL
    SELECT 'index: ' || pg_get_indexdef(i.indexrelid)
    FROM pg_index AS i
    JOIN pg_class AS c ON c.oid = i.indrelid
    WHERE c.relnamespace = 'site_stats'::regnamespace
    UNION ALL
    SELECT 'constraint: ' || (conrelid::regclass, conname, convalidated, pg_get_constraintdef(oid))::text
    FROM pg_constraint
    WHERE connamespace = 'site_stats'::regnamespace
    UNION ALL
    SELECT 'view: ' || c.relname || pg_get_viewdef(c.oid)
    FROM pg_class AS c
    WHERE c.relnamespace = 'site_stats'::regnamespace AND c.relkind = 'v'
    UNION ALL
    SELECT 'trigger: ' || tgenabled::text || pg_get_triggerdef(t.oid)
    FROM pg_trigger AS t
    JOIN pg_class AS c ON c.oid = t.tgrelid
    WHERE c.relnamespace = 'site_stats'::regnamespace
    UNION ALL
    SELECT 'sequence: ' || (
        seqrelid::regclass, seqtypid::regtype, seqstart, seqincrement, seqmax, seqmin, seqcache, seqcycle
    )::text
    FROM pg_sequence AS s
    JOIN pg_class AS c ON c.oid = s.seqrelid
    WHERE c.relnamespace = 'site_stats'::regnamespace
    UNION ALL
    SELECT 'routine: ' || pg_get_functiondef(p.oid)
        || (p.proacl, p.procost, p.prorows, obj_description(p.oid, 'pg_proc'))::text
    FROM pg_proc AS p
    WHERE p.pronamespace = 'site_stats'::regnamespace
    UNION ALL
    SELECT 'rule: ' || pg_get_ruledef(r.oid)
    FROM pg_rewrite AS r
    JOIN pg_class AS c ON c.oid = r.ev_class
    WHERE c.relnamespace = 'site_stats'::regnamespace
    UNION ALL
    SELECT 'policy: ' || (polname, pg_get_expr(polqual, polrelid))::text
    FROM pg_policy AS p
    JOIN pg_class AS c ON c.oid = p.polrelid
    WHERE c.relnamespace = 'site_stats'::regnamespace
    UNION ALL
    SELECT 'statistics: ' || pg_get_statisticsobjdef(s.oid)
    FROM pg_statistic_ext AS s
    WHERE s.stxnamespace = 'site_stats'::regnamespace
    UNION ALL
    SELECT 'type: ' || (typname, typtype, typacl)::text
    FROM pg_type
    WHERE typnamespace = 'site_stats'::regnamespace
    UNION ALL
    SELECT 'schema: ' || (nspname, nspacl, obj_description(oid, 'pg_namespace'))::text
    FROM pg_namespace
    WHERE nspname = 'site_stats'
) AS catalog
ORDER BY line COLLATE "C";
