# A backfill that cannot count, because of what the owner has done to a table, fails with the reason. It is not restarted in a
# loop, no matter which error it is, and start_backfill() begins anew when the cause is gone.

use strict;
use warnings;

use SiteStats;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_site('backfill_refused', 300, max_worker_processes => 12);
$node->safe_psql('postgres', q(
	CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		RAISE EXCEPTION 'the owner says no' USING ERRCODE = TG_ARGV[0];
	END
	$$;));

# A backfill that meets the cause fails with this reason; without the cause the next one completes.
sub ok_fails
{
	my ($label, $cause, $reason, $repair) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$node->safe_psql('postgres', $cause);
	my $position = log_position($node);
	is($node->safe_psql('postgres', q(SELECT site_stats.start_backfill() LIKE 'Backfill started%')), 't', "$label: starts");
	ok_until($node, "status = 'failed'", "$label: it fails");
	like(progress($node, 'last_error'), $reason, "$label: with the reason");
	ok_no_worker($node, $label);
	is(count_lines($node, 'site_stats: a backfill batch failed', $position), 5, "$label: five times");
	like(sqlstate_of($node, 'CALL site_stats.await_backfill()'), qr/^55000: the backfill is not complete: its status is failed/, "$label: await_backfill() says so");
	is($node->safe_psql('postgres', 'SELECT site_stats.wait_for_backfill()'), 'f', "$label: wait_for_backfill() says so");
	$node->safe_psql('postgres', q(SELECT site_stats.resume_backfill(); SELECT * FROM site_stats.check_totals()));
	is(join(' ', workers($node)), '', "$label: no call restarts it");
	is(count_lines($node, 'terminated by signal', $position), 0, "$label: the server lives");
	$node->safe_psql('postgres', $repair);
	$node->safe_psql('postgres', 'SELECT site_stats.start_backfill()');
	$node->safe_psql('postgres', 'CALL site_stats.await_backfill()');
	check_sound($node, "$label: repaired");
	return;
}

ok_fails('a row with NULL',
	q(ALTER TABLE site_stats.page_views ALTER session_id DROP NOT NULL;
		SET session_replication_role = replica;
		UPDATE site_stats.page_views SET session_id = NULL WHERE id = 150),
	qr/cannot count a page view with NULL in column "session_id"/,
	q(DELETE FROM site_stats.page_views WHERE session_id IS NULL; ALTER TABLE site_stats.page_views ALTER session_id SET NOT NULL));
ok_fails('a column dropped',
	q(ALTER TABLE site_stats.page_views DROP COLUMN page_type),
	qr/column "page_type" of table "site_stats.page_views" has been renamed or dropped/,
	q(ALTER TABLE site_stats.page_views ADD COLUMN page_type text NOT NULL DEFAULT 'page'));
ok_fails('no primary key',
	q(ALTER TABLE site_stats.page_views DROP CONSTRAINT page_views_id_pkey),
	qr/no primary key/,
	q(ALTER TABLE site_stats.page_views ADD CONSTRAINT page_views_id_pkey PRIMARY KEY (id)));
ok_fails('an index of the owner',
	q(SET session_replication_role = replica; INSERT INTO site_stats.page_views (path, session_id) VALUES ('/', 'one'), ('/', 'ONE');
		TRUNCATE site_stats.sessions; CREATE UNIQUE INDEX one_visitor ON site_stats.sessions (lower(session_id))),
	qr/duplicate key value violates unique constraint "one_visitor"/,
	q(DROP INDEX site_stats.one_visitor));
ok_fails('a table of counters altered',
	q(ALTER TABLE site_stats.sessions ALTER views TYPE integer),
	qr/column "views" of table "site_stats.sessions" has been altered or dropped/,
	q(ALTER TABLE site_stats.sessions ALTER views TYPE bigint));
# Errors that a dropped extension raises, too.
for my $code (qw(42P01 55000 42883 3F000 P0001))
{
	ok_fails("a trigger raises $code",
		"CREATE TRIGGER own AFTER INSERT OR UPDATE ON site_stats.path_totals FOR EACH ROW EXECUTE FUNCTION refuse('$code')",
		qr/the owner says no/,
		'DROP TRIGGER own ON site_stats.path_totals');
}
ok_fails('the beginning fails',
	q(CREATE TRIGGER own BEFORE UPDATE ON site_stats.backfill_state FOR EACH ROW WHEN (NEW.epoch <> OLD.epoch) EXECUTE FUNCTION refuse('P0001')),
	qr/the owner says no/,
	q(DROP TRIGGER own ON site_stats.backfill_state));

