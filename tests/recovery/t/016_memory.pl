# Private memory of a backend over many statements in one transaction grows by what the server itself needs, and that of
# a worker over thousands of batches does not grow, once both have warmed up.

use strict;
use warnings;

use SiteStats;
use Test::More;

plan skip_all => 'needs /proc to read the memory of a process' unless -r "/proc/$$/status";

my $megabyte = 1024;
my $node     = new_site('memory', 3000, synchronous_commit => 'off', 'site_stats.backfill_batch_size' => 1);

# Single-row inserts, then updates and deletes, all in one transaction. The server itself remembers some 200 bytes for the
# counters of each statement: they are rows that one transaction changes again and again (its "combo" command ids). A
# trigger in plpgsql that updates as many rows takes the same. More than that would be ours. (Not more statements here,
# since such a row gets slower with each change.)
{
	my $session = $node->background_psql('postgres', timeout => 4 * $PostgreSQL::Test::Utils::timeout_default);
	my $pid     = $session->query_safe('SELECT pg_backend_pid()');
	my %work    = (
		inserts => q(INSERT INTO site_stats.page_views (path, session_id, viewed_at) VALUES ('/p' || i % 20, 's' || i % 50, '2025-01-01 00:00:00+00');),
		'updates and deletes' => q(
			UPDATE site_stats.page_views SET path = '/u' || i % 20 WHERE id = (SELECT min(id) + 100 FROM site_stats.page_views WHERE id > 3000);
			DELETE FROM site_stats.page_views WHERE id = (SELECT max(id) FROM site_stats.page_views);));
	for my $kind (sort keys %work)
	{
		my ($statements, $per_round) = $kind eq 'inserts' ? (1, 1500) : (2, 250);
		my @sizes;
		# Warm, and with something to update and delete.
		$session->query_safe("DO \$\$ BEGIN FOR i IN 1..1500 LOOP $work{inserts} END LOOP; END \$\$");
		$session->query_safe('BEGIN');
		for my $round (1 .. 5)
		{
			$session->query_safe("DO \$\$ BEGIN FOR i IN 1..$per_round LOOP $work{$kind} END LOOP; END \$\$");
			push @sizes, resident_memory($pid);
		}
		my $bytes = 1024 * ($sizes[-1] - $sizes[0]) / (4 * $per_round * $statements);
		note("$kind: @sizes kB, $bytes bytes per statement");
		cmp_ok($bytes, '<', $kind eq 'inserts' ? 300 : 600, "$kind in one transaction: no more memory than the server itself takes")
		  or diag("kB after each $per_round: @sizes");
		$session->query_safe('ROLLBACK');
	}
	$session->quit;
}

# A worker, one view per batch.
{
	$node->safe_psql('postgres', 'SELECT site_stats.start_backfill()');
	my ($first, $last, $first_cursor, $last_cursor);
	while (1)
	{
		my ($status, $cursor, $pid) = split /\|/, progress($node, 'status, cursor, worker_pid');
		last if $status eq 'complete' || $status eq 'failed';
		next unless $pid && $cursor > 300;
		my $size = eval { resident_memory($pid) } or next;
		($first, $first_cursor) = ($size, $cursor) unless $first;
		($last, $last_cursor) = ($size, $cursor);
	}
	ok($first && $last_cursor - $first_cursor >= 1500, 'the worker was watched over many batches');
	note("worker: $first kB at batch $first_cursor, $last kB at batch $last_cursor");
	cmp_ok($last - $first, '<', 2 * $megabyte, 'a worker does not grow over thousands of batches')
	  or diag("$first kB at batch $first_cursor, $last kB at batch $last_cursor");
	check_sound($node, 'one view per batch');
}

ok_no_accidents($node);
$node->stop;
done_testing();
