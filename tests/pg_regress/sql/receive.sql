-- receive(): every answer that it gives, and what it records.
SET client_min_messages = warning;
SET TIME ZONE 'UTC';
TRUNCATE site_stats.page_views, site_stats.active_sessions, site_stats.refusal_totals;
DELETE FROM site_stats.origins;
DELETE FROM site_stats.clients;

CREATE SCHEMA visits;

-- What a call answers, and its error with the SQLSTATE and the hint.
CREATE FUNCTION visits.try(event jsonb)
RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
    hint text;
BEGIN
    RETURN site_stats.receive(event);
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RETURN format('%s: %s; hint: %s', SQLSTATE, SQLERRM, hint);
END
$$;

-- The views with their origins and clients.
CREATE VIEW visits.views AS
SELECT
    v.site_id,
    v.path,
    v.page_type,
    v.session_id,
    o.source,
    o.referrer,
    o.medium,
    o.campaign,
    o.channel,
    concat_ws(' ', c.browser, c.os, c.device, c.country, c.language) AS client
FROM site_stats.page_views AS v
LEFT JOIN site_stats.origins AS o ON o.id = v.origin_id
LEFT JOIN site_stats.clients AS c ON c.id = v.client_id
ORDER BY v.id;

\set chrome '''Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0'''

-- A view with all that it can say, and the same again.
SELECT site_stats.receive(
    '{"type": "view", "url": "https://example.com//a/./b/../c?utm_source=news&utm_medium=email&utm_campaign=May#top",
      "referrer": "https://www.google.com/search?q=secret", "title": "C", "language": "en-gb", "session": "s1",
      "other": {"a": [1]}}',
    '192.0.2.1', :chrome, 'de'
);
SELECT site_stats.receive(
    '{"type": "view", "url": "/a/c", "session": "s1"}', '192.0.2.1', :chrome, 'de'
);
SELECT * FROM visits.views;

-- The answers of record_page_view() and receive() come from the same views.
SELECT site_stats.record_page_view('/a/c', 'page', 's1'), site_stats.record_page_view('/d', 'blog', 's1');
SELECT site_stats.receive('{"type": "view", "url": "https://example.com/d", "session": "s1"}');

-- A direct visit, one from the site itself, one from another site, one with nothing but a click id.
SELECT
    site_stats.receive('{"type": "view", "url": "https://example.com/e", "session": "s2"}'),
    site_stats.receive('{"type": "view", "url": "https://example.com/f", "session": "s2",
        "referrer": "https://www.example.com/e"}'),
    site_stats.receive('{"type": "view", "url": "https://example.com/g", "session": "s2",
        "referrer": "https://blog.example.net/post?token=secret"}'),
    site_stats.receive('{"type": "view", "url": "https://example.com/h?gclid=1", "session": "s2"}');
SELECT path, source, referrer, channel, client FROM visits.views WHERE session_id = 's2';

-- Wrong forms name the key, and quote nothing.
SELECT visits.try(NULL);
SELECT event, visits.try(event::jsonb)
FROM (
    VALUES
        (1, '[]'), (2, '"view"'), (3, '1'), (4, 'null'), (5, '{}'),
        (6, '{"type": null, "url": "/"}'), (7, '{"type": 1, "url": "/"}'), (8, '{"type": "secret", "url": "/"}'),
        (9, '{"type": "view", "session": "s"}'), (10, '{"type": "heartbeat", "session": "s"}'),
        (11, '{"type": "view", "url": 1, "session": "s"}'), (12, '{"type": "view", "url": "secret", "session": "s"}'),
        (13, '{"type": "view", "url": "", "session": "s"}'),
        (14, '{"type": "view", "url": "about:blank", "session": "s"}'),
        (15, '{"type": "view", "url": "/", "referrer": [], "session": "s"}'),
        (16, '{"type": "view", "url": "/", "title": {}, "session": "s"}'),
        (17, '{"type": "view", "url": "/", "language": true, "session": "s"}'),
        (18, '{"type": "view", "url": "/", "site": 1, "session": "s"}'),
        (19, '{"type": "view", "url": "/", "site": "secret", "session": "s"}'),
        (20, '{"type": "view", "url": "/", "session": 1}'), (21, '{"type": "view", "url": "/", "session": ""}'),
        (22, '{"type": "view", "url": "/"}'), (23, '{"type": "leave"}'),
        (24, '{"type": "view", "url": "/", "session": "s", "at": 1700000000}'),
        (25, '{"type": "view", "url": "/", "session": "s", "at": "secret"}'),
        (26, '{"type": "view", "url": "/", "session": "s", "at": "2026-13-01T00:00:00Z"}'),
        (27, '{"type": "view", "url": "/", "session": "s", "at": "infinity"}'),
        (28, '{"type": "view", "url": "/", "session": "s", "at": "-infinity"}'),
        (29, '{"type": "view", "url": "/", "session": "s", "at": "1969-12-31T23:59:59Z"}'),
        (30, '{"type": "view", "url": "/", "session": "s", "at": "9999-01-01"}'),
        (31, '{"type": "view", "url": "/", "session": "s", "at": ""}')
) AS e (n, event)
ORDER BY n;
SELECT visits.try(jsonb_build_object('type', 'view', 'session', 's', 'at', 'x' || repeat(' ', 100), 'url', '/'));

