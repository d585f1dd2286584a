# With site_stats in shared_preload_libraries no call is needed. In every database an interrupted backfill
# resumes, idle counter slots are folded, and stale sessions are removed. The launcher blocks no DROP
# DATABASE. It does not fill the log when no worker slot is free.

use strict;
use warnings;

use SiteStats;
use Test::More;

my $views = 1000;
my $node  = new_node('launcher', shared_preload_libraries => "'site_stats'", 'site_stats.maintenance_interval' => "'1h'");
$node->start;
require_fault_points($node);

sub launcher { return $node->safe_psql('postgres', q(SELECT pid FROM pg_stat_activity WHERE backend_type = 'site_stats launcher')) }

sub ok_launcher
{
	my ($label) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok_until($node, q(SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'site_stats launcher'), "$label: one launcher");
}

sub configure
{
	my (%settings) = @_;
	$node->safe_psql('postgres', "ALTER SYSTEM SET $_ = '$settings{$_}'") for sort keys %settings;
	$node->reload;
	return;
}

ok_launcher('at the start');
is(count_lines($node, 'site_stats: launcher started'), 1, 'at the start: one line of log');

# Among the databases are one without the extension, and one that accepts no connections.
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('postgres', 'CREATE DATABASE empty');
$node->safe_psql('postgres', 'CREATE DATABASE closed ALLOW_CONNECTIONS false');
create_site($node, $_, $views) for qw(postgres other);

# Both backfills wait in their third batch when the server is killed.
{
	my $label    = 'postmaster killed';
	my $position = log_position($node);
	set_fault($node, 'moved:wait:3');
	$node->safe_psql($_, 'SELECT site_stats.start_backfill()') for qw(postgres other);
	ok_until($node, 'cursor = 200', "$label: third batch in $_", $_) for qw(postgres other);
	$node->safe_psql('postgres', "SELECT pg_logical_emit_message(true, 'site_stats', 'flush')");
	clear_fault($node, 'quietly');
	kill_server($node);
	$position = log_position($node);
	start_again($node);
	ok_until($node, "status = 'complete'", "$label: the backfill of $_ goes on by itself", $_) for qw(postgres other);
	is(count_lines($node, 'site_stats: launcher started', $position), 1, "$label: the launcher says so once");
	is(count_lines($node, 'site_stats: backfill resumed after an interruption', $position), 2, "$label: one line for each backfill");
	check_sound($node, "$label, $_", $_) for qw(postgres other);
}

# A worker that dies by signal 9 takes all processes down, and the launcher, too. The new launcher resumes the
# backfill.
{
	my $label    = 'worker killed';
	my $position = log_position($node);
	set_fault($node, 'moved:wait:3');
	$node->safe_psql('other', 'SELECT site_stats.start_backfill()');
	ok_at_fault($node, $label, $position);
	# The configuration is reloaded before the crash: a postmaster that restarts its processes does not read it
	# again.
	clear_fault($node);
	my ($worker) = workers($node);
	kill 9, $worker;
	$node->wait_for_log(qr/all server processes terminated; reinitializing/, $position);
	ok_until($node, "status = 'complete'", "$label: goes on by itself", 'other');
	check_sound($node, $label, 'other');
}

# A launcher that is cancelled or terminated goes on, or is started again.
{
	my $label = 'terminated';
	ok_launcher($label);
	my $old = launcher();
	$node->safe_psql('postgres', "SELECT pg_cancel_backend($old)");
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($old)");
	ok_until($node, qq(SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'site_stats launcher' AND pid <> $old),
		"$label: another launcher");
}

# A shorter interval takes effect when the configuration is reloaded: stale sessions are removed, and idle
# counter slots are folded. The maintenance worker is not affected by what the database sets for its sessions.
{
	my $label = 'on schedule';
	my @settings = (
		'role = visitor', q(search_path = 'nowhere'), q(statement_timeout = '1ms'), q(lock_timeout = '1ms'),
		q(default_transaction_isolation = 'serializable'), 'default_transaction_read_only = on',
		'session_replication_role = replica');
	$node->safe_psql('postgres', 'CREATE ROLE visitor NOLOGIN');
	$node->safe_psql('postgres', "ALTER DATABASE other SET $_") for @settings;
	local $ENV{PGOPTIONS} = $SiteStats::plain_session;
	my $busy  = $node->background_psql('other', on_error_stop => 0);
	# A transaction that reads statistics between its writes keeps counter slot 0 to its end. Other writers then
	# use the next one.
	$busy->query_safe(q(BEGIN; INSERT INTO site_stats.page_views (path, page_type, session_id) VALUES ('/busy', 'page', 'busy');
		SELECT total_page_views FROM site_stats.get_stats();));
	$node->safe_psql('other', q(INSERT INTO site_stats.page_views (path, page_type, session_id) VALUES ('/idle', 'page', 'idle')));
	$busy->query_safe('COMMIT');
	$busy->quit;
	is($node->safe_psql('other', 'SELECT count(*) > 0 FROM site_stats.path_totals WHERE slot > 0'), 't', "$label: a slot is idle");
	$node->safe_psql('other', q(INSERT INTO site_stats.active_sessions (session_id, current_path, last_seen_at)
		SELECT 'old' || n, '/', now() - interval '1 day' FROM generate_series(1, 1200) AS n));
	configure('site_stats.maintenance_interval' => '1s');
	ok_until($node, 'SELECT NOT EXISTS (SELECT FROM site_stats.path_totals WHERE slot > 0)', "$label: the idle slot is folded", 'other');
	ok_until($node, 'SELECT NOT EXISTS (SELECT FROM site_stats.active_sessions)', "$label: stale sessions are gone", 'other');
	ok_exact($node, $label, 'other');
	$node->safe_psql('postgres', 'ALTER DATABASE other RESET ALL');
}

