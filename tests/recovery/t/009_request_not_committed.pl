# start_backfill() is a request of its transaction. Nothing begins before the commit, and nothing after a
# rollback. However many sessions request a backfill at once, there is one run and one worker.

use strict;
use warnings;

use SiteStats;
use IPC::Run;
use Test::More;

my $node = new_site('request_not_committed', 1000);
require_fault_points($node);

my $everything = 'SELECT (s)::text, (SELECT count(*) FROM site_stats.backfill_requests) FROM site_stats.backfill_state AS s';
my $waiting    = q(SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'site_stats backfill' AND wait_event_type = 'Lock');

my %rolled_back = (
	'rolled back' => 'BEGIN; SELECT site_stats.start_backfill(); ROLLBACK;',
	'rolled back to a savepoint' => 'BEGIN; SAVEPOINT s; SELECT site_stats.start_backfill(); ROLLBACK TO s; COMMIT;',
	'in a block that fails' => q(DO $$ BEGIN PERFORM site_stats.start_backfill(); RAISE 'no'; EXCEPTION WHEN raise_exception THEN NULL; END $$;),
	'rolled back in REPEATABLE READ' => 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM site_stats.page_views; SELECT site_stats.start_backfill(); ROLLBACK;',
	'rolled back after a stop' => 'BEGIN; SELECT site_stats.start_backfill(); SELECT site_stats.stop_backfill(); ROLLBACK;',
	'started and stopped' => 'BEGIN; SELECT site_stats.start_backfill(); SELECT site_stats.stop_backfill(); COMMIT;');
for my $label (sort keys %rolled_back)
{
	my $before = $node->safe_psql('postgres', $everything);
	$node->safe_psql('postgres', $rolled_back{$label});
	ok_no_worker($node, $label);
	is($node->safe_psql('postgres', $everything), $before, "$label: nothing has changed") unless $label eq 'started and stopped';
	is($node->safe_psql('postgres', 'SELECT epoch FROM site_stats.backfill_state'), 1, "$label: nothing has begun");
}

# The transaction stays open until the worker waits for it, and then commits or rolls back.
for my $end (qw(ROLLBACK COMMIT))
{
	my $label  = "$end after a while";
	my $before = $node->safe_psql('postgres', $everything);
	my $session = $node->background_psql('postgres');
	$session->query_safe('BEGIN; SELECT site_stats.start_backfill();');
	ok_until($node, $waiting, "$label: the worker waits");
	is($node->safe_psql('postgres', $everything), $before, "$label: nothing has changed before");
	$session->query_safe($end);
	$session->quit;
	if ($end eq 'COMMIT')
	{
		ok_until($node, "status = 'complete'", "$label: complete");
		check_sound($node, $label);
	}
	ok_no_worker($node, $label);
	is($node->safe_psql('postgres', $everything), $before, "$label: nothing has changed after") if $end eq 'ROLLBACK';
}

# A request in a prepared transaction, across a restart.
for my $end ('ROLLBACK', 'COMMIT')
{
	my $label = "$end PREPARED";
	my $epoch = progress($node, 'epoch');
	$node->safe_psql('postgres', q(BEGIN; SELECT site_stats.start_backfill(); PREPARE TRANSACTION 'request';));
	ok_until($node, $waiting, "$label: the worker waits");
	$node->restart;
	is(progress($node, 'epoch'), $epoch, "$label: nothing has begun");
	ok_exact($node, $label);
	$node->safe_psql('postgres', "$end PREPARED 'request'");
	ok_exact($node, "$label, after the end");
	ok_no_worker($node, $label) if $end eq 'ROLLBACK';
	ok_until($node, "status = 'complete'", "$label: complete");
	is(progress($node, 'epoch'), $epoch + ($end eq 'COMMIT'), "$label: it has begun if it was committed");
	check_sound($node, $label);
}

# Eight requests at once: one run, one worker.
for my $time (1 .. 3)
{
	my $label    = "eight at once, time $time";
	my $position = log_position($node);
	my $epoch    = progress($node, 'epoch');
	set_fault($node, 'read:wait:1');
	my @callers;
	for my $caller (0 .. 7)
	{
		my ($in, $out, $err) = ('SELECT site_stats.start_backfill();', '', '');
		my $answer = { out => \$out, err => \$err };
		$answer->{run} = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ], '<', \$in, '>', \$out, '2>', \$err);
		push @callers, $answer;
	}
	$_->{run}->finish for @callers;
	is(join('', map { ${ $_->{err} } } @callers), '', "$label: no error");
	is(scalar(grep { ${ $_->{out} } =~ /^Backfill started/ } @callers), 1, "$label: one has started it");
	is(scalar(grep { ${ $_->{out} } =~ /^Backfill already running/ } @callers), 7, "$label: the others are told so");
	ok_until($node, q(SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'site_stats backfill'), "$label: one worker stays");
	ok_at_fault($node, $label, $position);
	clear_fault($node);
	$node->safe_psql('postgres', 'SELECT pg_terminate_backend((SELECT worker_pid FROM site_stats.backfill_progress))');
	ok_no_worker($node, $label);
	ok_resumes($node, 'SELECT * FROM site_stats.get_stats()', $label);
	is(progress($node, 'epoch'), $epoch + 1, "$label: one run");
	is(count_lines($node, 'backfill of the page views up to id \d+ started', $position), 1, "$label: begun once");
	check_sound($node, $label);
}

# Eight callers find an interrupted run. Each launches at most one worker, and one of these continues the run.
{
	my $label = 'eight readers of an interrupted run';
	my $position = log_position($node);
	set_fault($node, 'read:wait:3');
	$node->safe_psql('postgres', 'SELECT site_stats.start_backfill()');
	ok_at_fault($node, $label, $position);
	clear_fault($node);
	$node->safe_psql('postgres', 'SELECT pg_terminate_backend((SELECT worker_pid FROM site_stats.backfill_progress))');
	ok_no_worker($node, $label);
	my @readers = map { IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', 'SELECT total_page_views FROM site_stats.get_stats()' ], '>', \my $out) } 1 .. 8;
	$_->finish for @readers;
	ok_until($node, "status = 'complete'", "$label: complete");
	ok_state($node, 'restarts', 1, "$label: taken up once");
	ok_no_worker($node, $label);
	check_sound($node, $label);
}

ok_no_accidents($node);
$node->stop;
done_testing();