-- Lengths: the event, the path and the session are refused; what a visitor does not choose is cut.
SELECT n, visits.try(event)
FROM (
    VALUES
        (1, jsonb_build_object('type', 'view', 'url', '/', 'session', 's', 'other', repeat('x', 16384))),
        (2, jsonb_build_object('type', 'view', 'url', '/' || repeat('x', 2048), 'session', 's')),
        (3, jsonb_build_object('type', 'view', 'url', '/' || repeat('é', 400), 'session', 's')),
        (4, jsonb_build_object('type', 'view', 'url', '/', 'session', repeat('x', 129))),
        (5, jsonb_build_object(
            'type', 'view', 'url', '/long', 'session', 's', 'referrer', 'https://a.example/' || repeat('x', 10000)
        ))
) AS e (n, event)
ORDER BY n;
SELECT site_stats.receive('{"type": "view", "url": "/long2", "session": "s"}', NULL, repeat('Mozilla/5.0 ', 100000));
SELECT path, octet_length(referrer) FROM visits.views WHERE path LIKE '/long%';

-- A site: hosts, what it excludes, and the parameters that make another page. The first check that fails decides.
INSERT INTO site_stats.sites (name, hosts, excluded_addresses, excluded_paths, kept_parameters) VALUES
    ('shop', '{Shop.example, www.shop.example}', '{10.0.0.0/8, 2001:db8::/32}', '{/admin%, %.php}', '{page, id}');
SELECT n, site_stats.receive('{"type": "view", "site": "shop", "session": "s3"}'::jsonb || event::jsonb, address, agent)
FROM (
    VALUES
        (1, '{"url": "https://shop.example/?x=1&id=2&page=3"}', '192.0.2.1'::inet, NULL),
        (2, '{"url": "https://SHOP.example:8443/?id=2&page=4"}', '192.0.2.1', NULL),
        (3, '{"url": "/no-host"}', '192.0.2.1', NULL),
        (4, '{"url": "https://other.example/"}', '192.0.2.1', NULL),
        (5, '{"url": "https://other.example/admin"}', '10.1.1.1', 'Googlebot/2.1'),
        (6, '{"url": "https://shop.example/admin"}', '10.1.1.1', 'Googlebot/2.1'),
        (7, '{"url": "https://shop.example/x"}', '192.0.2.1', ''),
        (8, '{"url": "https://shop.example/x"}', '10.255.0.1', NULL),
        (9, '{"url": "https://shop.example/x"}', '::ffff:10.0.0.1', NULL),
        (10, '{"url": "https://shop.example/x"}', '2001:db8::7/64', NULL),
        (11, '{"url": "https://shop.example/admin/users"}', '192.0.2.1', NULL),
        (12, '{"url": "https://shop.example/a/b.php?id=1"}', '192.0.2.1', NULL),
        (13, '{"url": "https://shop.example/a/b.php"}', '192.0.2.1', NULL),
        (14, '{"url": "https://www.shop.example/ok", "referrer": "https://shop.example/x"}', '192.0.2.1', NULL)
) AS e (n, event, address, agent)
ORDER BY n;
SELECT path, source FROM visits.views WHERE session_id = 's3';

-- A change of the rules is heard at once. No host is not any host.
UPDATE site_stats.sites SET hosts = '{}', excluded_paths = NULL WHERE name = 'shop';
SELECT
    site_stats.receive('{"type": "view", "site": "shop", "session": "s3", "url": "https://shop.example/y"}'),
    site_stats.receive('{"type": "view", "site": "shop", "session": "s3", "url": "/admin"}');

-- Each refusal is counted, and a duplicate is none.
SELECT reason, count FROM site_stats.refusals(site => 'shop') ORDER BY reason;

