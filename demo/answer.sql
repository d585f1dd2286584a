-- One answer of get_stats() for a terminal. Variable: asked, which answer.

SELECT format(
    E'%s page views   %s visitors   %s paths   since %s\nmost viewed: %s\nsource: %s   %s ms',
    to_char((a.answer ->> 'total_page_views')::bigint, 'FM999,999,999,999'),
    to_char((a.answer ->> 'unique_visitors')::bigint, 'FM999,999,999,999'),
    to_char((a.answer ->> 'total_paths')::bigint, 'FM999,999,999,999'),
    to_char((a.answer ->> 'tracking_since')::timestamptz, 'DD Mon YYYY'),
    (
        SELECT string_agg(
            format('%s %s', p.page ->> 'path', to_char((p.page ->> 'views')::bigint, 'FM999,999,999,999')),
            ', ' ORDER BY p.number
        )
        FROM jsonb_array_elements(a.answer -> 'page_stats') WITH ORDINALITY AS p (page, number)
        WHERE p.number <= 3
    ),
    a.answer ->> 'source',
    a.milliseconds
)
FROM demo.answers AS a
WHERE a.asked = :'asked';
