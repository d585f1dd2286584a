-- receive: one call for whatever a tracker or a web server has to tell, and what it keeps besides the views: the new
-- rows of origins and clients, and the salts that make the ids of visitors without a cookie.

-- For the row with a combination of values, NULLs among them. The library looks for each new combination.
CREATE INDEX origins_values_idx ON site_stats.origins (
    hash_record_extended(ROW (source, referrer, medium, campaign, term, content, channel), 0)
);
CREATE INDEX clients_values_idx ON site_stats.clients (
    hash_record_extended(ROW (browser, os, device, country, language), 0)
);

-- Each process remembers the ids of the rows that it has met.
CREATE FUNCTION site_stats.announce_dictionary()
RETURNS trigger
LANGUAGE c
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'announce_dictionary_wrapper';
COMMENT ON FUNCTION site_stats.announce_dictionary() IS
    'Trigger that tells every process that rows of origins or clients have changed or are gone.';

CREATE TRIGGER origins_changed
AFTER UPDATE OR DELETE OR TRUNCATE ON site_stats.origins
FOR EACH STATEMENT EXECUTE FUNCTION site_stats.announce_dictionary();

CREATE TRIGGER clients_changed
AFTER UPDATE OR DELETE OR TRUNCATE ON site_stats.clients
FOR EACH STATEMENT EXECUTE FUNCTION site_stats.announce_dictionary();

-- The library writes the row of a site in place, so only the index of the primary key can lead to it. UNLOGGED: after a
-- crash a site may add as many values as on a new day.
CREATE UNLOGGED TABLE site_stats.dictionary_growth (
    site_id smallint NOT NULL,
    day date NOT NULL,
    new_origins integer NOT NULL,
    new_clients integer NOT NULL,
    CONSTRAINT dictionary_growth_site_id_pkey PRIMARY KEY (site_id)
) USING heap;

COMMENT ON TABLE site_stats.dictionary_growth IS
    'How many rows the views of a site have added to origins and clients on its newest day. Never write it by hand.';
COMMENT ON COLUMN site_stats.dictionary_growth.site_id IS 'The site.';
COMMENT ON COLUMN site_stats.dictionary_growth.day IS 'The UTC day on which a view of the site last added a row.';
COMMENT ON COLUMN site_stats.dictionary_growth.new_origins IS 'Rows of origins that were added on that day.';
COMMENT ON COLUMN site_stats.dictionary_growth.new_clients IS 'Rows of clients that were added on that day.';

-- UNLOGGED, so that no log, archive, standby or base backup keeps a salt; and no dump does. A crash empties the table:
-- the visitors of that day get new ids then.
CREATE UNLOGGED TABLE site_stats.salts (
    day date NOT NULL,
    salt bytea NOT NULL,
    CONSTRAINT salts_day_pkey PRIMARY KEY (day),
    CONSTRAINT salts_salt_check CHECK (octet_length(salt) = 16)
) USING heap;

COMMENT ON TABLE site_stats.salts IS
    'What makes the ids of visitors without a cookie, for today and yesterday. Never write it, and grant it to nobody.';
COMMENT ON COLUMN site_stats.salts.day IS 'The UTC day on which the salt makes ids.';
COMMENT ON COLUMN site_stats.salts.salt IS '16 random bytes; zeros once the ids of the day cannot be made any more.';

CREATE FUNCTION site_stats.visitor_id(address inet, user_agent text, site text DEFAULT '')
RETURNS text
LANGUAGE c
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'visitor_id_wrapper';
COMMENT ON FUNCTION site_stats.visitor_id(inet, text, text) IS
    'The id, for this UTC day and this site, of a visitor without a cookie; 32 hexadecimal digits.';

CREATE FUNCTION site_stats.receive(
    event jsonb,
    address inet DEFAULT NULL,
    user_agent text DEFAULT NULL,
    country text DEFAULT NULL
)
RETURNS text
LANGUAGE c
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'receive_wrapper';
COMMENT ON FUNCTION site_stats.receive(jsonb, inet, text, text) IS
    'Records a view, a heartbeat or a leave; returns recorded, duplicate, rate_limited, bot, excluded or unknown_host.';
