# The private memory of a backend does not grow over many statements in one transaction, once it has warmed
# up. Nor does that of a worker over ten thousand batches.

use strict;
use warnings;

use SiteStats;
use Test::More;

plan skip_all => 'needs /proc to read the memory of a process' unless -r "/proc/$$/status";

my $megabyte = 1024;
my $node     = new_site('memory', 10_000, synchronous_commit => 'off', 'site_stats.backfill_batch_size' => 1, statement_timeout => 0);

# Single rows in one transaction, written by a loop and by statements of a client. There are more sessions
# than a tally holds, so inserts flush several times. Inserts in subtransactions cannot be measured like this.
# For each subtransaction in which any statement trigger runs, the server keeps 8 kB until the transaction
# ends. The regress test 'commit' covers them.
{
	my $insert = q(INSERT INTO site_stats.page_views (path, session_id, viewed_at)
		VALUES ('/p' || i % 200, 's' || i, '2025-01-01 00:00:00+00'::timestamptz + i * interval '1 minute'));
	my $loop = 'FOR i IN %d..%d LOOP %s END LOOP;';
	my %kinds = (
		'inserts' => sub { do_block(sprintf $loop, @_, "$insert;") },
		'updates and deletes' => sub {
			do_block(sprintf $loop, @_, q(
				UPDATE site_stats.page_views SET path = '/u' || i % 20, session_id = 't' || i WHERE id = i;
				DELETE FROM site_stats.page_views WHERE id = i - 5 AND i % 2 = 0;));
		},
		'statements of a client' => sub {
			sprintf q(SELECT format('INSERT INTO site_stats.page_views (path, session_id) VALUES (%%L, %%L)', '/p' || i %% 200, 's' || i)
				FROM generate_series(%d, %d) AS i \gexec), @_;
		});
	my %rounds = ('updates and deletes' => 2_500, 'statements of a client' => 10_000);
	$node->safe_psql('postgres', q(
		CREATE FUNCTION private_memory() RETURNS bigint LANGUAGE sql AS $$
			SELECT (regexp_match(pg_read_file('/proc/self/status'), 'RssAnon:\s+(\d+) kB'))[1]::bigint
		$$));
	my $drift = drift($node);
	for my $kind (sort keys %kinds)
	{
		my $rows = $rounds{$kind} // 25_000;
		# The process warms up in the first quarter.
		my @quarters = map { ($kinds{$kind}->(1 + ($_ - 1) * $rows, $_ * $rows), 'SELECT private_memory();') } 1 .. 4;
		my @sizes = split /\n/, $node->safe_psql('postgres', join "\n", 'BEGIN;', @quarters, 'ROLLBACK;');
		is(scalar @sizes, 4, "$kind: measured four times");
		note("$kind: @sizes kB after each $rows");
		# A full tally takes 3 megabytes.
		cmp_ok($sizes[3] - $sizes[0], '<', 4 * $megabyte, "$kind in one transaction: memory is flat") or diag("@sizes kB");
	}
	is(drift($node), $drift, 'all of it was rolled back');
}

# A worker, with one page view in each batch.
{
	$node->safe_psql('postgres', 'SELECT site_stats.start_backfill()');
	my ($first, $last, $first_cursor, $last_cursor);
	while (1)
	{
		my ($status, $cursor, $pid) = split /\|/, progress($node, 'status, cursor, worker_pid');
		last if $status eq 'complete' || $status eq 'failed';
		next unless $pid && $cursor > 1000;
		my $size = eval { resident_memory($pid) } or next;
		($first, $first_cursor) = ($size, $cursor) unless $first;
		($last, $last_cursor) = ($size, $cursor);
	}
	ok($first && $last_cursor - $first_cursor >= 5000, 'the worker was watched over many batches');
	note("worker: $first kB at batch $first_cursor, $last kB at batch $last_cursor");
	cmp_ok($last - $first, '<', $megabyte, 'a worker does not grow over ten thousand batches')
	  or diag("$first kB at batch $first_cursor, $last kB at batch $last_cursor");
	check_sound($node, 'one view per batch');
}

ok_no_accidents($node);
$node->stop;
done_testing();

sub do_block { return "DO \$\$ BEGIN $_[0] END \$\$;" }
