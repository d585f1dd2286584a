#!/usr/bin/perl
# The chaos run: writers of every kind, backfills and faults on a running server. Readers compare every answer
# with a direct count all the while. bin/chaos calls it with a new cluster that has the settings of
# postgresql.conf here. The run kills and starts the server as it likes:
#
#     perl run.pl FOLDER_OF_PROGRAMS DATA_FOLDER SOCKET_FOLDER SERVER_LOG SEED CYCLES
#
# All random choices come from one generator, cycle after cycle, and do not depend on what the server does. A
# seed makes the same transactions, faults and backfills each time. How they interleave differs from run to
# run.
#
# Exits with 0 if every answer was exact. Otherwise it prints the first difference.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use List::Util qw(sum0);
use Time::HiRes qw(sleep time);

use Faults qw(disturbance fault);
use Sessions;
use Writers qw(between history pick sites transaction);

my ($programs, $data, $sockets, $log, $seed, $cycles) = @ARGV;
die "usage: run.pl FOLDER_OF_PROGRAMS DATA_FOLDER SOCKET_FOLDER SERVER_LOG SEED CYCLES\n" unless defined $cycles;

my $WRITERS = 8;
# The most transactions that a writer can run in a cycle; those that are left over are dropped.
my $TRANSACTIONS = 80;
# Seconds between two reads of a reader, between two checks of prepared transactions, and between two lines of
# progress; and seconds after which a wait counts as a hang.
my ($READ, $RESOLVE, $REPORT, $HANG) = (0.1, 0.15, 5, 60);

$| = 1;
srand $seed;
my $parent = getppid;
my $copies = "$data/../copies";
mkdir $copies or die "could not make $copies: $!\n";

my $compare = do { open my $file, '<', "$FindBin::Bin/compare.sql" or die "could not read compare.sql: $!\n"; local $/; <$file> };
# The lock comes before the snapshot. A TRUNCATE in between would empty the table for this transaction, too.
my $begin    = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;\nLOCK TABLE site_stats.page_views IN ACCESS SHARE MODE;";
my $progress = q(SELECT 'progress', to_jsonb(p) FROM site_stats.backfill_progress AS p;);
my $check    = q(SELECT 'difference', c.* FROM site_stats.check_totals() AS c LIMIT 10;);
# The decision is in the name that the transaction was prepared under.
my $resolve = q(SELECT format('%s PREPARED %L', substring(p.gid FROM '\w+$'), p.gid) FROM pg_prepared_xacts AS p
	WHERE p.prepared < clock_timestamp() - interval '100 ms' \gexec);

my ($cycle, $began_at, $reported_at) = (0, time, time);
# Whether readers pause.
my $draining = 1;
my (%writes, %faults, %disturbances, %reads, %setbacks, %sessions, %queue, %frozen, @timers);
my ($checks, $finished, $crashes) = (0, 0, 0);

# ---- what may not happen -----------------------------------------------------------------------------------

sub failed
{
	my ($what, @details) = @_;
	print "\n    FAILED in cycle $cycle with seed $seed: $what\n";
	print map { "        $_\n" } map { split /\n/ } map { s/\Q$compare\E/(compare.sql)\n/gr } @details;
	summary();
	exit 1;
}

# Checks what a session has done: an answer that differs is a failure, and so is any unexpected error.
sub judge
{
	my ($job) = @_;
	my @lines = @{ $job->{lines} };
	if (my ($first, @others) = grep { /^difference\||^compared\|(?!source\|)/ } @lines)
	{
		my @progress = grep { /^progress\|/ } @lines;
		failed("$job->{session}, $job->{kind}: " . described($first), (map { described($_) } @others), @progress ? @progress : ask($progress));
	}
	if (my $error = $job->{errors}[0])
	{
		my ($code, $message) = @$error;
		$setbacks{$code}++;
		# The parallel workers of a query may go with the postmaster before the query's own process does.
		my $is_lost = $job->{lost} && $message =~ /lost connection to parallel worker/;
		failed("$job->{session}, $job->{kind}: $code $message", $job->{sql}, log_tail())
		  unless $code =~ /^(?:57014|57P0[123])$/ || $is_lost || $job->{may}{$code} || $message =~ /a fault on purpose/;
	}
	$setbacks{'connection lost'}++ if $job->{lost};
	$reads{$_}++ for map { /^compared\|source\|(.*)\|/ ? $1 : () } @lines;
	return;
}

