# A database is dropped or renamed while a worker is connected to it. PostgreSQL's own rules hold: plain
# commands fail after some seconds, and DROP DATABASE ... WITH (FORCE) ends the worker like any session. No
# process is started for a database that is gone.

use strict;
use warnings;

use SiteStats;
use Test::More;

my $node = new_node('database_dropped', deadlock_timeout => "'10min'", 'site_stats.backfill_lock_timeout' => "'60s'");
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE plain');
create_site($node, 'plain', 500);
require_fault_points($node, 'plain');
$node->safe_psql('postgres', "CREATE DATABASE $_ TEMPLATE plain") for qw(renamed batch waiting pausing);

# Whether a worker is connected to the database.
sub worker_in
{
	my ($database) = @_;
	return "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'site_stats backfill' AND datname = '$database'";
}

# In each database a worker is in the middle of a batch.
for my $database (qw(plain renamed batch))
{
	my $position = log_position($node);
	$node->safe_psql($database, "LOAD 'site_stats'; ALTER DATABASE $database SET site_stats.fault_point = 'counted:wait:3'");
	$node->safe_psql($database, 'SELECT site_stats.start_backfill()');
	ok_at_fault($node, "database $database", $position);
}

# Plain commands wait for five seconds and fail. They run at the same time, to save time.
{
	my %statements = (plain => 'DROP DATABASE plain', renamed => 'ALTER DATABASE renamed RENAME TO called_otherwise');
	my %sessions;
	for my $database (sort keys %statements)
	{
		$sessions{$database} = $node->background_psql('postgres', on_error_stop => 0);
		$sessions{$database}->{stdin} .= "\\set VERBOSITY verbose\n$statements{$database};\n";
		$sessions{$database}->{run}->pump_nb;
	}
	for my $database (sort keys %statements)
	{
		$sessions{$database}->query('SELECT 1');
		like($sessions{$database}->{stderr}, qr/55006: database "$database" is being accessed by other users/, "$statements{$database}: refused while the worker is there");
		$sessions{$database}->{stderr} = '';
		$sessions{$database}->quit;
	}
	is($node->safe_psql('postgres', worker_in('renamed')), 't', 'ALTER DATABASE ... RENAME: the worker is still there');
}

# With FORCE: the worker is in a batch, waits for a lock, or pauses.
{
	$node->safe_psql('postgres', 'DROP DATABASE batch WITH (FORCE)');
	pass('DROP DATABASE ... WITH (FORCE) in a batch: succeeds');
	ok_until($node, 'SELECT NOT x FROM (' . worker_in('batch') . ') AS t (x)', 'DROP DATABASE ... WITH (FORCE) in a batch: the worker is gone');

	my $writer = $node->background_psql('waiting', on_error_stop => 0);
	$node->safe_psql('waiting', 'SELECT site_stats.begin_backfill()');
	$writer->query_safe('BEGIN; DELETE FROM site_stats.page_views WHERE id = 400;');
	$node->safe_psql('waiting', 'SELECT site_stats.start_backfill()');
	ok_until($node, worker_in('waiting') . " AND wait_event_type = 'Lock'", 'in a lock wait: it waits');
	$node->safe_psql('postgres', 'DROP DATABASE waiting WITH (FORCE)');
	pass('DROP DATABASE ... WITH (FORCE) in a lock wait: succeeds');
	eval { $writer->quit };

	$node->safe_psql('pausing', "LOAD 'site_stats'; ALTER DATABASE pausing SET site_stats.backfill_batch_delay = '60s'");
	$node->safe_psql('pausing', 'SELECT site_stats.start_backfill()');
	ok_until($node, worker_in('pausing') . " AND wait_event_type = 'Extension'", 'in a pause: it pauses');
	$node->safe_psql('postgres', 'DROP DATABASE pausing WITH (FORCE)');
	pass('DROP DATABASE ... WITH (FORCE) in a pause: succeeds');

	# As the worker starts: it may find no database to connect to.
	for my $time (1 .. 5)
	{
		$node->safe_psql('postgres', "CREATE DATABASE brief TEMPLATE template0");
		create_site($node, 'brief', 100);
		$node->safe_psql('brief', 'SELECT site_stats.start_backfill()');
		$node->safe_psql('postgres', 'DROP DATABASE brief WITH (FORCE)');
	}
	pass('DROP DATABASE ... WITH (FORCE) at the start of a worker: succeeds');
}

# When the worker is gone, the plain commands work, and the run goes on under the new name.
{
	$node->safe_psql('renamed', 'ALTER DATABASE renamed RESET site_stats.fault_point');
	$node->safe_psql('postgres', q(SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'site_stats backfill'));
	ok_no_worker($node, 'terminated');
	$node->safe_psql('postgres', 'ALTER DATABASE renamed RENAME TO called_otherwise');
	$node->safe_psql('postgres', 'DROP DATABASE plain');
	ok_resumes($node, 'SELECT * FROM site_stats.get_stats()', 'renamed', 'called_otherwise');
	ok_state_of('called_otherwise', 'restarts', 1, 'renamed: one restart');
	check_sound($node, 'renamed', 'called_otherwise');
}

sub ok_state_of
{
	my ($database, $columns, $expected, $label) = @_;
	return is(progress($node, $columns, $database), $expected, $label);
}

ok_no_worker($node, 'at the end');
cmp_ok(count_lines($node, 'FATAL:.*(database .* does not exist)'), '<=', 5, 'no worker comes back for a database that is gone');
is(count_lines($node, 'site_stats: backfill ended'), 0, 'workers leave without a complaint');
ok_no_accidents($node);
$node->stop;
done_testing();
