# A batch that fails is undone and tried again, after a longer pause each time. After five failures in a row
# the run is given up until start_backfill() is called. A panic of the library's own code is an error like any
# other.

use strict;
use warnings;

use SiteStats;
use Test::More;

my $node = new_site('batch_fails', 1000);
require_fault_points($node);

# One failure, at every point: the run takes the same batch again.
for my $action (qw(error panic))
{
	for my $point (qw(locked read counted moved))
	{
		my $label    = "$action once at $point";
		my $position = log_position($node);
		set_fault($node, "$point:$action:3");
		$node->safe_psql('postgres', 'SELECT site_stats.start_backfill()');
		$node->wait_for_log(qr/a backfill batch failed: a fault on purpose/, $position);
		ok_state($node, 'status, cursor', 'running|200', "$label: the batch is undone");
		clear_fault($node);
		ok_until($node, "status = 'complete'", "$label: tried again, to the end");
		ok_state($node, 'restarts, last_error', '0|', "$label: no restart, no error left");
		check_sound($node, $label);
	}
}

# A failure each time: the run is given up after five of them.
for my $action (qw(error panic))
{
	my $label    = "$action always";
	my $position = log_position($node);
	set_fault($node, "counted:$action:4");
	$node->safe_psql('postgres', 'SELECT site_stats.start_backfill()');
	ok_until($node, "status = 'failed'", "$label: the run fails");
	ok_no_worker($node, $label);
	like(progress($node, 'last_error'), qr/a fault on purpose/, "$label: last_error says why");
	is(count_lines($node, 'a backfill batch failed', $position), 5, "$label: five attempts");
	is(count_lines($node, 'given up after 5 failures', $position), 1, "$label: given up once");

	# No process resumes a run that has failed, and the answers are right without it.
	$position = log_position($node);
	ok_exact($node, "$label: failed");
	is($node->safe_psql('postgres', q(SELECT site_stats.wait_for_backfill('1 min'))), 'f', "$label: not waited for");
	ok_no_worker($node, "$label, after other calls");
	is(count_lines($node, 'site_stats:', $position), 0, "$label: nothing more in the log");

	clear_fault($node);
	like($node->safe_psql('postgres', 'SELECT site_stats.start_backfill()'), qr/^Backfill resumed/, "$label: started again");
	ok_until($node, "status = 'complete'", "$label: goes on to the end");
	ok_state($node, 'last_error', '', "$label: no error left");
	check_sound($node, $label);
}

# In a session the statement fails, the session lives on, and nothing has changed.
for my $action (qw(error panic))
{
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	$session->query_safe('SELECT site_stats.begin_backfill(); SELECT site_stats.backfill_turn(300);');
	for my $point (qw(locked read counted moved))
	{
		$session->query_safe("SET site_stats.fault_point = '$point:$action'");
		my ($output, $failed) = $session->query('SELECT site_stats.backfill_turn(300)');
		ok($failed && $session->{stderr} =~ /a fault on purpose/, "$action at $point in a session: the statement fails");
		$session->{stderr} = '';
		is($session->query_safe('SELECT cursor FROM site_stats.backfill_progress'), '300', "$action at $point in a session: nothing has changed");
	}
	$session->query_safe('RESET site_stats.fault_point; SELECT site_stats.backfill_turn(300);');
	ok_exact($node, "$action in a session");
	$session->quit;
	$node->safe_psql('postgres', 'CALL site_stats.backfill()');
	check_sound($node, "$action in a session, finished by another");
}

ok_no_accidents($node, except => qr/a fault on purpose/);
$node->stop;
done_testing();
