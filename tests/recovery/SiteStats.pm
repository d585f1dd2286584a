# What the recovery tests share: a server with a history to count, the oracle, and ways to look at a backfill.
# These call no function of the extension, because every call resumes an interrupted backfill.

package SiteStats;

use strict;
use warnings;

BEGIN { $ENV{PG_TEST_TIMEOUT_DEFAULT} ||= 60 }

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

# The superuser of these servers, whatever the name of the user that runs the tests.
$ENV{PGUSER} = 'postgres';

our @EXPORT = qw(
  new_site new_node create_site fill
  ok_exact check_exact check_sound drift sqlstate_of
  ok_state progress ok_until ok_resumes ok_no_worker workers
  require_fault_points set_fault clear_fault ok_at_fault
  kill_server start_again ok_stops log_from log_position count_lines ok_no_accidents
  resident_memory
);

# Connection options for a session of psql. They win over the settings of its database and role.
our $plain_session = join ' ', map { "-c $_" } (
	'role=postgres',                         'search_path=pg_catalog',
	'default_transaction_read_only=off',     'default_transaction_isolation=read\\ committed',
	'default_transaction_deferrable=off',    'session_replication_role=origin',
	'statement_timeout=90s',                 'lock_timeout=0',
	'idle_in_transaction_session_timeout=0', 'idle_session_timeout=0',
	'log_min_messages=warning',              'default_tablespace=',
	'temp_file_limit=-1',                    'transform_null_equals=off');

# ---- servers and histories ---------------------------------------------------------------------------------

# A server, not started. It writes SQLSTATEs into its log, and restarts after a crash.
sub new_node
{
	my ($name, %settings) = @_;
	my $node    = PostgreSQL::Test::Cluster->new($name);
	my %options = map { $_ => delete $settings{$_} } grep { exists $settings{$_} } qw(allows_streaming has_archiving);
	$node->init(%options, extra => [ '--encoding=UTF8', '--no-locale', '--username=postgres' ]);
	my %conf = (
		log_statement               => 'none',
		log_line_prefix             => "'%m [%p] %b %e %q%a '",
		restart_after_crash         => 'on',
		shared_buffers              => "'32MB'",
		# A statement that hangs is a failure, not a hanging test.
		statement_timeout           => "'90s'",
		max_connections             => 40,
		max_prepared_transactions   => 5,
		autovacuum                  => 'off',
		timezone                    => "'UTC'",
		'site_stats.backfill_batch_size' => 100,
		%settings);
	$node->append_conf('postgresql.conf', join "\n", map { "$_ = $conf{$_}" } sort keys %conf);
	return $node;
}

# A running server with the extension and a number of page views that nothing has counted yet.
sub new_site
{
	my ($name, $views, %settings) = @_;
	my $node = new_node($name, %settings);
	$node->start;
	create_site($node, 'postgres', $views);
	return $node;
}

# Creates the extension in a database, with a number of page views that nothing has counted yet.
sub create_site
{
	my ($node, $database, $views) = @_;
	$node->safe_psql($database, 'CREATE EXTENSION site_stats');
	fill($node, $views, $database) if $views;
	return;
}

# Adds page views past the triggers, the same ones each time: 53 paths, 397 sessions, 40 days.
sub fill
{
	my ($node, $views, $database) = @_;
	$node->safe_psql(
		$database // 'postgres', qq(
		SET session_replication_role = replica;
		INSERT INTO site_stats.page_views (path, page_type, session_id, viewed_at)
		SELECT '/p' || i * 7919 % 53, 'page', 's' || i * 104729 % 397, '2025-01-01 00:00:00+00'::timestamptz + i * 3457 % 3456000 * interval '1 second'
		FROM generate_series(1::bigint, $views) AS i;));
	return;
}

# ---- the oracle --------------------------------------------------------------------------------------------

