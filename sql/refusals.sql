-- refusals: how many page views a site was told of and did not record, and why. Truth, like the page views: nothing
-- can derive these counts again.
--
-- Each count is split over counter slots, as those of count.sql are, and for the same reason: a transaction borrows a
-- counter slot, and is the only writer of its rows. So refusals never make transactions wait for each other. The
-- library writes this table directly (src/pg/heap_table/mod.rs): it is a heap, and these columns come first.

-- Half of a block is left free for new versions of its rows. No foreign key leads to sites: it would have the executor
-- write each row, and look at the row of the site.
CREATE TABLE site_stats.refusal_totals (
    site_id smallint NOT NULL,
    day date NOT NULL,
    reason text COLLATE "C" NOT NULL,
    slot integer NOT NULL,
    refusals bigint NOT NULL,
    CONSTRAINT refusal_totals_site_id_day_reason_slot_pkey PRIMARY KEY (site_id, day, reason, slot)
) USING heap WITH (fillfactor = 50);

-- For folding, which moves these rows into slot 0.
CREATE INDEX refusal_totals_slot_idx ON site_stats.refusal_totals (slot) WHERE slot > 0;

COMMENT ON TABLE site_stats.refusal_totals IS
    'Page views that were not recorded, split over slots. Truth, and not derived: nothing can make it anew.';
COMMENT ON COLUMN site_stats.refusal_totals.site_id IS 'The site that they were meant for.';
COMMENT ON COLUMN site_stats.refusal_totals.day IS 'The day of the call in UTC.';
COMMENT ON COLUMN site_stats.refusal_totals.reason IS 'bot, excluded, unknown_host or rate_limited.';
COMMENT ON COLUMN site_stats.refusal_totals.slot IS 'The part of the count; only the sum over slots has a meaning.';
COMMENT ON COLUMN site_stats.refusal_totals.refusals IS 'Page views refused in this slot.';

-- The refusals of a site go with it. Each count of a refusal holds the lock of a writer of page_views, so the trigger
-- that keeps those out has kept these out, too.
CREATE FUNCTION site_stats.remove_refusals()
RETURNS trigger
LANGUAGE plpgsql
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM site_stats.refusal_totals AS t
    USING removed AS r
    WHERE t.site_id = r.id;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION site_stats.remove_refusals() IS 'Trigger that removes the refusals of a deleted site.';

CREATE TRIGGER sites_remove_refusals
AFTER DELETE ON site_stats.sites
REFERENCING OLD TABLE AS removed
FOR EACH STATEMENT EXECUTE FUNCTION site_stats.remove_refusals();

CREATE FUNCTION site_stats.refusals(
    since date DEFAULT NULL,
    until date DEFAULT NULL,
    site text DEFAULT ''
)
RETURNS TABLE (day date, reason text, count bigint)
LANGUAGE c
STABLE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'read_statistics';
COMMENT ON FUNCTION site_stats.refusals(date, date, text) IS
    'Page views of a site that were not recorded, by UTC day and reason; both days inclusive, NULL is open.';

CREATE FUNCTION site_stats.refusals_in_snapshot(
    since date,
    until date,
    site text
)
RETURNS TABLE (day date, reason text, count bigint)
LANGUAGE plpgsql
STABLE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    wanted_site smallint := site_stats.site_id(site);
BEGIN
    RETURN QUERY
    SELECT t.day, t.reason, sum(t.refusals)::bigint
    FROM site_stats.refusal_totals AS t
    WHERE t.site_id = wanted_site
        AND t.day >= COALESCE(since, '-infinity'::date)
        AND t.day <= COALESCE(until, 'infinity'::date)
    GROUP BY t.day, t.reason
    ORDER BY t.day, t.reason;
END
$$;
COMMENT ON FUNCTION site_stats.refusals_in_snapshot(date, date, text) IS 'The query of refusals().';

SELECT pg_extension_config_dump('site_stats.refusal_totals', '');
