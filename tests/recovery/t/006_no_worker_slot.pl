# A server without a free worker slot says so, with a hint, and nothing has changed. The backfill can then run
# in a session.

use strict;
use warnings;

use SiteStats;
use Test::More;

my $node = new_site('no_worker_slot', 1000, max_worker_processes => 0);

my $everything = 'SELECT (s)::text, (SELECT count(*) FROM site_stats.backfill_requests) FROM site_stats.backfill_state AS s';
my $refusal    = qr/^53000: could not start a background worker for the backfill .*max_worker_processes.*CALL site_stats\.backfill\(\)/;

my $before = $node->safe_psql('postgres', $everything);
like(sqlstate_of($node, 'SELECT site_stats.start_backfill();'), $refusal, 'no slot: refused with the way out');
is($node->safe_psql('postgres', $everything), $before, 'no slot: the state is as before');
is(drift($node) > 0, 1, 'no slot: the uncounted page views are still reported');

$node->safe_psql('postgres', 'CALL site_stats.backfill()');
check_sound($node, 'no slot: CALL site_stats.backfill()');

# An unfinished run stays as it is, answers stay exact, and the run goes on in a session.
$node->safe_psql('postgres', 'SELECT site_stats.begin_backfill(); SELECT site_stats.backfill_turn(300);');
$before = $node->safe_psql('postgres', $everything);
like(sqlstate_of($node, 'SELECT site_stats.start_backfill();'), $refusal, 'no slot, unfinished run: refused');
is($node->safe_psql('postgres', $everything), $before, 'no slot, unfinished run: the state is as before');
ok_exact($node, 'no slot, unfinished run');
is($node->safe_psql('postgres', q(SELECT site_stats.record_page_view('/', 'page', 's'))), 'recorded', 'no slot: views are recorded');
$node->safe_psql('postgres', 'CALL site_stats.backfill()');
check_sound($node, 'no slot, unfinished run: CALL site_stats.backfill()');

# A run was interrupted. Every call tries to launch a worker and cannot, and no call fails for that.
my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query_safe("SET site_stats.backfill_batch_delay = '60s'");
$session->{stdin} .= "CALL site_stats.backfill();\n";
$session->{run}->pump_nb;
ok_until($node, "status = 'running' AND worker_pid IS NOT NULL", 'no slot, interrupted run: under way');
$node->safe_psql('postgres', 'SELECT pg_terminate_backend((SELECT worker_pid FROM site_stats.backfill_progress))');
eval { $session->quit };
ok_until($node, 'worker_pid IS NULL', 'no slot, interrupted run: its session is gone');
ok_state($node, 'status', 'running', 'no slot, interrupted run: unfinished');
ok_exact($node, 'no slot, interrupted run');
is($node->safe_psql('postgres', q(SELECT site_stats.record_page_view('/', 'page', 't'))), 'recorded',
	'no slot, interrupted run: views are recorded');
is($node->safe_psql('postgres', q(SELECT site_stats.wait_for_backfill('100 ms'))), 'f', 'no slot, interrupted run: waiting ends');
$node->safe_psql('postgres', 'CALL site_stats.backfill()');
check_sound($node, 'no slot, interrupted run: CALL site_stats.backfill()');

# The backfill worker of another database has the only worker slot.
$node->safe_psql('postgres', 'ALTER SYSTEM SET max_worker_processes = 1; ');
$node->safe_psql('postgres', 'ALTER SYSTEM SET max_logical_replication_workers = 0; ');
$node->restart;
$node->safe_psql('postgres', 'CREATE DATABASE neighbour');
create_site($node, 'neighbour', 300);
$node->safe_psql('neighbour', "LOAD 'site_stats'; ALTER DATABASE neighbour SET site_stats.backfill_batch_delay = '60s'");
$node->safe_psql('neighbour', 'SELECT site_stats.start_backfill()');
ok_until($node, "status = 'running' AND worker_pid IS NOT NULL", 'slot taken: by the worker of another database', 'neighbour');
like(sqlstate_of($node, 'SELECT site_stats.start_backfill();'), $refusal, 'slot taken: refused');
ok_state($node, 'status', 'complete', 'slot taken: the state is as before');
$node->safe_psql('neighbour', 'ALTER DATABASE neighbour RESET site_stats.backfill_batch_delay');
$node->safe_psql('postgres', q(SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'site_stats backfill'));
ok_no_worker($node, 'slot taken');
ok_resumes($node, 'SELECT * FROM site_stats.get_stats()', 'slot taken: once it is free', 'neighbour');
check_sound($node, 'slot taken: the neighbour', 'neighbour');
ok_no_worker($node, 'slot free');
$node->safe_psql('postgres', 'SELECT site_stats.start_backfill()');
ok_until($node, "status = 'complete'", 'slot free: complete');
check_sound($node, 'slot free');

ok_no_accidents($node);
$node->stop;
done_testing();
