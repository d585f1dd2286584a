# Settings of a database or of a role are for its sessions. None of them changes what a worker counts, how
# long it lives, or how long it waits for other transactions.

use strict;
use warnings;

use SiteStats;
use Test::More;
use Time::HiRes qw(usleep);

my $node = new_node('database_settings');
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE site; CREATE ROLE nobody_special NOLOGIN;');
create_site($node, 'site', 1000);

# Tables, functions and operators that this search_path would find before those of the extension.
$node->safe_psql('site', q(
	CREATE SCHEMA evil;
	CREATE TABLE evil.page_views AS SELECT * FROM site_stats.page_views LIMIT 10;
	CREATE TABLE evil.backfill_state AS SELECT * FROM site_stats.backfill_state;
	CREATE TABLE evil.path_totals AS SELECT * FROM site_stats.path_totals;
	CREATE FUNCTION evil.fail() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'evil was here'; END $$;
	CREATE FUNCTION evil.compare(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'evil was here'; END $$;
	CREATE FUNCTION evil.compare(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'evil was here'; END $$;
	CREATE OPERATOR evil.> (FUNCTION = evil.compare, LEFTARG = bigint, RIGHTARG = bigint);
	CREATE OPERATOR evil.<= (FUNCTION = evil.compare, LEFTARG = bigint, RIGHTARG = bigint);
	CREATE OPERATOR evil.= (FUNCTION = evil.compare, LEFTARG = bigint, RIGHTARG = bigint);
	CREATE OPERATOR evil.= (FUNCTION = evil.compare, LEFTARG = text, RIGHTARG = text);
	CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE 'evil was here'; END $$;));

my @settings = (
	q(default_transaction_isolation = 'serializable'), q(default_transaction_isolation = 'repeatable read'),
	q(default_transaction_read_only = on),           q(default_transaction_deferrable = on),
	q(statement_timeout = '1ms'),                    q(lock_timeout = '1ms'),
	q(idle_in_transaction_session_timeout = '1ms'),  q(idle_session_timeout = '1ms'),
	q(search_path = evil, pg_catalog),               q(row_security = on),
	q(session_replication_role = replica),           q(TimeZone = 'Pacific/Auckland'),
	q(DateStyle = 'SQL, DMY'),                       q(IntervalStyle = 'sql_standard'),
	q(enable_indexscan = off),                       q(work_mem = '64kB'),
	q(role = nobody_special),                        q(log_min_messages = 'panic'),
	q(bytea_output = 'escape'),                      q(check_function_bodies = off),
	q(transform_null_equals = on),                   q(default_tablespace = 'pg_global'),
	q(temp_file_limit = 0),                          q(plan_cache_mode = 'force_generic_plan'));

sub run_and_check
{
	my ($label) = @_;
	local $ENV{PGOPTIONS} = $SiteStats::plain_session;

	# The transaction stays open for a moment, so that the worker waits for its commit.
	my $epoch    = $node->safe_psql('site', 'SELECT epoch FROM site_stats.backfill_state');
	my $position = log_position($node);
	my $session  = $node->background_psql('site');
	$session->query_safe('BEGIN; SELECT site_stats.start_backfill();');
	for (1 .. 100)
	{
		last if workers($node) || count_lines($node, 'site_stats: backfill ended', $position);
		usleep(50_000);
	}
	$session->query_safe('COMMIT');
	$session->quit;
	my $complete = "SELECT status = 'complete' AND epoch = $epoch + 1 FROM site_stats.backfill_state";
	# No function is called here, so no other worker is launched: this one has to do the work.
	ok_until($node, "SELECT ($complete) OR NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'site_stats backfill')", "$label: the worker ends", 'site');
	is($node->safe_psql('site', $complete), 't', "$label: it has done its work");
	is($node->safe_psql('site', $SiteStats::exactness), 'exact', "$label: exact");
	return;
}

for my $setting (@settings)
{
	my ($name) = $setting =~ /^(\w+)/;
	$node->safe_psql('postgres', "ALTER DATABASE site SET $setting");
	run_and_check("database with $setting");
	$node->safe_psql('postgres', "ALTER DATABASE site RESET $name");
}

# All settings at once, for the role that workers connect as.
$node->safe_psql('postgres', "ALTER ROLE postgres IN DATABASE site SET $_") for @settings;
run_and_check('role with all of them');
$node->safe_psql('postgres', 'ALTER ROLE postgres IN DATABASE site RESET ALL');

# CALL backfill() commits by itself, and sets what it needs by itself.
for my $setting (q(default_transaction_isolation = 'repeatable read'), q(default_transaction_isolation = 'serializable'), q(lock_timeout = '1s'),
	q(search_path = evil, pg_catalog), q(session_replication_role = replica), q(TimeZone = 'Pacific/Auckland'))
{
	$node->safe_psql('site', 'SELECT site_stats.begin_backfill(); SELECT site_stats.backfill_turn(100);');
	my ($status, $output, $errors) = $node->psql('site', "SET $setting; CALL site_stats.backfill();");
	is($status, 0, "CALL backfill() with $setting: succeeds") or diag($errors);
	check_sound($node, "CALL backfill() with $setting", 'site');
}

ok_no_worker($node, 'at the end');
is(count_lines($node, 'evil was here'), 0, 'nothing of another schema was called');
ok_no_accidents($node);
$node->stop;
done_testing();
