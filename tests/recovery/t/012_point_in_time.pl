# A server restored to a point in the middle of a backfill has the counts of that point. One call resumes the
# backfill.

use strict;
use warnings;

use SiteStats;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('original', allows_streaming => 1, has_archiving => 1);
$node->start;
create_site($node, 'postgres', 1500);
require_fault_points($node);
$node->backup('base');

# What a restored server must say about the run, and what it must have counted.
my %expected;

sub remember
{
	my ($point) = @_;
	$expected{$point} = join '|', progress($node, 'status, cursor, epoch, restarts'),
	  $node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT session_id), count(DISTINCT path) FROM site_stats.page_views');
	return;
}

sub mark
{
	my ($point) = @_;
	remember($point);
	$node->safe_psql('postgres', "SELECT pg_create_restore_point('$point')");
	return;
}

my $write = q(
	INSERT INTO site_stats.page_views (path, session_id) SELECT '/new', 's' || i FROM generate_series(1, 20) AS i;
	DELETE FROM site_stats.page_views WHERE id IN (50, 1450);
	UPDATE site_stats.page_views SET session_id = 'moved' WHERE id IN (60, 1460););

$node->safe_psql('postgres', "SELECT site_stats.begin_backfill(); SELECT site_stats.backfill_turn(300); $write SELECT site_stats.backfill_turn(200);");
mark('stopped');

# Right after a batch: recovery ends at the transaction of this batch.
my $transaction = $node->safe_psql('postgres', 'BEGIN; SELECT site_stats.backfill_turn(100) IS NULL; SELECT pg_current_xact_id(); COMMIT;');
$transaction =~ s/.*\n//s;
remember('transaction');

my $position = log_position($node);
set_fault($node, 'moved:wait:4');
$node->safe_psql('postgres', 'SELECT site_stats.start_backfill()');
ok_at_fault($node, 'running', $position);
$node->safe_psql('postgres', q(INSERT INTO site_stats.page_views (path, session_id) SELECT '/newer', 'newer' || i FROM generate_series(1, 20) AS i));
mark('running');
clear_fault($node);
$node->safe_psql('postgres', 'SELECT pg_terminate_backend((SELECT worker_pid FROM site_stats.backfill_progress))');
ok_no_worker($node, 'running');
ok_resumes($node, 'SELECT * FROM site_stats.get_stats()', 'original');
mark('complete');
ok_exact($node, 'original');
$node->safe_psql('postgres', "TRUNCATE site_stats.page_views; SELECT pg_switch_wal();");
$node->safe_psql('postgres', 'CHECKPOINT');
my $last = $node->safe_psql('postgres', 'SELECT pg_walfile_name(pg_switch_wal())');
ok($node->poll_query_until('postgres', "SELECT last_archived_wal >= '$last' FROM pg_stat_archiver"), 'the log is archived');
$node->stop;

for my $point (qw(stopped transaction running complete))
{
	my $restored = PostgreSQL::Test::Cluster->new("restored_$point");
	$restored->init_from_backup($node, 'base', has_restoring => 1, standby => 0);
	$restored->append_conf('postgresql.conf', $point eq 'transaction' ? "recovery_target_xid = '$transaction'" : "recovery_target_name = '$point'");
	$restored->append_conf('postgresql.conf', "recovery_target_action = 'promote'\narchive_mode = off");
	$restored->start;
	ok($restored->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()'), "$point: restored");
	is( join('|', progress($restored, 'status, cursor, epoch, restarts'),
			$restored->safe_psql('postgres', 'SELECT count(*), count(DISTINCT session_id), count(DISTINCT path) FROM site_stats.page_views')),
		$expected{$point}, "$point: as it was");
	ok_exact($restored, "$point: at once");
	if ($point eq 'running')
	{
		ok_until($restored, "status = 'complete'", "$point: that call went on to the end");
		ok_state($restored, 'restarts', 1, "$point: one restart");
	}
	elsif ($point ne 'complete')
	{
		is(scalar workers($restored), 0, "$point: no worker starts by itself");
		like($restored->safe_psql('postgres', 'SELECT site_stats.start_backfill()'), qr/^Backfill resumed/, "$point: goes on when asked");
		ok_until($restored, "status = 'complete'", "$point: complete");
		ok_state($restored, 'restarts', 0, "$point: no restart");
	}
	ok_exact($restored, "$point: at the end");
	$restored->safe_psql('postgres', $write);
	ok_exact($restored, "$point: written to");
	ok_no_accidents($restored);
	$restored->stop;
}

ok_no_accidents($node);
done_testing();
