# A transaction that has changed the schema in one database, and stays open, does not keep the launcher from the others.

use strict;
use warnings;

use SiteStats;
use Test::More;

my $node = new_node('launcher_passed_over',
	shared_preload_libraries => "'site_stats'", 'site_stats.maintenance_interval' => "'1s'", 'site_stats.session_timeout' => "'1s'",
	max_worker_processes => 12);
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE one');
$node->safe_psql('postgres', 'CREATE DATABASE two');
create_site($node, $_, 300) for qw(one two);

# Stale sessions of a database are removed, and its backfill is resumed.
sub ok_looked_after
{
	my ($label, $database) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$node->safe_psql($database, "SELECT site_stats.heartbeat('visitor', '/')");
	return ok_until($node, 'SELECT NOT EXISTS (SELECT FROM site_stats.active_sessions)', "$label: database $database is looked after", $database);
}

ok_looked_after('at the start', $_) for qw(one two);
my %holders = (
	'DROP EXTENSION'       => 'BEGIN; DROP EXTENSION site_stats',
	'a locked state row'   => 'BEGIN; LOCK site_stats.backfill_state',
	'a locked table'       => 'BEGIN; LOCK site_stats.active_sessions',
	'locked counters'      => 'BEGIN; LOCK site_stats.path_totals, site_stats.sessions',
	'a new column'         => 'BEGIN; ALTER TABLE site_stats.page_views ADD COLUMN own text',
	'a locked catalog row' => q(BEGIN; ALTER EXTENSION site_stats ADD TABLE public.own));
for my $label (sort keys %holders)
{
	$node->safe_psql('one', q(CREATE TABLE IF NOT EXISTS public.own (); SELECT site_stats.heartbeat('visitor', '/')));
	my $holder = $node->background_psql('one');
	$holder->query_safe($holders{$label});
	ok_looked_after("$label in one database", 'two') for 1 .. 2;
	$holder->query_safe('ROLLBACK');
	$holder->quit;
	ok_looked_after("$label, rolled back", 'one');
}
$node->safe_psql('one', 'SELECT site_stats.start_backfill()');
ok_until($node, "status = 'complete'", 'at the end: complete', 'one');
ok_exact($node, 'at the end', 'one');

ok_no_accidents($node);
$node->stop;
done_testing();
