# During a backfill of many page views ten clients insert, update and delete old and new ones, in transactions
# of one session each. Every answer equals a direct count in the same snapshot. No client gets a deadlock or a
# serialization failure.

use strict;
use warnings;

use SiteStats;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $views = 60_000;
my $node  = new_site('writers_and_readers', $views, 'site_stats.backfill_batch_size' => 500, autovacuum => 'on', deadlock_timeout => "'200ms'",
	fsync => 'off', synchronous_commit => 'off');
my $files = PostgreSQL::Test::Utils::tempdir();

# From here on every answer is exact. Before, the history is not part of any count.
$node->safe_psql('postgres', 'SELECT site_stats.begin_backfill()');

my %writers = (
	insert => q(
		\set s random(1, 500)
		INSERT INTO site_stats.page_views (path, session_id, viewed_at)
		VALUES ('/p' || :s % 60, 's' || :s, '2025-01-20 00:00:00+00'::timestamptz + :s * interval '1 hour');),
	insert_several => q(
		\set s random(1, 500)
		INSERT INTO site_stats.page_views (path, session_id) SELECT '/p' || i % 70, 's' || :s FROM generate_series(:s, :s + 9) AS i;),
	update_path => qq(
		\\set i random(1, $views)
		UPDATE site_stats.page_views SET path = '/q' || id % 40 WHERE id = :i;),
	update_day => qq(
		\\set i random(1, $views)
		UPDATE site_stats.page_views SET viewed_at = viewed_at + interval '1 day' WHERE id = :i;),
	delete => qq(
		\\set i random(1, $views + 2000)
		DELETE FROM site_stats.page_views WHERE id = :i;),
	savepoint => qq(
		\\set i random(1, $views)
		BEGIN;
		UPDATE site_stats.page_views SET path = '/kept' WHERE id = :i;
		SAVEPOINT s;
		DELETE FROM site_stats.page_views WHERE id = :i;
		ROLLBACK TO s;
		COMMIT;),
	insert_old_id => qq(
		\\set i random(1, $views)
		\\set s random(1, 500)
		INSERT INTO site_stats.page_views (id, path, session_id) OVERRIDING SYSTEM VALUE VALUES (:i, '/again', 's' || :s) ON CONFLICT (id) DO NOTHING;),
	record => q(
		\set s random(1, 500)
		SELECT site_stats.record_page_view('/r' || :s % 30, 'page', 'r' || :s);));
my @scripts;
for my $name (sort keys %writers)
{
	append_to_file("$files/$name.sql", $writers{$name} =~ s/^\t+//gmr);
	push @scripts, '-f', "$files/$name.sql";
}

my ($output, $errors) = ('', '');
my $load = IPC::Run::start([ 'pgbench', '-n', '-c', 10, '-j', 2, '-T', 10, @scripts, '-h', $node->host, '-p', $node->port, 'postgres' ],
	'<', \undef, '>', \$output, '2>', \$errors);
ok_until($node, "SELECT max(id) > $views + 100 FROM site_stats.page_views", 'the writers write');

# What the reader reads most of the time. Now and then it reads everything, which takes longer.
my $totals = q(
	SELECT CASE WHEN s.total_page_views = t.views AND s.unique_visitors = t.visitors AND s.total_paths = t.paths THEN 'exact'
		ELSE 'served ' || (s.total_page_views, s.unique_visitors, s.total_paths) || ', counted ' || (t)::text END
	FROM site_stats.get_stats() AS s,
		(SELECT count(*) AS views, count(DISTINCT session_id) AS visitors, count(DISTINCT path) AS paths FROM ONLY site_stats.page_views) AS t);

# The reader stays connected, and reads in one snapshot at a time. The first run is stopped and started again.
# Further runs begin among open writers.
my $reader = $node->background_psql('postgres', timeout => 4 * $PostgreSQL::Test::Utils::timeout_default);
my ($readings, $during, $runs, $wrong, %sources) = (0, 0, 0, '');
while ($load->pumpable)
{
	my $status = $reader->query_safe('SELECT status FROM site_stats.backfill_progress');
	$runs += $reader->query_safe('SELECT site_stats.start_backfill()') =~ /^Backfill started/ if $status =~ /stopped|complete/;
	$reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY');
	my $reading = $reader->query_safe($readings % 5 ? $totals : $SiteStats::exactness);
	my ($source, $cursor) = split /\|/, $reader->query_safe('SELECT s.source, b.cursor FROM site_stats.get_stats() AS s, site_stats.backfill_state AS b');
	$reader->query_safe('COMMIT');
	$sources{$source}++;
	$during++ if $source =~ /direct/;
	$readings++;
	$wrong ||= "reading $readings at cursor $cursor: $reading" if $reading ne 'exact';
	$reader->query_safe('SELECT site_stats.stop_backfill()') if $readings == 12;
	$load->pump_nb;
}
$load->finish;
note(join ', ', "$readings readings, $runs further runs", map { "$_: $sources{$_}" } sort keys %sources);
note($output);
is($wrong, '', 'every answer equals a direct count in the same snapshot');
cmp_ok($during, '>=', 5, 'several of them while the backfill ran');
is(join("\n", grep { /error|abort|fail/i } split /\n/, $errors), '', 'no writer has seen an error');
my ($transactions) = $output =~ /number of transactions actually processed: (\d+)/;
cmp_ok($transactions // 0, '>', 500, 'the writers have written');
is(count_lines($node, qr/ (40P01|40001) /), 0, 'no deadlock and no serialization failure in the log');
ok_until($node, "status = 'complete'", 'the backfill is complete');
$reader->quit;

ok_exact($node, 'at the end');
ok_no_worker($node, 'at the end');
ok_no_accidents($node);
$node->stop;
done_testing();
