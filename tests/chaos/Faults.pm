# What goes wrong: processes killed and cancelled, servers stopped, locks held, batches that fail. Also what
# is done to backfills meanwhile. Each fault is planned ahead, from the one random generator, and happens at
# its time.

package Faults;

use strict;
use warnings;

use Exporter 'import';
use Writers qw(between chance gate_holder pick);
our @EXPORT_OK = qw(fault disturbance);

my $worker  = q(FROM pg_stat_activity AS a WHERE a.backend_type = 'site_stats backfill');
my $views   = 'site_stats.page_views';
my $reload  = 'SELECT FROM pg_reload_conf();';
my @set     = ([ 'backfill_batch_delay', 0, 5, 20, 50 ], [ 'backfill_batch_size', 100, 500, 500 ], [ 'counter_slots', 1, 3, 64 ]);

# One fault. { kind, on, sql } is a job for a session; `undo`, [seconds, sql], is a job for later.
# { kind, signal, pid } is a signal to the process that the query `pid` finds; `then`, [seconds, signal], is a
# signal for later. { kind, server } is what happens to the whole server.
sub fault
{
	my ($writers, $with_fault_points) = @_;
	my $writer = sprintf q(FROM pg_stat_activity AS a WHERE a.application_name = 'writer %d'), between(1, $writers);
	my ($make) = pick(
		[
			[ 5, sub { return { kind => 'worker killed', signal => 'KILL', pid => $worker } } ],
			[ 2, sub { return { kind => 'writer killed', signal => 'KILL', pid => $writer } } ],
			[ 4, sub { return { kind => 'postmaster killed', server => 'kill' } } ],
			[ 2, sub { return { kind => 'server stopped at once', server => 'immediate' } } ],
			[ 2, sub { return { kind => 'server stopped', server => 'fast' } } ],
			[ 4, sub { return sql('worker terminated', "SELECT pg_terminate_backend(a.pid) $worker;") } ],
			[ 4, sub { return sql('worker cancelled', "SELECT pg_cancel_backend(a.pid) $worker;") } ],
			[ 2, sub { return sql('writer terminated', "SELECT pg_terminate_backend(a.pid) $writer;") } ],
			[ 4, sub { return sql('writers cancelled', q(SELECT pg_cancel_backend(a.pid) FROM pg_stat_activity AS a WHERE a.application_name ~ '^(writer|foreground)';)) } ],
			[ 2, sub { return { kind => 'worker frozen', signal => 'STOP', pid => $worker, then => [ between(100, 600) / 1000, 'CONT' ] } } ],
			[ 3, sub { return { %{ sql('table locked', sprintf("BEGIN; LOCK TABLE $views IN %s MODE; SELECT FROM pg_sleep(%.3f); COMMIT;",
						(pick([ [ 2, 'SHARE' ], [ 1, 'SHARE ROW EXCLUSIVE' ], [ 1, 'ACCESS EXCLUSIVE' ] ]))[0], 0.05 + rand 0.4)) }, on => 'holder' } } ],
			[ 4, sub { return { %{ sql('gate held', gate_holder(0.1 + rand 0.7)) }, on => 'holder' } } ],
			[ $with_fault_points ? 8 : 0, \&in_batch ],
		]);
	return $make->();
}

sub sql { my ($kind, $sql, @may) = @_; return { kind => $kind, on => 'control', sql => $sql, may => { map { $_ => 1 } @may } } }

# A worker that kills itself, or fails, at a point of a batch. The fault is undone after a while.
sub in_batch
{
	my ($point) = pick([ map { [ 1, $_ ] } qw(locked read counted moved) ]);
	my ($action) = pick([ [ 3, 'kill' ], [ 1, 'error' ], [ 1, 'panic' ] ]);
	my $set = sprintf q(LOAD 'site_stats'; ALTER SYSTEM SET site_stats.fault_point = '%s:%s:%d'; %s), $point, $action, between(1, 20), $reload;
	my $take_back = "LOAD 'site_stats'; ALTER SYSTEM RESET site_stats.fault_point; $reload";
	return { %{ sql("batch $action" =~ s/kill/killed/r =~ s/error/failed/r =~ s/panic/panicked/r, $set) },
		undo => [ between(200, 700) / 1000, $take_back ] };
}

# What people who know site_stats do to backfills and to the aggregates.
sub disturbance
{
	my $start  = sprintf 'SELECT site_stats.start_backfill(%s);', size();
	my ($name, @values) = pick([ map { [ 1, @$_ ] } @set ]);
	my $value = $values[ between(0, $#values) ];
	# A worker that is starting, and open writers, are reasons for an error.
	my ($thing) = pick(
		[
			[ 20, sql('start_backfill', $start, '53000') ],
			[ 3, sql('stop_backfill', 'SELECT site_stats.stop_backfill();') ],
			[ 4, sql('begin_backfill', 'SELECT site_stats.stop_backfill(); SELECT FROM pg_sleep(0.05); SELECT site_stats.begin_backfill(); ' . $start, qw(53000 55006 55P03)) ],
			[ 2, sql('request rolled back', "BEGIN; $start ROLLBACK;", '53000') ],
			[ 2, sql('request taken back', "BEGIN; SAVEPOINT a; $start ROLLBACK TO a; COMMIT;", '53000') ],
			[ 2, sql('request committed late', "BEGIN; $start SELECT FROM pg_sleep(0.2); COMMIT;", '53000') ],
			[ 2, sql('wait_for_backfill', q(SELECT site_stats.wait_for_backfill('100 ms');)) ],
			[ 3, sql('backfill_turn', sprintf('SELECT site_stats.backfill_turn(%s);', size()), qw(55006 55P03 40001)) ],
			[ 2, sql('step rolled back', sprintf('BEGIN; SELECT site_stats.backfill_turn(%s); ROLLBACK;', size()), qw(55006 55P03 40001)) ],
			[ 4, sql('fold_totals', sprintf 'SELECT site_stats.fold_totals(%d);', between(1, 2_000)) ],
			[ 2, sql('cleanup', sprintf 'SELECT site_stats.cleanup_stale_sessions(%d);', between(0, 500)) ],
			[ 1, sql('vacuum', 'VACUUM ' . join(', ', map { "site_stats.$_" } qw(page_views sessions path_totals daily_totals site_totals)) . ';') ],
			[ 4, sql('setting changed', "LOAD 'site_stats'; ALTER SYSTEM SET site_stats.$name = $value; $reload") ],
			[ 6, { %{ sql('backfill in the foreground', sprintf('SELECT site_stats.stop_backfill(); SELECT FROM pg_sleep(0.2); CALL site_stats.backfill(%s);', size()), '55006') },
					on => 'foreground', patient => 1 } ],
		]);
	return $thing;
}

# Rows per batch.
sub size { return (pick([ [ 2, 'NULL' ], [ 1, between(1, 30) ], [ 4, between(30, 1_000) ], [ 1, between(1_000, 20_000) ] ]))[0] }

1;
