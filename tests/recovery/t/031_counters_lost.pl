# A table of counters that a crash has emptied, because it was UNLOGGED, or a TRUNCATE: reads count the page views directly,
# writes are refused with the repair, and a backfill makes the counters anew.

use strict;
use warnings;

use SiteStats;
use Test::More;

my $node = new_site('counters_lost', 0);
my $views = "INSERT INTO site_stats.page_views (path, session_id) SELECT '/' || n % 3, 's' || n FROM generate_series(1, 100) AS n";
my $answer = 'SELECT total_page_views, unique_visitors, total_paths, source FROM site_stats.get_stats()';
my $top = 'SELECT sum(views) FROM site_stats.top_pages()';
my $days = 'SELECT sum(views) FROM site_stats.views_by_day()';

$node->safe_psql('postgres', $views);
is($node->safe_psql('postgres', $answer), '100|100|3|aggregates', 'at first: the counters answer');

# One of the tables at a time.
for my $table (qw(path_totals sessions site_totals)) {
	$node->safe_psql('postgres', "ALTER TABLE site_stats.$table SET UNLOGGED");
	is($node->safe_psql('postgres', q(SELECT site_stats.record_page_view('/0', 'page', 'before the crash'))), 'recorded', "$table: UNLOGGED, page views are recorded");
	my $before = $node->safe_psql('postgres', 'SELECT total_page_views, unique_visitors, total_paths FROM site_stats.get_stats()');
	$node->stop('immediate');
	$node->start;
	is($node->safe_psql('postgres', $answer), "$before|direct count", "$table: after a crash, page views are counted directly");
	my ($count) = split /\|/, $before;
	is($node->safe_psql('postgres', $top), $count, "$table: by top_pages() too");
	is($node->safe_psql('postgres', $days), $count, "$table: by views_by_day() too");
	isnt($node->safe_psql('postgres', 'SELECT count(*) FROM site_stats.check_totals()'), 0, "$table: check_totals() tells");
	my (undef, undef, $error) = $node->psql('postgres', q(SELECT site_stats.record_page_view('/0', 'page', 'after the crash')));
	like($error, qr/table "site_stats\.$table" has lost its rows/, "$table: a write is refused");
	like($error, qr/Call site_stats\.start_backfill\(\)/, "$table: with the repair");
	$node->safe_psql('postgres', 'SELECT site_stats.start_backfill()');
	$node->safe_psql('postgres', 'CALL site_stats.await_backfill()');
	is($node->safe_psql('postgres', $answer), "$before|aggregates", "$table: a backfill makes the counters anew");
	is($node->safe_psql('postgres', q(SELECT site_stats.record_page_view('/0', 'page', 'after the crash of )  . qq($table'))), 'recorded', "$table: then page views are recorded again");
	is($node->safe_psql('postgres', 'SELECT * FROM site_stats.check_totals()'), '', "$table: all is counted");
	$node->safe_psql('postgres', "ALTER TABLE site_stats.$table SET LOGGED; DELETE FROM site_stats.page_views WHERE session_id LIKE '%crash%'");
}

# All of them at once.
$node->safe_psql('postgres', "ALTER TABLE site_stats.$_ SET UNLOGGED") for qw(path_totals sessions site_totals);
$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', $answer), '100|100|3|direct count', 'all: after a crash, page views are counted directly');
$node->safe_psql('postgres', 'CALL site_stats.backfill()');
is($node->safe_psql('postgres', $answer), '100|100|3|aggregates', 'all: a backfill makes the counters anew');
$node->safe_psql('postgres', "ALTER TABLE site_stats.$_ SET LOGGED") for qw(path_totals sessions site_totals);

# Page views that came in past the triggers, before any was counted, are no loss.
$node->safe_psql('postgres', 'CREATE DATABASE fresh');
create_site($node, 'fresh', 500);
is($node->safe_psql('fresh', q(SELECT site_stats.record_page_view('/', 'page', 'first counted'))), 'recorded', 'past the triggers: page views are recorded');
is($node->safe_psql('fresh', 'SELECT source FROM site_stats.get_stats()'), 'aggregates', 'past the triggers: as documented, they are not counted');
$node->safe_psql('fresh', 'CALL site_stats.backfill()');
is($node->safe_psql('fresh', 'SELECT * FROM site_stats.check_totals()'), '', 'past the triggers: a backfill counts them');

# The owner empties a table, with open sessions that have seen rows in it.
my $session = $node->background_psql('postgres');
$session->query_safe("INSERT INTO site_stats.page_views (path, session_id) VALUES ('/0', 'open session')");
$node->safe_psql('postgres', 'TRUNCATE site_stats.path_totals');
is($node->safe_psql('postgres', $answer), '101|101|3|direct count', 'emptied by hand: page views are counted directly');
my (undef, undef, $error) = $node->psql('postgres', "INSERT INTO site_stats.page_views (path, session_id) VALUES ('/0', 'new session')");
like($error, qr/has lost its rows/, 'emptied by hand: a write is refused');
$session->query_safe(q(SET client_min_messages = 'warning'));
$session->query_safe('CALL site_stats.backfill()');
$session->quit;
is($node->safe_psql('postgres', $answer), '101|101|3|aggregates', 'emptied by hand: a backfill makes the counters anew');
is($node->safe_psql('postgres', 'SELECT * FROM site_stats.check_totals()'), '', 'emptied by hand: all is counted');

# Where a loss would not be noticed, the table must not be UNLOGGED.
$node->safe_psql('postgres', 'ALTER TABLE site_stats.daily_totals SET UNLOGGED');
(undef, undef, $error) = $node->psql('postgres', "INSERT INTO site_stats.page_views (path, session_id, viewed_at) VALUES ('/0', 'x', '2026-01-01'), ('/0', 'x', '2026-01-02')");
like($error, qr/table "site_stats\.daily_totals" is UNLOGGED/, 'daily_totals: refused');
$node->safe_psql('postgres', 'ALTER TABLE site_stats.daily_totals SET LOGGED');
$node->safe_psql('postgres', "INSERT INTO site_stats.page_views (path, session_id, viewed_at) VALUES ('/0', 'x', '2026-01-01'), ('/0', 'x', '2026-01-02')");

# The state row is gone.
$node->safe_psql('postgres', 'TRUNCATE site_stats.backfill_state');
is($node->safe_psql('postgres', 'SELECT aggregate, counted, actual FROM site_stats.check_totals()'), 'backfill_state|0|1', 'no state: check_totals() tells');
(undef, undef, $error) = $node->psql('postgres', $answer);
like($error, qr/table "site_stats\.backfill_state" has lost its row/, 'no state: get_stats() raises an error');
$node->safe_psql('postgres', 'INSERT INTO site_stats.backfill_state DEFAULT VALUES');
$node->safe_psql('postgres', 'SELECT site_stats.start_backfill()');
$node->safe_psql('postgres', 'CALL site_stats.await_backfill()');
is($node->safe_psql('postgres', 'SELECT total_page_views, unique_visitors FROM site_stats.get_stats()'), '103|102', 'no state: restored as the hint says');
is($node->safe_psql('postgres', 'SELECT * FROM site_stats.check_totals()'), '', 'no state: all is counted');

$node->stop;
done_testing();