# Compares every total that is served with a direct count, and adds what check_totals() finds. It is one
# statement, so one snapshot.
our $exactness = q(
	SELECT
		CASE WHEN (s.total_page_views, s.unique_visitors, s.total_paths, s.tracking_since, p.views, d.views)
			IS NOT DISTINCT FROM (t.views, t.visitors, t.paths, t.since, t.views, t.views)
		THEN 'exact' ELSE 'served ' || (s.total_page_views, s.unique_visitors, s.total_paths, s.tracking_since, p.views, d.views)
			|| ', counted ' || (t.views, t.visitors, t.paths, t.since, t.views, t.views) || ', ' || s.source END
		|| COALESCE((SELECT ', drift: ' || string_agg((c)::text, ' ') FROM (SELECT c FROM site_stats.check_totals() AS c LIMIT 5) AS c), '')
	FROM site_stats.get_stats() AS s,
		(SELECT COALESCE(sum(views), 0) AS views FROM site_stats.top_pages(1000000)) AS p,
		(SELECT COALESCE(sum(views), 0) AS views FROM site_stats.views_by_day(until => (now() AT TIME ZONE 'UTC')::date + 60)) AS d,
		(SELECT count(*) AS views, count(DISTINCT session_id) AS visitors, count(DISTINCT path) AS paths, min(viewed_at) AS since
			FROM ONLY site_stats.page_views) AS t);

