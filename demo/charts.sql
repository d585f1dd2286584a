-- The most viewed pages and the page views of each day, for a terminal. Variable: bar, the
-- character of the bars.

\pset format unaligned
\pset tuples_only on

\echo
\echo '    Top pages                                                     views'
SELECT format(
    '    %s %s %s',
    lpad(row_number() OVER (ORDER BY t.views DESC, t.path)::text, 2),
    rpad(
        CASE WHEN length(t.title) < 56 AND t.title <> t.path THEN t.path || '  (' || t.title || ')' ELSE t.path END, 52
    ),
    lpad(to_char(t.views, 'FM999,999,999,999'), 11)
)
FROM site_stats.top_pages(10) AS t
ORDER BY t.views DESC, t.path;

\echo
SELECT CASE
    WHEN count(*) > 21 THEN format('    Views by day (UTC), the last 21 of %s days', count(*))
    ELSE '    Views by day (UTC)'
END
FROM site_stats.views_by_day();

SELECT format(
    '    %s %s %s',
    to_char(d.day, 'Dy DD Mon YYYY'),
    lpad(to_char(d.views, 'FM999,999,999,999'), 11),
    repeat(:'bar', round(40.0 * d.views / max(d.views) OVER ())::integer)
)
FROM (SELECT v.day, v.views FROM site_stats.views_by_day() AS v ORDER BY v.day DESC LIMIT 21) AS d
ORDER BY d.day;
