-- Asks reports the same questions as the oracle (oracle.sql, which comes first) and tells the differences. A question
-- is a call without its schema, such as summary(NULL, NULL, '{}', '').

-- The first rows in which the two answers to a question differ; none if they are equal, and in the same order.
CREATE FUNCTION test.ask(question text)
RETURNS TABLE (asked text, place bigint, answered text, expected text)
LANGUAGE plpgsql
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
AS $$
BEGIN
    RETURN QUERY EXECUTE format(
        $query$
            SELECT %L::text, n, a.answer, e.answer
            FROM (SELECT row_number() OVER () AS n, r::text AS answer FROM site_stats.%s AS r) AS a
            FULL JOIN (SELECT row_number() OVER () AS n, r::text AS answer FROM test.%s AS r) AS e USING (n)
            WHERE a.answer IS DISTINCT FROM e.answer
            ORDER BY n
            LIMIT 3
        $query$,
        question, question, question
    );
END
$$;

CREATE FUNCTION test.pick(choices anyarray)
RETURNS anyelement
LANGUAGE sql
VOLATILE
CALLED ON NULL INPUT
PARALLEL RESTRICTED
AS $$
    SELECT choices[1 + floor(random() * cardinality(choices))::integer]
$$;

-- A filter of any kind, with values of these views or without any match.
CREATE FUNCTION test.random_filter(word text, views jsonb[])
RETURNS jsonb
LANGUAGE plpgsql
VOLATILE
CALLED ON NULL INPUT
PARALLEL RESTRICTED
AS $$
DECLARE
    value text := COALESCE(test.pick(views) ->> word, 'no value');
    other text := COALESCE(test.pick(views) ->> word, '');
    pattern text := test.pick(ARRAY[
        '%', '', '_', '%a%', '/%', '_\_%', '\%%', 'G_o%', '%é', lower(value), left(value, 2) || '%',
        '%' || right(value, 1), '_' || substr(value, 2)
    ]);
BEGIN
    RETURN test.pick(ARRAY[
        to_jsonb(value), to_jsonb(value), '[]', 'null', jsonb_build_array(value), jsonb_build_array(value, other),
        jsonb_build_object('not', value), jsonb_build_object('not', jsonb_build_array(value, other)), '{"not": []}',
        jsonb_build_object('like', pattern), jsonb_build_object('like', pattern)
    ]);
END
$$;

-- A question about the days of these views, or the days around them, of one of the sites.
CREATE FUNCTION test.random_question(views jsonb[])
RETURNS text
LANGUAGE plpgsql
VOLATILE
CALLED ON NULL INPUT
PARALLEL RESTRICTED
AS $$
DECLARE
    words constant text[] := ARRAY[
        'path', 'page_type', 'entry_path', 'source', 'referrer', 'medium', 'campaign', 'term', 'content', 'channel',
        'browser', 'os', 'device', 'country', 'language', 'weekday', 'hour'
    ];
    view jsonb := test.pick(views);
    day date := COALESCE((view ->> 'day')::date, date '2026-03-29') + test.pick(ARRAY[-1, 0, 0, 0, 0, 1]);
    since date;
    until date;
    filters jsonb := '{}';
    site text := (
        SELECT s.name
        FROM site_stats.sites AS s
        ORDER BY s.id = (view ->> 'site_id')::integer AND random() < 0.8 DESC, random()
        LIMIT 1
    );
BEGIN
    since := CASE WHEN random() < 0.7 THEN day END;
    until := CASE WHEN random() < 0.7 THEN day + test.pick(ARRAY[-1, 0, 0, 0, 0, 0, 1, 1, 2, 7, 31]) END;
    FOR i IN 1 .. test.pick(ARRAY[0, 0, 0, 1, 1, 2, 3]) LOOP
        filters := (
            SELECT filters || jsonb_build_object(w.word, test.random_filter(w.word, views))
            FROM test.pick(words) AS w (word)
        );
    END LOOP;
    IF random() < 0.4 THEN
        RETURN format(
            'timeline(%L, %L, %L, %L, %L)',
            test.pick(ARRAY['hour', 'hour', 'day', 'day', 'week', 'month']), since, until, filters, site
        );
    END IF;
    -- These take infinite days, too.
    since := CASE WHEN random() < 0.03 THEN '-infinity' ELSE since END;
    until := CASE WHEN random() < 0.03 THEN 'infinity' ELSE until END;
    IF random() < 0.3 THEN
        RETURN format('summary(%L, %L, %L, %L)', since, until, filters, site);
    END IF;
    RETURN format(
        'breakdown(%L, %L, %L, %L, %s, %L)',
        test.pick(words), since, until, filters, test.pick(ARRAY[0, 1, 2, 3, 50, 50, 50, 50, 1000]), site
    );
END
$$;

-- Asks a number of questions, the same ones for the same views and the same seed. Returns the differences.
CREATE FUNCTION test.compare(seed integer, questions integer)
RETURNS TABLE (asked text, place bigint, answered text, expected text)
LANGUAGE plpgsql
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
AS $$
DECLARE
    views jsonb[] := ARRAY(
        SELECT to_jsonb(v)
        FROM test.visit_views AS v
        ORDER BY md5(format('%s %s', v.id, seed))
        LIMIT 200
    );
BEGIN
    PERFORM setseed(seed % 1000000 / 1000000.0);
    FOR i IN 1 .. questions LOOP
        RETURN QUERY SELECT a.* FROM test.ask(test.random_question(views)) AS a;
    END LOOP;
END
$$;