-- Views in the past have their own windows: those before them count, and those after them do not.
SELECT n, site_stats.receive(('{"type": "view", "session": "s4"}'::jsonb || event::jsonb))
FROM (
    VALUES
        (1, '{"url": "/q", "at": "2026-01-01T12:00:00Z"}'),
        (2, '{"url": "/q", "at": "2026-01-01 13:10:00+01"}'),
        (3, '{"url": "/q", "at": "2026-01-01T12:29:59Z"}'),
        (4, '{"url": "/q", "at": "2026-01-01T12:30:00Z"}'),
        (5, '{"url": "/q", "at": "2026-01-01T11:59:59Z"}'),
        (6, '{"url": "/q"}')
) AS e (n, event)
ORDER BY n;
SELECT viewed_at FROM site_stats.page_views WHERE session_id = 's4' AND viewed_at < '2026-02-01' ORDER BY viewed_at;
SET site_stats.max_views_per_minute = 2;
SELECT n, site_stats.receive(('{"type": "view", "session": "s5"}'::jsonb || event::jsonb))
FROM (
    VALUES
        (1, '{"url": "/1", "at": "2026-01-01T12:00:00Z"}'), (2, '{"url": "/2", "at": "2026-01-01T12:00:01Z"}'),
        (3, '{"url": "/3", "at": "2026-01-01T12:00:02Z"}'), (4, '{"url": "/4", "at": "2026-01-01T12:01:00Z"}')
) AS e (n, event)
ORDER BY n;
RESET site_stats.max_views_per_minute;
SELECT reason, count FROM site_stats.refusals() ORDER BY reason;

-- Heartbeats and leaving.
SELECT
    site_stats.receive('{"type": "heartbeat", "url": "https://example.com/a?b#c", "session": "s6"}', NULL, NULL, 'fr'),
    site_stats.receive('{"type": "heartbeat", "url": "/a", "session": "s6"}');
SELECT session_id, current_path, country, site_id FROM site_stats.active_sessions;
SELECT
    site_stats.receive('{"type": "heartbeat", "url": "/a", "session": "s6"}', NULL, 'curl/8.0'),
    site_stats.receive('{"type": "leave", "session": "s6", "at": "2026-01-01T00:00:00Z"}'),
    site_stats.receive('{"type": "leave", "session": "s6", "site": "shop"}'),
    site_stats.receive('{"type": "leave", "session": "s6"}'),
    site_stats.receive('{"type": "leave", "session": "s6", "url": "/a"}');
SELECT count(*) FROM site_stats.active_sessions;

-- What is not known is NULL.
SELECT
    site_stats.receive('{"type": "view", "url": "/i", "session": "s7", "language": "???"}', NULL, NULL, 'XX'),
    site_stats.receive('{"type": "view", "url": "/j", "session": "s7", "language": "de-AT,de;q=0.9"}');
SELECT path, client FROM visits.views WHERE session_id = 's7';

-- A heartbeat that a queue brings late does not take the session back to where it was.
SELECT
    site_stats.receive('{"type": "heartbeat", "url": "/now", "session": "s8"}'),
    site_stats.receive(jsonb_build_object(
        'type', 'heartbeat', 'url', '/then', 'session', 's8', 'at', (now() - interval '1 hour')::text
    ));
SELECT current_path FROM site_stats.active_sessions WHERE session_id = 's8';

-- A pattern is compared with the path and its kept parameters. It may end in a backslash.
INSERT INTO site_stats.sites (name, excluded_paths, kept_parameters)
VALUES ('some', ARRAY['/secret', '%.php', '%.php?%', E'/x\\', E'/y\\\\'], '{page}');
SELECT url, site_stats.receive(jsonb_build_object('type', 'view', 'url', url, 'session', 's9', 'site', 'some'))
FROM unnest(ARRAY['/secret', '/secret?page=1', '/secret/a', '/b.php?page=2', '/c?page=3', '/xy', '/y']) AS u (url);

-- An origin that this transaction takes away is made anew for the next page view.
SELECT site_stats.receive('{"type": "view", "url": "/1?utm_campaign=once", "session": "s10", "language": "mt"}');
BEGIN;
SELECT site_stats.forget_session('s10');
SELECT site_stats.receive('{"type": "view", "url": "/2?utm_campaign=once", "session": "s11", "language": "mt"}');
COMMIT;
SELECT v.path, o.campaign, c.language
FROM site_stats.page_views AS v
LEFT JOIN site_stats.origins AS o ON o.id = v.origin_id
LEFT JOIN site_stats.clients AS c ON c.id = v.client_id
WHERE v.session_id = 's11';

DROP SCHEMA visits CASCADE;
TRUNCATE site_stats.active_sessions;
DELETE FROM site_stats.sites WHERE name IN ('shop', 'some');
SELECT * FROM site_stats.check_totals();