# A request in a prepared transaction that nobody ends: it holds neither a snapshot of the worker nor a caller.
{
	my $label = 'a forgotten request';
	$node->safe_psql('postgres', q(BEGIN; SELECT site_stats.start_backfill(); PREPARE TRANSACTION 'forgotten'));
	ok_until($node, q(SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'site_stats backfill' AND wait_event_type = 'Lock' AND backend_xmin IS NULL AND backend_xid IS NULL),
		"$label: the worker waits without a snapshot");
	for my $call (qw(start_backfill stop_backfill))
	{
		like(sqlstate_of($node, "SET lock_timeout = '100ms'; SELECT site_stats.$call()"),
			qr/^55P03: another transaction has requested a backfill and has not ended End that transaction; a prepared one is in pg_prepared_xacts\.$/, "$label: $call() says so");
	}
	like(sqlstate_of($node, 'SET lock_timeout = 0; SELECT site_stats.start_backfill()'), qr/^55P03: /, "$label: without a lock timeout, too");
	$node->safe_psql('postgres', q(SELECT site_stats.record_page_view('/', 'page', 'meanwhile')));
	$node->safe_psql('postgres', q(ROLLBACK PREPARED 'forgotten'));
	ok_no_worker($node, $label);
	ok_exact($node, $label);
}

# While it waits, await_backfill() holds no snapshot, in which old versions of the counters would have to be kept.
{
	my $label = 'await_backfill()';
	require_fault_points($node);
	my $position = log_position($node);
	set_fault($node, 'counted:wait:2');
	$node->safe_psql('postgres', 'SELECT site_stats.start_backfill()');
	ok_at_fault($node, $label, $position);
	like(sqlstate_of($node, q(CALL site_stats.await_backfill('0 s'))), qr/^57014: the backfill was not complete when the timeout passed It goes on/, "$label: a timeout");
	my $waiting = $node->background_psql('postgres', on_error_stop => 0);
	my ($pid) = $waiting->query_safe('SELECT pg_backend_pid()') =~ /(\d+)/;
	$waiting->{stdin} .= "CALL site_stats.await_backfill(); SELECT 'awaited';\n";
	$waiting->{run}->pump_nb;
	ok_until($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE pid = $pid AND wait_event = 'Extension' AND backend_xmin IS NULL", "$label: waits without a snapshot");
	clear_fault($node);
	$node->safe_psql('postgres', "SELECT pg_cancel_backend($_)") for workers($node);    # that batch is taken again
	ok_until($node, "status = 'complete'", "$label: complete");
	ok(pump_until($waiting->{run}, $waiting->{timeout}, \$waiting->{stdout}, qr/awaited/), "$label: returns");
	$waiting->quit;
	like(sqlstate_of($node, 'BEGIN; CALL site_stats.await_backfill()'), qr/^2D000: site_stats.await_backfill\(\) cannot run inside a transaction block or a function/, "$label: not in a transaction");
	is(sqlstate_of($node, 'CALL site_stats.await_backfill()'), '', "$label: nothing to wait for");
	check_sound($node, $label);
}

# Without the index by session a transaction keeps its locks: those that all sessions share.
{
	my $label = 'many sessions in one transaction, without the index by session';
	$node->safe_psql('postgres', 'DROP INDEX site_stats.page_views_session_id_viewed_at_idx');
	is($node->safe_psql('postgres', q(BEGIN; SELECT count(site_stats.record_page_view('/', 'page', 'w' || n)) FROM generate_series(1, 2500) AS n; SELECT count(*) BETWEEN 500 AND 1100 FROM pg_locks; ROLLBACK)),
		"2500\nt", "$label: a bounded number of locks");
	$node->safe_psql('postgres', 'CREATE INDEX page_views_session_id_viewed_at_idx ON site_stats.page_views (session_id, viewed_at)');
}

# Many sessions in one transaction do not fill the lock table of the server, for the others neither.
{
	my $label = 'many sessions in one transaction';
	my $writer = $node->background_psql('postgres');
	$writer->query_safe(q(BEGIN; SELECT count(site_stats.record_page_view('/p' || n % 7, 'page', 'v' || n)) FROM generate_series(1, 100000) AS n));
	is($node->safe_psql('postgres', q(SELECT count(*) <= 1100 FROM pg_locks)), 't', "$label: a bounded number of locks");
	is(sqlstate_of($node, q(SET lock_timeout = '2s'; SELECT site_stats.record_page_view('/', 'page', 'beside'))), '', "$label: no other session waits for it");
	$writer->query_safe('COMMIT');
	$writer->quit;
	is($node->safe_psql('postgres', q(SELECT total_page_views >= 100000, unique_visitors >= 100000 FROM site_stats.get_stats())), 't|t', "$label: all are counted");
	ok_exact($node, $label);
}

ok_no_accidents($node);
$node->stop;
done_testing();
