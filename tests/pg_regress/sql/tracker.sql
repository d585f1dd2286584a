-- The script for a site's pages: which endpoints it takes, and how they are written into it. tests/browser has what it
-- does in a browser.
SET client_min_messages = warning;
\set VERBOSITY default

SELECT
    t.script LIKE E'(() => {\nconst endpoint = ''/collect'';\n%})();\n' AS is_script,
    octet_length(t.script) < 4096 AS is_small,
    t.script ~ '[^\n\x20-\x7e]' AS has_others_than_ascii,
    t.script ~ '(^|\n)( |//|\n)' AS has_comments,
    t.script ~* 'cookie|storage|indexeddb|caches' AS can_store
FROM site_stats.tracker('/collect') AS t (script);

-- Nothing ends the string: not a quote, not the end of a script, not a separator of lines.
SELECT substring(site_stats.tracker(e.endpoint) FROM 'const endpoint = (.*?);\n') AS written
FROM (VALUES
    ('/collect'), ('collect?site=a&b=c#d'), ('//stats.example'), ('HTTPS://stats.example:8443/a@b'),
    ('/'';alert(1)//'), ('/"</script><!--'), (E'/\u2028\u2029'), ('/é😀'), ('/${a}`b`'), ('/(a)[b]{c}')
) AS e (endpoint);

-- What a page cannot send to, and what would be run instead of sent to.
CREATE FUNCTION answer(endpoint text)
RETURNS text
LANGUAGE plpgsql
AS $$
BEGIN
    RETURN length(site_stats.tracker(endpoint)) > 0;
EXCEPTION
    WHEN OTHERS THEN
        RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
SELECT e.endpoint, answer(e.endpoint)
FROM (VALUES
    (NULL), (''), (' '), ('/a b'), ('javascript:alert(1)'), ('JAVASCRIPT:alert(1)'), (' javascript:alert(1)'),
    (E'java\tscript:alert(1)'), (E'\njavascript:alert(1)'), ('data:,x'), ('ftp://stats.example'), ('https:collect'),
    ('https://'), ('\\stats.example'), ('https://user:password@stats.example/collect')
) AS e (endpoint);
SELECT answer(repeat('x', 512)) AS longest, answer(repeat('x', 513)) AS longer, answer(repeat('é', 257)) AS in_bytes;
SELECT site_stats.tracker('javascript:alert(1)');
SELECT site_stats.tracker(NULL);
SELECT site_stats.tracker('');

-- The role that records gets it by name, as receive().
CREATE ROLE regress_web;
GRANT USAGE ON SCHEMA site_stats TO regress_web;
SET ROLE regress_web;
SELECT site_stats.tracker('/collect');
RESET ROLE;
GRANT EXECUTE ON FUNCTION site_stats.tracker TO regress_web;
SET ROLE regress_web;
BEGIN READ ONLY;
SELECT length(site_stats.tracker('/collect')) > 0 AS is_script;
COMMIT;
RESET ROLE;

DROP FUNCTION answer(text);
DROP OWNED BY regress_web;
DROP ROLE regress_web;