# Rounds begin every second, while databases are created and dropped.
{
	my $label    = 'databases dropped';
	my $position = log_position($node);
	for my $n (1 .. 4)
	{
		$node->safe_psql('postgres', 'CREATE DATABASE passing TEMPLATE other');
		$node->safe_psql('postgres', $n % 2 ? 'DROP DATABASE passing' : 'DROP DATABASE passing WITH (FORCE)');
	}
	$node->safe_psql('other', 'DROP EXTENSION site_stats');
	my $round = q(SELECT extract(epoch FROM state_change) FROM pg_stat_activity WHERE backend_type = 'site_stats launcher');
	for (1 .. 3)
	{
		my $before = $node->safe_psql('postgres', $round);
		ok_until($node, "SELECT extract(epoch FROM state_change) > $before + 0.9 FROM pg_stat_activity WHERE backend_type = 'site_stats launcher'", "$label: another round");
	}
	# A maintenance worker that was started before its database was dropped writes one FATAL line.
	cmp_ok(count_lines($node, 'FATAL', $position), '<=', 4, "$label: no loop in the log");
	is(count_lines($node, 'site_stats: .*(failed|could not)', $position), 0, "$label: and no failure");
	ok_launcher($label);
}

# A maintenance interval of 0: no round but the one when the server starts.
{
	my $label = 'interval 0';
	configure('site_stats.maintenance_interval' => '0');
	ok_until($node, q(SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'site_stats maintenance')), "$label: no maintenance worker");
	set_fault($node, 'moved:wait:3');
	my $position = log_position($node);
	$node->safe_psql('postgres', 'SELECT site_stats.start_backfill()');
	ok_at_fault($node, $label, $position);
	clear_fault($node, 'quietly');
	ok_stops($node, 'fast', $label);
	$node->start;
	ok_until($node, "status = 'complete'", "$label: a backfill goes on after a start");
	check_sound($node, $label);
}

# pg_upgrade starts both servers with -b, to carry the tables over as they are.
{
	my $label = 'binary upgrade';
	ok_stops($node, 'fast', $label);
	my $position = log_position($node);
	PostgreSQL::Test::Utils::system_or_bail('pg_ctl', '-w', '-D', $node->data_dir, '-l', $node->logfile, '-o', '-b', 'start');
	$node->_update_pid(1);
	is(launcher(), '', "$label: no launcher");
	ok_stops($node, 'fast', $label);
	is(count_lines($node, 'site_stats: launcher started', $position), 0, "$label: and there was none");
}
ok_no_accidents($node);

# One worker slot, which the launcher has. It says once that it waits, and tries again and again.
{
	my $label = 'no slot';
	my $small = new_node('small', shared_preload_libraries => "'site_stats'", max_worker_processes => 1,
		max_logical_replication_workers => 0, max_parallel_workers => 0, 'site_stats.maintenance_interval' => "'1s'");
	$small->start;
	create_site($small, 'postgres', $views);
	for (1 .. 3)
	{
		my $before = $small->safe_psql('postgres', 'SELECT extract(epoch FROM clock_timestamp())');
		ok_until($small, "SELECT extract(epoch FROM state_change) > $before FROM pg_stat_activity WHERE backend_type = 'site_stats launcher'", "$label: a round");
	}
	is(count_lines($small, 'site_stats: maintenance waits for a background worker'), 1, "$label: it says so once");

	# With a second worker slot the maintenance worker has it, and so runs the backfill itself.
	$label = 'one slot';
	$small->safe_psql('postgres', 'SELECT site_stats.begin_backfill()');
	$small->safe_psql('postgres', q(INSERT INTO site_stats.backfill_requests (action) VALUES ('start')));
	ok_stops($small, 'fast', $label);
	$small->append_conf('postgresql.conf', 'max_worker_processes = 2');
	$small->start;
	ok_until($small, "status = 'complete'", "$label: the backfill is done");
	check_sound($small, $label);
	ok_no_accidents($small);
	$small->stop;
}

done_testing();
