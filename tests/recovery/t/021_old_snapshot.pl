# A transaction keeps an old snapshot through a whole backfill. Its answers are those of its snapshot, and the
# answers of other transactions are exact. Old versions of the state row cannot be removed meanwhile. They
# take one block for dozens of batches, and the next backfill uses that space again.

use strict;
use warnings;

use SiteStats;
use Test::More;

my $batches = 1500;
my $node    = new_site('old_snapshot', 2 * $batches, 'site_stats.backfill_batch_size' => 2, synchronous_commit => 'off');
my $pages   = q(SELECT pg_relation_size('site_stats.backfill_state') / current_setting('block_size')::integer);

my $before = $node->safe_psql('postgres', $pages);
my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
my $held = $holder->query_safe($SiteStats::exactness);
like($held, qr/^served/, 'nothing is counted in the snapshot');

$node->safe_psql('postgres', 'SELECT site_stats.start_backfill()');
is($node->safe_psql('postgres', 'SELECT site_stats.wait_for_backfill()'), 't', 'the backfill completes beside it');
check_sound($node, 'beside it');
is($holder->query_safe($SiteStats::exactness), $held, 'it sees what it saw');

my $then = $node->safe_psql('postgres', $pages);
note("pages of the state: $before before, $then after $batches batches");
cmp_ok($then, '<', $batches / 25, 'a page for dozens of batches');

# A writer of a single row reads the state from the cache, or reads all versions of the state row. Both are
# exact.
$node->safe_psql('postgres', q(INSERT INTO site_stats.page_views (path, session_id) VALUES ('/new', 'new')));
$node->safe_psql('postgres', q(DELETE FROM site_stats.page_views WHERE id IN (1, 2, 3)));
ok_exact($node, 'writers beside it');

$holder->query_safe('COMMIT');
$holder->quit;
$node->safe_psql('postgres', 'VACUUM site_stats.backfill_state');
$node->safe_psql('postgres', 'SELECT site_stats.start_backfill()');
is($node->safe_psql('postgres', 'SELECT site_stats.wait_for_backfill()'), 't', 'another backfill completes after it');
check_sound($node, 'after it');
my $later = $node->safe_psql('postgres', $pages);
note("pages of the state: $later after another $batches batches");
cmp_ok($later, '<=', $then + 1, '... in the room that the old versions took');

# How many blocks a backfill of many batches looks at, with and without such a transaction. Every new version of a counter
# enters its indexes; the older versions are not looked at for that.
fill($node, 60000);
$node->safe_psql('postgres', 'CALL site_stats.backfill(1000); VACUUM');
my $blocks = sub {
	my $looked_at = q(SELECT sum(heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read) FROM pg_statio_all_tables WHERE schemaname = 'site_stats' AND relname <> 'page_views');
	my ($first, $last) = split /\n/, $node->safe_psql('postgres', "$looked_at; CALL site_stats.backfill(100); DO \$\$ BEGIN PERFORM pg_stat_force_next_flush(); END \$\$; $looked_at");
	return $last - $first;
};
my $alone = $blocks->();
$node->safe_psql('postgres', 'VACUUM');
$holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
$holder->query_safe('SELECT count(*) FROM site_stats.page_views');
my $beside = $blocks->();
$holder->query_safe('COMMIT');
$holder->quit;
note("blocks that a backfill looks at: $alone alone, $beside beside an old snapshot");
cmp_ok($beside, '<', 8 * $alone, 'beside an old snapshot a backfill looks at a few times as many blocks');
ok_exact($node, 'many batches beside it');

ok_no_accidents($node);
$node->stop;
done_testing();