# 'exact', or the differences.
sub check_exact
{
	my ($node, $database) = @_;
	local $ENV{PGOPTIONS} = $plain_session;
	return $node->safe_psql($database // 'postgres', $exactness);
}

# Every answer equals a direct count, and check_totals() finds nothing. These calls resume an interrupted
# backfill.
sub ok_exact
{
	my ($node, $label, $database) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(check_exact($node, $database), 'exact', "$label: exact");
}

# As ok_exact, after a complete backfill, which must have read each page view of its range once.
sub check_sound
{
	my ($node, $label, $database) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok_exact($node, $label, $database);
	return is(
		progress($node, 'status, cursor = target, views_done = (SELECT count(*) FROM ONLY site_stats.page_views WHERE id <= target)', $database),
		'complete|t|t',
		"$label: complete, and each view was read once");
}

# The number of differences that check_totals() finds.
sub drift
{
	my ($node, $database) = @_;
	return $node->safe_psql($database // 'postgres', 'SELECT count(*) FROM site_stats.check_totals()');
}

# The SQLSTATE, message and hint of the error that a statement raises; empty if it raises none.
sub sqlstate_of
{
	my ($node, $sql, $database) = @_;
	my ($status, $output, $errors) = $node->psql($database // 'postgres', "\\set VERBOSITY verbose\n$sql");
	return '' if $status == 0;
	return join ' ', $errors =~ /ERROR:\s+(.*)/, $errors =~ /HINT:\s+(.*)/;
}

# ---- a backfill, looked at from outside --------------------------------------------------------------------

# Columns of backfill_progress. Reading this SQL view launches no worker.
sub progress
{
	my ($node, $columns, $database) = @_;
	local $ENV{PGOPTIONS} = $plain_session;
	return $node->safe_psql($database // 'postgres', "SELECT $columns FROM site_stats.backfill_progress");
}

# The progress is as expected.
sub ok_state
{
	my ($node, $columns, $expected, $label) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(progress($node, $columns), $expected, $label);
}

# Polls until a condition on backfill_progress, or a whole query, is true.
sub ok_until
{
	my ($node, $condition, $label, $database) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	local $ENV{PGOPTIONS} = $plain_session;
	$condition = "SELECT $condition FROM site_stats.backfill_progress" unless $condition =~ /^\s*SELECT/;
	my $met = ok($node->poll_query_until($database // 'postgres', $condition), $label);
	diag(log_tail($node)) unless $met;
	return $met;
}

# This call resumes the backfill, which then completes without any other call.
sub ok_resumes
{
	my ($node, $call, $label, $database) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	local $ENV{PGOPTIONS} = $plain_session;
	$node->safe_psql($database // 'postgres', $call);
	return ok_until($node, "status = 'complete'", "$label: one call goes on to the end", $database);
}

# The process ids of all backfill workers.
sub workers
{
	my ($node) = @_;
	return split /\n/, $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'site_stats backfill'");
}

# Every backfill worker exits.
sub ok_no_worker
{
	my ($node, $label) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok(
		$node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'site_stats backfill')"),
		"$label: no worker is left");
}

# ---- faults on purpose -------------------------------------------------------------------------------------

# Skips the file unless the library was built with the cargo feature fault_points.
sub require_fault_points
{
	my ($node, $database) = @_;
	my ($status) = $node->psql($database // 'postgres', "LOAD 'site_stats'; SHOW site_stats.fault_point");
	return if $status == 0;
	$node->stop;
	plan skip_all => 'the library was built without the cargo feature fault_points';
	return;
}

# Sets the fault POINT:ACTION[:N] for all workers, including those that run.
sub set_fault
{
	my ($node, $fault) = @_;
	$node->safe_psql('postgres', "LOAD 'site_stats'; ALTER SYSTEM SET site_stats.fault_point = '$fault'");
	$node->reload;
	return ok_setting($node, $fault);
}

# Removes the fault. With 'quietly' the configuration is not reloaded, so only a server that starts later
# sees the change.
sub clear_fault
{
	my ($node, $quietly) = @_;
	$node->safe_psql('postgres', "LOAD 'site_stats'; ALTER SYSTEM RESET site_stats.fault_point");
	return if $quietly;
	$node->reload;
	return ok_setting($node, '');
}

# Waits until new processes see the setting: the postmaster has reloaded its configuration.
sub ok_setting
{
	my ($node, $value) = @_;
	$node->poll_query_until('postgres', "SELECT COALESCE(current_setting('site_stats.fault_point', true), '') = '$value'")
	  or die 'the server does not reload its configuration';
	return;
}

# Waits until a worker is at its fault point, according to the log from a position on. Makes its commits
# durable.
sub ok_at_fault
{
	my ($node, $label, $position) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $met = ok(eval { $node->wait_for_log(qr/site_stats: waits at fault point/, $position) }, "$label: the worker is at the fault point");
	diag(log_tail($node)) unless $met;
	# A worker commits asynchronously. The next commit that is not asynchronous makes its commits durable, too.
	$node->safe_psql('postgres', "SELECT pg_logical_emit_message(true, 'site_stats', 'flush')");
	return $met;
}

# ---- the server's life -------------------------------------------------------------------------------------

# Kills the postmaster with signal 9.
sub kill_server
{
	my ($node) = @_;
	$node->kill9;
	return;
}

# Starts a server whose postmaster was killed. Its children may need a moment to notice.
sub start_again
{
	my ($node) = @_;
	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return if $node->start(fail_ok => 1);
		$node->{_pid} = undef;
		usleep(100_000);
	}
	die 'the server does not start again';
}

# The server stops in this mode within 20 seconds.
sub ok_stops
{
	my ($node, $mode, $label) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $stopped = run_log([ 'pg_ctl', '-D', $node->data_dir, '-m', $mode, '-t', 20, '-w', 'stop' ]);
	ok($stopped, "$label: the server stops ($mode)");
	if ($stopped)
	{
		$node->_update_pid(0);
	}
	else
	{
		diag(log_tail($node));
		kill_server($node);
	}
	return $stopped;
}

sub log_position { my ($node) = @_; return -s $node->logfile // 0 }

sub log_from
{
	my ($node, $position) = @_;
	return slurp_file($node->logfile, $position // 0);
}

sub log_tail
{
	my ($node) = @_;
	my @lines = split /\n/, log_from($node);
	return join "\n", 'the end of the server\'s log:', @lines > 30 ? @lines[ -30 .. -1 ] : @lines;
}

sub count_lines
{
	my ($node, $pattern, $position) = @_;
	return scalar grep { /$pattern/ } split /\n/, log_from($node, $position);
}

# The log has no crash but of a process that a test has killed, no internal error, and no failed assertion.
sub ok_no_accidents
{
	my ($node, %allowed) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my @accidents = grep { !/ (?:STATEMENT|DETAIL|HINT|CONTEXT|LOCATION): / && /terminated by signal (?!9:)|PANIC:|TRAP:| XX\d\d\d |could not note a failure/ } split /\n/, log_from($node);
	@accidents = grep { $_ !~ $allowed{except} } @accidents if $allowed{except};
	return is(join("\n", @accidents), '', 'no crash and no internal error in the log of ' . $node->name);
}

# Private memory of a process in kilobytes. Memory that it shares with other processes (the buffers) is left
# out.
sub resident_memory
{
	my ($pid) = @_;
	my ($size) = slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+) kB/m;
	return $size;
}

1;
