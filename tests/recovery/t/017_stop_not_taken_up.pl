# The process that runs the backfill takes a request to stop. If that process dies first, the next call of any
# function stops the run, and so does a second stop_backfill(). wait_for_backfill() does not wait for such a
# run.

use strict;
use warnings;

use SiteStats;
use Test::More;

my $node = new_site('stop_not_taken_up', 1000);
require_fault_points($node);

for my $call ('SELECT * FROM site_stats.get_stats()', 'SELECT site_stats.stop_backfill()')
{
	my $label    = "stopped, killed, then $call";
	my $position = log_position($node);
	set_fault($node, 'counted:wait:3');
	$node->safe_psql('postgres', 'SELECT site_stats.start_backfill()');
	ok_at_fault($node, $label, $position);
	my ($pid) = workers($node);
	kill 'STOP', $pid;
	is($node->safe_psql('postgres', 'SELECT site_stats.stop_backfill()'), 't', "$label: asked to stop");
	clear_fault($node);
	kill 'KILL', $pid;
	ok($node->poll_query_until('postgres', "SELECT pg_postmaster_start_time() IS NOT NULL AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)"),
		"$label: the server is there again");
	$node->safe_psql('postgres', $call);
	ok_until($node, "status = 'stopped'", "$label: stopped");
	is($node->safe_psql('postgres', q(SELECT site_stats.wait_for_backfill('30 s'))), 'f', "$label: no wait for it");
	ok_exact($node, $label);
	like($node->safe_psql('postgres', 'SELECT site_stats.start_backfill()'), qr/^Backfill resumed/, "$label: goes on when asked to");
	is($node->safe_psql('postgres', q(SELECT site_stats.wait_for_backfill('60 s'))), 't', "$label: to the end");
	check_sound($node, $label);
}

ok_no_accidents($node);
$node->stop;
done_testing();