sub is_done { my ($job) = @_; return !$job->{lost} && !@{ $job->{errors} } }

sub described
{
	my ($what, $name, @values) = split /\|/, $_[0], -1;
	return "check_totals(): $name $values[0]: counted $values[1], actual $values[2]" if $what eq 'difference';
	# Of long lists, from the first difference on.
	my ($same) = join("\n", @values[ 0, 1 ]) =~ /\A(.*[\[,]).*\n\1/;
	my ($served, $counted) = map { my $rest = substr $_, length($same // ''); length $rest > 80 ? substr($rest, 0, 80) . ' ...' : $rest } @values[ 0, 1 ];
	return sprintf 'get_stats(): %s%s is %s, a direct count gives %s', $name, defined $same ? ' from place ' . ($same =~ tr/,//) : '', $served, $counted;
}

# Checks that no process has crashed but those that were killed, and that no internal error was raised.
my ($log_read, $log_rest) = (0, '');

sub read_log
{
	open my $file, '<', $log or return;
	seek $file, $log_read, 0;
	local $/;
	my $text = $log_rest . (<$file> // '');
	$log_read = tell $file;
	$log_rest = $text =~ s/([^\n]+)\z// ? $1 : '';
	for my $line (split /\n/, $text)
	{
		$finished++ if $line =~ /backfill of \d+ page views complete/;
		$crashes++  if $line =~ /all server processes terminated; reinitializing/;
		failed("the server's log: $line", log_tail())
		  if $line =~ /PANIC:|TRAP:|terminated by signal (?!9\b)|you don't own a lock|\] XX\w{3} / && $line !~ /a fault on purpose/;
	}
	return;
}

sub log_tail
{
	open my $file, '<', $log or return;
	my @lines = <$file>;
	return "the end of the server's log:", @lines > 15 ? @lines[ -15 .. -1 ] : @lines;
}

sub look_for_hangs
{
	for my $name (sort keys %sessions)
	{
		next if $sessions{$name}->stuck < $HANG;
		my $job = $sessions{$name}{job};
		failed(
			"$name " . ($job ? "is at one transaction ($job->{kind})" : 'has no connection') . " for $HANG seconds",
			$job ? $job->{sql} : (),
			ask(q(
				SELECT a.pid, a.backend_type, a.application_name, a.state, a.wait_event, now() - a.query_start, pg_blocking_pids(a.pid),
					left(regexp_replace(a.query, '\s+', ' ', 'g'), 100)
				FROM pg_stat_activity AS a WHERE a.backend_type IN ('client backend', 'site_stats backfill');)),
			ask('SELECT * FROM pg_prepared_xacts;'), ask($progress), log_tail());
	}
	return;
}

# ---- time --------------------------------------------------------------------------------------------------

sub later { my ($seconds, $action) = @_; push @timers, [ time + $seconds, $action ]; return }

# A moment of everything.
sub step
{
	# The caller of this run is gone, or the cluster is.
	exit 1 if getppid != $parent || !-d $data;
	my @due = grep { $_->[0] <= time } @timers;
	@timers = grep { $_->[0] > time } @timers;
	$_->[1]->() for sort { $a->[0] <=> $b->[0] } @due;
	Sessions::pump(0.02, map { $sessions{$_} } sort keys %sessions);
	look_for_hangs();
	if (time - $reported_at >= $REPORT)
	{
		$reported_at = time;
		read_log();
		printf "    cycle %d of %d: %d transactions, %d faults, %d backfills finished, %d answers compared\n", $cycle, $cycles,
		  sum0(values %writes), sum0(values %faults), $finished, sum0(values %reads);
	}
	return;
}

# What a query returns, from a connection of its own; nothing if the server does not answer.
sub ask
{
	my ($sql) = @_;
	local %ENV = (%ENV, PGHOST => $sockets, PGUSER => 'postgres', PGDATABASE => 'postgres', PGOPTIONS => '-c statement_timeout=20s');
	open my $psql, '-|', "$programs/psql", qw(-X -q -A -t -c), $sql or die "could not run psql: $!\n";
	chomp(my @lines = <$psql>);
	close $psql;
	return @lines;
}

# Lets a session do a job, again and again until it succeeds, while all other sessions go on. Returns the
# lines of its result.
sub get
{
	my ($name, $kind, $sql) = @_;
	while (1)
	{
		my $is_over = 0;
		my $job = $sessions{$name}->enqueue({ kind => $kind, sql => $sql, done => sub { $is_over = 1 } });
		step() until $is_over;
		return @{ $job->{lines} } if is_done($job);
	}
}

# ---- the server --------------------------------------------------------------------------------------------

sub pg_ctl { return system("'$programs/pg_ctl' -D '$data' -l '$log' -w @_ >/dev/null 2>&1") == 0 }

sub start_server
{
	my $until = time + $HANG;
	until (pg_ctl('-t', $HANG, 'start')) # the children of a postmaster that was killed need a moment to notice
	{
		failed('the server does not start again', log_tail()) if time > $until;
		sleep 0.1;
	}
	return;
}

sub stop_server
{
	my ($mode) = @_;
	kill 'CONT', keys %frozen;
	pg_ctl('-m', $mode, '-t', 20, 'stop') or failed("the server does not stop ($mode)", log_tail());
	return;
}

sub kill_postmaster
{
	open my $file, '<', "$data/postmaster.pid" or return;
	chomp(my $pid = <$file>);
	# A worker that is frozen cannot notice, and would keep the next server from starting.
	kill 'KILL', $pid;
	kill 'CONT', keys %frozen;
	return;
}

# ---- faults, and what is done to backfills -----------------------------------------------------------------

sub produce
{
	my ($fault) = @_;
	return send_signal($fault, 3) if $fault->{signal};
	if (my $how = $fault->{server})
	{
		$faults{ $fault->{kind} }++;
		$how eq 'kill' ? kill_postmaster() : stop_server($how);
		start_server();
		return;
	}
	my $name = $fault->{on} eq 'control' ? 'faults' : $fault->{on};
	# A fault that hits no process is none.
	$sessions{$name}->enqueue({ %$fault, done => sub { $faults{ $fault->{kind} }++ if is_done($_[0]) && !($fault->{sql} =~ /^SELECT/ && !@{ $_[0]{lines} }) } });
	take_back(@{ $fault->{undo} }) if $fault->{undo};
	return;
}

# Undoes a fault, however long that takes.
sub take_back
{
	my ($seconds, $sql) = @_;
	later($seconds, sub { $sessions{faults}->enqueue({ kind => 'undo', sql => $sql, done => sub { take_back(0.1, $sql) unless is_done($_[0]) } }) });
	return;
}

# Sends a signal to a process. If there is no worker to signal, one is started, and signalled after a while.
sub send_signal
{
	my ($fault, $tries) = @_;
	my $start = $tries < 3 ? 'SELECT site_stats.start_backfill();' : '';
	$sessions{faults}->enqueue({
		kind => $fault->{kind},
		may  => { '53000' => 1 },
		sql  => "$start SELECT 'pid', a.pid $fault->{pid};",
		done => sub {
			my ($pid) = map { /^pid\|(\d+)$/ ? $1 : () } @{ $_[0]{lines} };
			return $tries > 1 ? later(0.1, sub { send_signal($fault, $tries - 1) }) : () unless $pid;
			return unless kill $fault->{signal}, $pid;
			$faults{ $fault->{kind} }++;
			my ($seconds, $signal) = @{ $fault->{then} || return };
			$frozen{$pid} = 1;
			later($seconds, sub { kill $signal, $pid; delete $frozen{$pid} });
		} });
	return;
}

sub disturb
{
	my ($job) = @_;
	$sessions{ $job->{on} }->enqueue({ %$job, done => sub { $disturbances{ $job->{kind} }++ if is_done($_[0]) } });
	return;
}

# ---- the participants --------------------------------------------------------------------------------------

# A session that does the same job at intervals.
sub at_intervals
{
	my ($name, $seconds, $job) = @_;
	my $last = 0;
	my $next = sub { return if $draining || time - $last < $seconds; $last = time; return $job->() };
	$sessions{$name} = Sessions->new($name, next => $next, finished => sub { $last = time; judge($_[0]) });
	return;
}

sub gather
{
	Sessions::server("$programs/psql", $sockets);
	for my $number (1 .. $WRITERS)
	{
		my $queue = $queue{$number} = [];
		$sessions{"writer $number"} = Sessions->new(
			"writer $number",
			next     => sub { return shift @$queue },
			finished => sub { my ($job) = @_; judge($job); $writes{ $job->{kind} }++ if is_done($job) });
	}
	$sessions{$_} = Sessions->new($_, finished => \&judge) for qw(control faults holder foreground check);
	at_intervals('resolver', $RESOLVE, sub { return { kind => 'prepared transactions', sql => $resolve, may => { 55000 => 1, 42704 => 1 } } });
	at_intervals('reader 1', $READ, sub { return { kind => 'read', sql => join "\n", $begin, $compare, $progress, 'COMMIT;' } });
	# Turns go on all the time. One meets writers that do not end, TRUNCATE and another turn, of the maintenance worker.
	at_intervals('spans', $READ, sub { return { kind => 'write_spans', sql => 'CALL site_stats.write_spans();', may => { 55000 => 1, '55P03' => 1 } } });
	# Twice in one snapshot, while other transactions commit in between.
	at_intervals('reader 2', $READ, sub {
		return { kind => 'read twice', sql => join "\n", $begin, $compare, 'SELECT FROM pg_sleep(0.1);', $compare, $check, $progress, 'COMMIT;' } });
	return;
}

# ---- the run -----------------------------------------------------------------------------------------------

sub prepare
{
	get('control', 'extension', 'CREATE EXTENSION site_stats; ' . sites());
	get('control', 'history', history());
	get('control', 'begin_backfill', 'SELECT site_stats.begin_backfill(); SELECT site_stats.start_backfill(100);');
	my ($has_fault_points) = get('control', 'fault points', q(LOAD 'site_stats'; SELECT count(*) FROM pg_settings WHERE name = 'site_stats.fault_point';));
	print '    The library was built ', ($has_fault_points ? 'with' : 'without'), " fault points.\n";
	return $has_fault_points;
}

sub run_cycle
{
	my ($with_fault_points) = @_;
	my $length = between(800, 1_600) / 1_000;
	# In some cycles there is less to do, so that a backfill makes progress.
	my ($busy) = pick([ [ 1, 2 ], [ 1, 4 ], [ 2, $WRITERS ] ]);
	for my $number (1 .. $WRITERS)
	{
		@{ $queue{$number} } = $number > $busy ? () : map { transaction("$cycle/$number/$_", $copies, $compare) } 1 .. $TRANSACTIONS;
	}
	my ($disturbances, $faults) = (between(3, 6), pick([ [ 1, 0 ], [ 4, 1 ], [ 5, 2 ], [ 2, 3 ] ]));
	for (1 .. $disturbances) { my $job = disturbance(); later(rand $length, sub { disturb($job) }) }
	for (1 .. $faults) { my $fault = fault($WRITERS, $with_fault_points); later(rand $length, sub { produce($fault) }) }

	my $until = time + $length;
	step() while time < $until;
	# Writers go on meanwhile: the check is of one snapshot.
	my ($checked) = grep { /^checked/ } get('check', 'check', join "\n", $begin, $check, $progress, q(SELECT 'checked';), 'COMMIT;');
	$checks++ if $checked;
	return;
}

# Every session finishes its job.
sub drain
{
	$draining = 1;
	@$_ = () for values %queue;
	step() while @timers;
	get('control', 'reset', "LOAD 'site_stats'; ALTER SYSTEM RESET ALL; SELECT FROM pg_reload_conf();");
	my $asked_at = 0;
	while (grep { !$_->is_idle } values %sessions)
	{
		if (time - $asked_at > 1)
		{
			$asked_at = time;
			$sessions{control}->enqueue({ kind => 'stop', sql => q(SELECT pg_cancel_backend(a.pid) FROM pg_stat_activity AS a WHERE a.application_name = 'foreground';) });
			$sessions{resolver}->enqueue({ kind => 'prepared transactions', sql => $resolve, may => { 55000 => 1, 42704 => 1 } });
			step() for 1 .. 5;
		}
		step();
	}
	sleep 0.2;
	get('resolver', 'prepared transactions', $resolve);
	my ($prepared) = get('control', 'prepared transactions', 'SELECT count(*) FROM pg_prepared_xacts;');
	failed("$prepared prepared transactions are left") if $prepared;
	return;
}

# Undisturbed backfills: one finishes what was under way, one runs from the start. Then all counts must be
# right.
sub settle
{
	# Any call resumes a backfill that has lost its worker; no session has to start it.
	my $until = time + $HANG / 2;
	while (grep { /^unattended/ } get('check', 'look', q(SELECT FROM site_stats.get_stats();
		SELECT 'unattended' FROM site_stats.backfill_progress AS p WHERE p.status IN ('requested', 'running') AND p.worker_pid IS NULL;)))
	{
		failed('no process takes up the backfill', ask($progress), ask('SELECT * FROM site_stats.backfill_requests'), log_tail()) if time > $until;
	}
	for my $run ('what was under way', 'a run from the start')
	{
		my ($complete) = grep { /^complete/ } get('control', $run, q(SELECT site_stats.start_backfill(); SELECT 'complete', site_stats.wait_for_backfill('50 s');));
		failed("$run: the backfill does not come to its end", ask($progress), log_tail()) if $complete ne 'complete|t';
	}
	get('check', 'at the end', join "\n", $begin, $check, $compare, $progress, 'COMMIT;');
	$checks++;
	my ($left) = get('control', 'left-overs', q(
		SELECT concat_ws(', ',
			(SELECT 'status ' || s.status WHERE s.status <> 'complete'),
			(SELECT format('%s views counted of %s', s.views_done, count(*)) FROM site_stats.page_views AS v HAVING count(*) NOT IN (0, s.views_done)),
			(SELECT 'rows of older epochs in path_totals' FROM site_stats.path_totals AS t WHERE t.epoch <> s.epoch LIMIT 1),
			(SELECT 'rows of older epochs in daily_totals' FROM site_stats.daily_totals AS t WHERE t.epoch <> s.epoch LIMIT 1),
			(SELECT 'rows of older epochs in site_totals' FROM site_stats.site_totals AS t WHERE t.epoch <> s.epoch LIMIT 1),
			(SELECT 'rows of older epochs in sessions' FROM site_stats.sessions AS t WHERE t.epoch <> s.epoch LIMIT 1),
			(SELECT 'sessions without a view' FROM site_stats.sessions AS t WHERE t.views <= 0 LIMIT 1),
			(SELECT 'requests' FROM site_stats.backfill_requests LIMIT 1))
		FROM site_stats.backfill_state AS s;));
	failed("at the end: $left", ask($progress)) if $left;
	$until = time + $HANG;
	while (my ($worker) = get('control', 'worker', q(SELECT a.pid FROM pg_stat_activity AS a WHERE a.backend_type = 'site_stats backfill';)))
	{
		failed("at the end: worker $worker does not leave") if time > $until;
	}
	stop_server('fast');
	read_log();
	return;
}

sub listed
{
	my ($counts) = @_;
	return join ', ', map { "$_ $counts->{$_}" } sort { $counts->{$b} <=> $counts->{$a} || $a cmp $b } keys %$counts;
}

sub summary
{
	printf "    seed %d: %d cycles in %d s, %d checks\n", $seed, $cycle, time - $began_at, $checks;
	printf "    %d transactions: %s\n", sum0(values %writes), listed(\%writes);
	printf "    %d faults, %d restarts after a crash: %s\n", sum0(values %faults), $crashes, listed(\%faults);
	printf "    %d backfills finished; %d times something done to backfills and aggregates: %s\n", $finished, sum0(values %disturbances), listed(\%disturbances);
	printf "    %d answers compared, from %s\n", sum0(values %reads), listed(\%reads);
	printf "    setbacks that are to be expected: %s\n", listed(\%setbacks);
	return;
}

print "    seed $seed, $cycles cycles\n";
gather();
my $has_fault_points = prepare();
$draining = 0;
for my $number (1 .. $cycles)
{
	$cycle = $number;
	run_cycle($has_fault_points);
}
drain();
settle();
print "    All answers were exact.\n";
summary();
