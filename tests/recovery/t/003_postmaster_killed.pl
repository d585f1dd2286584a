# The postmaster is killed with signal 9 during a backfill, as in a power failure. The server starts, and no
# old worker goes on. After one call of any function the backfill resumes at its cursor, and comes to the same
# totals.

use strict;
use warnings;

use SiteStats;
use Test::More;

my $node = new_site('postmaster_killed', 1500);
require_fault_points($node);

# Killed in the middle of a batch.
for my $point (qw(locked counted moved))
{
	my $label    = "postmaster killed at $point";
	my $position = log_position($node);
	set_fault($node, "$point:wait:4");
	$node->safe_psql('postgres', 'SELECT site_stats.start_backfill()');
	ok_at_fault($node, $label, $position);
	my ($old) = workers($node);
	clear_fault($node, 'quietly');
	kill_server($node);
	start_again($node);
	ok(!kill(0, $old), "$label: the old worker is gone");
	is(scalar workers($node), 0, "$label: no worker runs");
	ok_state($node, 'status, cursor, restarts', 'running|300|0', "$label: the batch is undone, nothing else");
	ok_resumes($node, 'SELECT * FROM site_stats.get_stats()', $label);
	ok_state($node, 'restarts', 1, "$label: one restart");
	check_sound($node, $label);
}

# Killed anywhere in a batch or a pause, three times in one run.
$node->safe_psql('postgres', "LOAD 'site_stats'; ALTER SYSTEM SET site_stats.backfill_batch_size = 10; ALTER SYSTEM SET site_stats.backfill_batch_delay = 20;");
$node->reload;
$node->safe_psql('postgres', 'SELECT site_stats.start_backfill()');
for my $time (1 .. 3)
{
	my $label = "postmaster killed anywhere, time $time";
	ok_until($node, "status = 'running' AND cursor > " . (300 * $time), "$label: under way");
	# The worker commits asynchronously. Without this the crash may lose all its commits, and the beginning of
	# the run.
	$node->safe_psql('postgres', "SELECT pg_logical_emit_message(true, 'site_stats', 'flush')");
	kill_server($node);
	start_again($node);
	my ($status, $cursor) = split /\|/, progress($node, 'status, cursor');
	is($status, 'running', "$label: interrupted");
	is($cursor % 10, 0, "$label: between two batches");
	is($node->safe_psql('postgres', "SELECT site_stats.record_page_view('/new', 'page', 'new$time')"), 'recorded', "$label: one call");
	ok_until($node, "worker_pid IS NOT NULL OR status = 'complete'", "$label: taken up");
}
ok_until($node, "status = 'complete'", 'postmaster killed anywhere: complete');
ok_state($node, 'restarts', 3, 'postmaster killed anywhere: three restarts');
check_sound($node, 'postmaster killed anywhere');

# A worker that never pauses notices the crash between two batches. So it does not keep the next server from
# starting until its run ends.
{
	my $label = 'postmaster killed under a busy worker';
	$node->safe_psql('postgres', q(
		SET session_replication_role = replica;
		INSERT INTO site_stats.page_views (path, session_id, viewed_at)
		SELECT '/busy', 's' || i, '2025-03-01' FROM generate_series(1, 30000) AS i;
		RESET session_replication_role;
		LOAD 'site_stats';
		ALTER SYSTEM SET site_stats.backfill_batch_size = 1;
		ALTER SYSTEM RESET site_stats.backfill_batch_delay;));
	$node->reload;
	$node->safe_psql('postgres', 'SELECT site_stats.start_backfill()');
	ok_until($node, "status = 'running' AND cursor > 100", "$label: under way");
	$node->safe_psql('postgres', "SELECT pg_logical_emit_message(true, 'site_stats', 'flush')");
	kill_server($node);
	start_again($node);
	ok_state($node, 'status', 'running', "$label: it stopped long before the end");
	$node->safe_psql('postgres', "ALTER SYSTEM RESET site_stats.backfill_batch_size");
	$node->reload;
	$node->safe_psql('postgres', 'SELECT site_stats.start_backfill()');
	ok_until($node, "status = 'complete'", "$label: complete");
	check_sound($node, $label);
}

# A request that is committed and that no process has taken survives the crash, too.
{
	$node->safe_psql('postgres', 'SELECT site_stats.start_backfill(); SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = \'site_stats backfill\'');
	kill_server($node);
	start_again($node);
	ok_resumes($node, q(SELECT site_stats.heartbeat('s', '/')), 'postmaster killed after a request');
	check_sound($node, 'postmaster killed after a request');
}

ok_no_worker($node, 'at the end');
ok_no_accidents($node);
$node->stop;
done_testing();
