# A worker dies by signal 9, as from the kernel when memory runs out. The server then restarts all its
# processes. The batch of the worker is fully undone or fully done, and any one call resumes the backfill.

use strict;
use warnings;

use SiteStats;
use Test::More;

my $views = 1500;
my $node  = new_site('worker_killed', $views);
require_fault_points($node);

my @calls = (
	'SELECT * FROM site_stats.get_stats()',
	q(SELECT site_stats.record_page_view('/killed', 'page', 'killed')),
	'SELECT * FROM site_stats.check_totals()',
	q(SELECT site_stats.heartbeat('killed', '/killed')),
	'SELECT * FROM site_stats.top_pages()',
	'SELECT * FROM site_stats.views_by_day()',
	'SELECT * FROM site_stats.active_pages()',
	'SELECT site_stats.start_backfill()');

# The worker kills itself at a point of its n-th batch. Its commits are asynchronous, so the crash may lose
# some of them: only whole batches, and only from the end.
for my $point (qw(locked read counted moved))
{
	for my $nth (1, 3)
	{
		my ($label, $call) = ("killed at $point, batch $nth", shift @calls);
		my $position = log_position($node);
		set_fault($node, "$point:kill:$nth");
		$node->safe_psql('postgres', 'SELECT site_stats.start_backfill()');
		$node->wait_for_log(qr/all server processes terminated; reinitializing/, $position);
		ok_until($node, 'true', "$label: the server is back");
		is(scalar workers($node), 0, "$label: no worker");
		clear_fault($node);

		my ($status, $cursor, $done) = split /\|/, progress($node, 'status, cursor, views_done');
		# If the beginning of the run was lost, the request is still there, and the run begins with the next call.
		my $begun = $status eq 'running';
		ok(!$begun || $cursor % 100 == 0 && $cursor <= 100 * ($nth - 1) && $done == $cursor,
			"$label: whole batches are done ($status at $cursor)");
		ok($begun || $status eq 'requested', "$label: the run has begun or is still asked for");
		ok_resumes($node, $call, $label);
		ok_state($node, 'restarts', $begun ? 1 : 0, "$label: one restart, if the run had begun");
		check_sound($node, $label);
	}
}

# As before, but the commits of the worker are durable: the run resumes at that very batch.
for my $nth (1, 4)
{
	my $label = "killed in batch $nth after a flush";
	my $position = log_position($node);
	set_fault($node, "moved:wait:$nth");
	$node->safe_psql('postgres', 'SELECT site_stats.start_backfill()');
	ok_at_fault($node, $label, $position);
	my ($pid) = workers($node);
	is(progress($node, 'worker_pid'), $pid, "$label: the progress names the worker");
	ok_exact($node, "$label: in the batch");
	kill 9, $pid;
	$node->wait_for_log(qr/all server processes terminated; reinitializing/, $position);
	ok_until($node, 'true', "$label: the server is back");
	clear_fault($node);
	is( progress($node, 'status, cursor, views_done, restarts, worker_pid'),
		join('|', 'running', (100 * ($nth - 1)) x 2, 0, ''),
		"$label: the batch is undone, nothing else");
	ok_resumes($node, 'SELECT * FROM site_stats.get_stats()', $label);
	ok_state($node, 'restarts', 1, "$label: one restart");
	check_sound($node, $label);
}

# Twice in one run.
{
	my $position = log_position($node);
	set_fault($node, 'counted:wait:3');
	$node->safe_psql('postgres', 'SELECT site_stats.start_backfill()');
	for my $time (1, 2)
	{
		ok_at_fault($node, "killed twice, time $time", $position);
		my ($pid) = workers($node);
		$position = log_position($node);
		kill 9, $pid;
		$node->wait_for_log(qr/all server processes terminated; reinitializing/, $position);
		ok_until($node, 'true', "killed twice, time $time: the server is back");
		ok_state($node, 'cursor, restarts', join('|', 200 * $time, $time - 1), "killed twice, time $time: where it was");
		clear_fault($node) if $time == 2;
		$node->safe_psql('postgres', 'SELECT * FROM site_stats.get_stats()');
	}
	ok_until($node, "status = 'complete'", 'killed twice: complete');
	ok_state($node, 'restarts', 2, 'killed twice: two restarts');
	check_sound($node, 'killed twice');
}

ok_no_worker($node, 'at the end');
ok_no_accidents($node);
$node->stop;
done_testing();
