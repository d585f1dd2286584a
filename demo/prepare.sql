-- What the demonstration needs of its own, in the schema demo: get_stats() asked, timed and kept, to compare answers.

\set ON_ERROR_STOP on

CREATE EXTENSION site_stats;

CREATE SCHEMA demo;

CREATE TABLE demo.answers (
    asked text PRIMARY KEY,
    milliseconds numeric NOT NULL,
    answer jsonb NOT NULL
);

-- Asks until five answers or two seconds have passed; keeps the fastest time.
CREATE PROCEDURE demo.ask(asked text)
LANGUAGE plpgsql
AS $$
DECLARE
    began_at timestamptz := clock_timestamp();
    asked_at timestamptz;
    fastest interval;
    row_of_stats record;
BEGIN
    FOR i IN 1..5 LOOP
        asked_at := clock_timestamp();
        SELECT * INTO row_of_stats FROM site_stats.get_stats();
        fastest := LEAST(fastest, clock_timestamp() - asked_at);
        EXIT WHEN clock_timestamp() > began_at + interval '2 seconds';
    END LOOP;
    INSERT INTO demo.answers
    VALUES (asked, round(extract(epoch FROM fastest) * 1000, 1), to_jsonb(row_of_stats));
END
$$;
