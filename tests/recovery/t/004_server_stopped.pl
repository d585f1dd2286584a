# The server stops, in mode fast or immediate. The worker is in a batch, or waits for a lock of a prepared
# transaction. The stop does not wait for the worker, and the backfill resumes where it was at the next start.

use strict;
use warnings;

use SiteStats;
use Test::More;

# The lock timeouts are far above the time that a stop may take. So the stop must wake the worker from its
# wait.
my $node = new_site('server_stopped', 1000, deadlock_timeout => "'10min'", 'site_stats.backfill_lock_timeout' => "'60s'");
require_fault_points($node);

for my $mode (qw(fast immediate))
{
	my $label    = "$mode stop in a batch";
	my $position = log_position($node);
	set_fault($node, 'counted:wait:3');
	$node->safe_psql('postgres', 'SELECT site_stats.start_backfill()');
	ok_at_fault($node, $label, $position);
	clear_fault($node, 'quietly');
	ok_stops($node, $mode, $label);
	$node->start;
	is(scalar workers($node), 0, "$label: no worker runs after the start");
	ok_state($node, 'status, cursor', 'running|200', "$label: the batch is undone, nothing else");
	ok_resumes($node, 'SELECT * FROM site_stats.get_stats()', $label);
	check_sound($node, $label);

	$label = "$mode stop in a lock wait";
	$node->safe_psql('postgres', q(
		SELECT site_stats.begin_backfill();
		SELECT site_stats.backfill_turn(200);
		BEGIN;
		DELETE FROM site_stats.page_views WHERE id = (SELECT id FROM site_stats.page_views ORDER BY id DESC OFFSET 7 LIMIT 1);
		PREPARE TRANSACTION 'writer';));
	my $cursor = progress($node, 'cursor');
	$node->safe_psql('postgres', 'SELECT site_stats.start_backfill()');
	ok_until($node, q(SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'site_stats backfill' AND wait_event_type = 'Lock'),
		"$label: the worker waits");
	$node->safe_psql('postgres', "SELECT pg_logical_emit_message(true, 'site_stats', 'flush')");
	ok_stops($node, $mode, $label);
	$node->start;
	ok_state($node, 'status, cursor', "running|$cursor", "$label: nothing has moved");
	ok_exact($node, "$label, still prepared");
	ok_until($node, q(SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'site_stats backfill' AND wait_event_type = 'Lock'),
		"$label: the worker waits again for the prepared transaction");
	$node->safe_psql('postgres', $mode eq 'fast' ? q(COMMIT PREPARED 'writer') : q(ROLLBACK PREPARED 'writer'));
	ok_until($node, "status = 'complete'", "$label: goes on when the transaction ends");
	ok_exact($node, $label);
}

# A fast stop in a pause between two batches, and during CALL backfill() in a session.
{
	my $label = 'fast stop in a pause';
	$node->safe_psql('postgres', "LOAD 'site_stats'; ALTER SYSTEM SET site_stats.backfill_batch_delay = '60s'");
	$node->reload;
	$node->safe_psql('postgres', 'SELECT site_stats.start_backfill()');
	ok_until($node, q(SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'site_stats backfill' AND wait_event_type = 'Extension'),
		"$label: the worker pauses");
	$node->safe_psql('postgres', "LOAD 'site_stats'; ALTER SYSTEM RESET site_stats.backfill_batch_delay");
	ok_stops($node, 'fast', $label);
	$node->start;
	ok_resumes($node, 'SELECT * FROM site_stats.get_stats()', $label);
	ok_exact($node, $label);

	$label = 'fast stop of CALL backfill()';
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	$session->query_safe("SET site_stats.fault_point = 'counted:wait:3'; SELECT site_stats.begin_backfill();");
	my $position = log_position($node);
	$session->{stdin} .= "CALL site_stats.backfill();\n";
	$session->{run}->pump_nb;
	ok_at_fault($node, $label, $position);
	ok_stops($node, 'fast', $label);
	eval { $session->quit };
	$node->start;
	ok_state($node, 'status, cursor', 'running|200', "$label: the batch is undone, nothing else");
	ok_resumes($node, 'SELECT * FROM site_stats.get_stats()', $label);
	ok_exact($node, $label);
}

ok_no_worker($node, 'at the end');
ok_no_accidents($node);
$node->stop;
done_testing();
