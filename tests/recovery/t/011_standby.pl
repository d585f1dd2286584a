# A streaming standby answers as its primary does at the same WAL position, before, during and after a
# backfill. It refuses all functions that write. After a promotion in the middle of a backfill, one call
# resumes the backfill, which goes on to its end.

use strict;
use warnings;

use SiteStats;
use PostgreSQL::Test::Cluster;
use Test::More;

my $primary = new_node('primary', allows_streaming => 1, max_wal_senders => 5);
$primary->start;
create_site($primary, 'postgres', 2000);
require_fault_points($primary);
$primary->backup('base');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
# The replay waits for a long read on the standby, and does not cancel it.
$standby->append_conf('postgresql.conf', 'max_standby_streaming_delay = -1');
$standby->start;

my $answer = q(
	SELECT (s)::text, (SELECT (b)::text FROM site_stats.backfill_state AS b), (SELECT string_agg((d)::text, ' ') FROM site_stats.views_by_day() AS d),
		(SELECT string_agg((p)::text, ' ') FROM site_stats.top_pages(1000) AS p)
	FROM site_stats.get_stats() AS s);

# Primary and standby give the same answers at the same WAL position, and these are exact.
sub ok_same
{
	my ($label) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$primary->safe_psql('postgres', q(SELECT pg_logical_emit_message(true, 'site_stats', 'flush')));
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
	is($standby->safe_psql('postgres', $answer), $primary->safe_psql('postgres', $answer), "$label: the standby answers as the primary does");
	is(check_exact($standby), 'exact', "$label: the standby is exact");
}

# Batch by batch, with writes in between.
$primary->safe_psql('postgres', 'SELECT site_stats.begin_backfill()');
ok_same('before the first batch');
for my $batch (1 .. 4)
{
	$primary->safe_psql('postgres', qq(
		SELECT site_stats.backfill_turn(400);
		INSERT INTO site_stats.page_views (path, session_id, viewed_at) VALUES ('/new$batch', 's$batch', '2025-03-01 00:00:00+00');
		UPDATE site_stats.page_views SET path = '/moved' WHERE id IN (100 + $batch, 1900 + $batch);
		DELETE FROM site_stats.page_views WHERE id IN (200 + $batch, 1800 + $batch);));
	ok_same("after batch $batch");
}

# Functions that write are refused.
for my $statement (
	q(SELECT site_stats.record_page_view('/', 'page', 's')), q(SELECT site_stats.heartbeat('s', '/')),
	'SELECT site_stats.start_backfill()',         'SELECT site_stats.stop_backfill()',
	'SELECT site_stats.begin_backfill()',         'SELECT site_stats.backfill_turn()',
	'CALL site_stats.backfill()',                 'SELECT site_stats.cleanup_stale_sessions()',
	'SELECT site_stats.fold_totals()',            q(INSERT INTO site_stats.page_views (path, session_id) VALUES ('/', 's')))
{
	like(sqlstate_of($standby, "$statement;"), qr/^25006: /, "on the standby: $statement is refused");
}

# A slow backfill by a worker, with a reader on the standby all the while.
$primary->safe_psql('postgres', 'CALL site_stats.backfill()');
ok_same('complete');
$primary->safe_psql('postgres', "LOAD 'site_stats'; ALTER SYSTEM SET site_stats.backfill_batch_size = 40; ALTER SYSTEM SET site_stats.backfill_batch_delay = 10;");
$primary->reload;
$primary->safe_psql('postgres', 'SELECT site_stats.start_backfill()');
my ($readings, $wrong, $status) = (0, '', '');
do
{
	$status = progress($primary, 'status');
	my $reading = check_exact($standby);
	$wrong ||= $reading if $reading ne 'exact';
	$readings++;
} while ($status ne 'complete' && $readings < 1000);
is($wrong, '', 'while the primary counts: the standby is exact every time');
cmp_ok($readings, '>', 3, 'while the primary counts: the standby was asked several times');
check_sound($primary, 'primary, complete');
ok_same('complete again');

# A standby that is caught up is promoted in the middle of a batch of its primary.
my $position = log_position($primary);
set_fault($primary, 'counted:wait:5');
$primary->safe_psql('postgres', 'SELECT site_stats.start_backfill()');
ok_at_fault($primary, 'promotion', $position);
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
is(progress($standby, 'status, cursor > 0, worker_pid IS NULL'), 'running|t|t', 'promotion: the standby sees the run, and has no worker');
ok_exact($standby, 'before the promotion');
is(scalar workers($standby), 0, 'promotion: its calls launch none');
is($standby->safe_psql('postgres', q(SELECT site_stats.wait_for_backfill('100 ms'))), 'f', 'promotion: waiting ends');
kill_server($primary);
$standby->promote;
ok_resumes($standby, q(SELECT site_stats.record_page_view('/promoted', 'page', 's')), 'promotion');
ok_state($standby, 'restarts', 1, 'promotion: one restart');
check_sound($standby, 'promoted');
$standby->safe_psql('postgres', q(INSERT INTO site_stats.page_views (path, session_id) SELECT '/after', 's' || i FROM generate_series(1, 50) AS i));
ok_exact($standby, 'promoted, written to');

ok_no_accidents($primary);
ok_no_accidents($standby);
$standby->stop;
done_testing();
