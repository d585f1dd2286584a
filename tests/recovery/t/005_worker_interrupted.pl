# The worker is terminated, cancelled, or kept waiting by a writer. None of these makes the run fail, and the
# progress says what the run waits for. Other writers wait at most for one attempt of a batch.

use strict;
use warnings;

use SiteStats;
use Test::More;

my $node = new_site('worker_interrupted', 1500);
require_fault_points($node);

# Terminated in a batch: the worker exits with 0, and the next call resumes the run.
{
	my ($label, $position) = ('terminated in a batch', log_position($node));
	set_fault($node, 'counted:wait:3');
	$node->safe_psql('postgres', 'SELECT site_stats.start_backfill()');
	ok_at_fault($node, $label, $position);
	my ($pid) = workers($node);
	clear_fault($node);
	is($node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)"), 't', "$label: asked to leave");
	ok_no_worker($node, $label);
	is(count_lines($node, 'worker "site_stats backfill".*exited with exit code 1', $position), 0, "$label: it left in order");
	ok_state($node, 'status, cursor, worker_pid', 'running|200|', "$label: the batch is undone, nothing else");
	ok_resumes($node, q(SELECT site_stats.record_page_view('/', 'page', 'a')), $label);
	ok_state($node, 'restarts, last_error', '1|', "$label: one restart");
	check_sound($node, $label);
}

# Terminated in a pause before its first batch.
{
	my $label = 'terminated in a pause';
	$node->safe_psql('postgres', "LOAD 'site_stats'; ALTER SYSTEM SET site_stats.backfill_batch_delay = '60s'");
	$node->reload;
	$node->safe_psql('postgres', 'SELECT site_stats.start_backfill()');
	ok_until($node, q(SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'site_stats backfill' AND wait_event_type = 'Extension'),
		"$label: it pauses");
	$node->safe_psql('postgres', "LOAD 'site_stats'; ALTER SYSTEM RESET site_stats.backfill_batch_delay");
	$node->reload;
	$node->safe_psql('postgres', 'SELECT pg_terminate_backend((SELECT worker_pid FROM site_stats.backfill_progress))');
	ok_no_worker($node, $label);
	ok_resumes($node, 'SELECT * FROM site_stats.check_totals()', $label);
	check_sound($node, $label);
}

# Cancelled in a batch: the batch is undone, and the same worker takes it again.
{
	my ($label, $position) = ('cancelled in a batch', log_position($node));
	set_fault($node, 'counted:wait:3');
	$node->safe_psql('postgres', 'SELECT site_stats.start_backfill()');
	ok_at_fault($node, $label, $position);
	my ($pid) = workers($node);
	clear_fault($node);
	$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
	ok_until($node, "status = 'complete'", "$label: goes on to the end");
	is(count_lines($node, 'a backfill batch failed: canceling statement due to user request', $position), 1, "$label: once in the log");
	ok_state($node, 'restarts, last_error', '0|', "$label: no restart, no error left");
	check_sound($node, $label);
}

# Cancelled five times in a row: the worker gives up. The run has not failed, and the next call resumes it.
{
	my ($label, $position) = ('cancelled five times', log_position($node));
	set_fault($node, 'counted:wait:3');
	$node->safe_psql('postgres', 'SELECT site_stats.start_backfill()');
	for my $time (1 .. 5)
	{
		ok_at_fault($node, "$label, time $time", $position);
		$position = log_position($node);
		$node->safe_psql('postgres', q(SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE backend_type = 'site_stats backfill'));
	}
	ok_no_worker($node, $label);
	ok_state($node, 'status, cursor, last_error', 'running|200|canceling statement due to user request', "$label: unfinished, and says why");
	clear_fault($node);
	ok_resumes($node, 'SELECT * FROM site_stats.active_pages()', $label);
	check_sound($node, $label);
}

# A transaction has deleted a page view that is not counted yet, and stays open. The batch gives way again and
# again, and the progress says what it waits for. Writers of new page views do not wait at all. A writer of
# old ones waits at most for one attempt of the batch.
{
	my $label  = 'kept waiting by a writer';
	$node->safe_psql('postgres', 'SELECT site_stats.begin_backfill(); SELECT site_stats.backfill_turn(700);');
	my $writer = $node->background_psql('postgres');
	$writer->query_safe('BEGIN; DELETE FROM site_stats.page_views WHERE id = 1300;');
	$node->safe_psql('postgres', 'SELECT site_stats.start_backfill()');
	ok_until($node, "status = 'running' AND worker_pid IS NOT NULL AND last_error LIKE '%for a writer: %'", "$label: the progress tells");
	ok_state($node, 'cursor, restarts', '700|0', "$label: nothing moves");
	ok_exact($node, $label);
	$node->safe_psql('postgres', q(
		SET statement_timeout = '5s';
		INSERT INTO site_stats.page_views (path, session_id) SELECT '/new', 'new' || i FROM generate_series(1, 20) AS i;
		UPDATE site_stats.page_views SET path = '/newer' WHERE path = '/new' AND session_id = 'new1';
		UPDATE site_stats.page_views SET path = '/old' WHERE id IN (10, 1400);
		DELETE FROM site_stats.page_views WHERE id IN (11, 1401);));
	pass("$label: others write meanwhile");
	ok_exact($node, "$label, others wrote");
	$writer->query_safe('COMMIT');
	$writer->quit;
	ok_until($node, "status = 'complete'", "$label: goes on when the writer ends");
	ok_state($node, 'last_error, restarts', '|0', "$label: no error left");
	ok_exact($node, "$label, at the end");
}

# A writer keeps a run from beginning. The run is requested, says what it waits for, and begins when the
# writer ends.
{
	my $label  = 'kept from beginning by a writer';
	my $writer = $node->background_psql('postgres');
	$writer->query_safe(q(BEGIN; INSERT INTO site_stats.page_views (path, session_id) VALUES ('/open', 'open');));
	$node->safe_psql('postgres', 'SELECT site_stats.start_backfill()');
	ok_until($node, "status = 'requested' AND worker_pid IS NOT NULL AND last_error LIKE '%for a writer: %'", "$label: the progress tells");
	$node->safe_psql('postgres', q(
		SET statement_timeout = '5s';
		INSERT INTO site_stats.page_views (path, session_id) SELECT '/new', 'newer' || i FROM generate_series(1, 20) AS i;));
	pass("$label: others write meanwhile");
	$writer->query_safe('COMMIT');
	$writer->quit;
	ok_until($node, "status = 'complete'", "$label: begins when the writer ends");
	check_sound($node, $label);
}

ok_no_worker($node, 'at the end');
ok_no_accidents($node);
$node->stop;
done_testing();
