# ALTER EXTENSION UPDATE from each released version: page views and counts stay. A backfill goes on from where
# it was, even if its worker runs during the update. The catalog is then that of CREATE EXTENSION.

use strict;
use warnings;

use SiteStats;
use File::Basename qw(dirname);
use Test::More;

# All objects of the extension that users and programs can see. They are compared by name, since OIDs differ.
my $catalog = PostgreSQL::Test::Utils::slurp_file(dirname(__FILE__) . '/../catalog.sql');

my $views = 1000;
my $node  = new_node('updated');
$node->start;

my $current = $node->safe_psql('postgres', q(SELECT default_version FROM pg_available_extensions WHERE name = 'site_stats'));
my @released = split /\n/, $node->safe_psql('postgres', qq(SELECT version FROM pg_available_extension_versions WHERE name = 'site_stats' AND version <> '$current' ORDER BY version));
cmp_ok(scalar @released, '>', 0, 'a released version is here to be updated from');

$node->safe_psql('postgres', 'CREATE DATABASE fresh');
create_site($node, 'fresh', 0);
my $expected = $node->safe_psql('fresh', $catalog);
cmp_ok(scalar(split /\n/, $expected), '>', 150, 'the catalog of a fresh extension is not empty');

for my $version (@released)
{
	my $database = "from_$version";
	$database =~ tr/./_/;
	my $label = "from $version";
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, "CREATE EXTENSION site_stats VERSION '$version'");
	fill($node, $views, $database);
	$node->safe_psql($database, q(
		CREATE ROLE reader_of_) . $database . q(;
		GRANT EXECUTE ON FUNCTION site_stats.get_stats TO reader_of_) . $database . q(;
		SELECT site_stats.begin_backfill();
		SELECT site_stats.backfill_turn(400);
		INSERT INTO site_stats.page_views (path, page_type, session_id) VALUES ('/new', 'page', 'new');
		DELETE FROM site_stats.page_views WHERE id IN (7, 700);));
	ok_exact($node, "$label, before", $database);
	my $before = $node->safe_psql($database, 'SELECT (to_jsonb(s) - \'active_visitors\')::text FROM site_stats.get_stats() AS s');

	$node->safe_psql($database, 'ALTER EXTENSION site_stats UPDATE');
	is($node->safe_psql($database, q(SELECT extversion FROM pg_extension WHERE extname = 'site_stats')), $current, "$label: it is $current now");
	is($node->safe_psql($database, 'SELECT (to_jsonb(s) - \'active_visitors\')::text FROM site_stats.get_stats() AS s'), $before, "$label: the same answer");
	is($node->safe_psql($database, "SELECT has_function_privilege('reader_of_$database', (SELECT oid FROM pg_proc WHERE proname = 'get_stats'), 'EXECUTE')"), 't', "$label: grants stay");
	$node->safe_psql($database, "REVOKE EXECUTE ON FUNCTION site_stats.get_stats FROM reader_of_$database");
	is(progress($node, 'status, cursor', $database), 'stopped|400', "$label: the backfill is where it was");
	is($node->safe_psql($database, $catalog), $expected, "$label: the catalog is that of a fresh extension");
	$node->safe_psql($database, 'SELECT site_stats.start_backfill()');
	ok_until($node, "status = 'complete'", "$label: the backfill goes on to its end", $database);
	ok_exact($node, "$label, after", $database);
}

# A worker runs during the update. It ends its batch, and another worker, with the new library, continues the
# run.
SKIP:
{
	my ($faults) = $node->psql('postgres', "LOAD 'site_stats'; SHOW site_stats.fault_point");
	skip 'the library was built without the cargo feature fault_points', 1 if $faults != 0;
	my $label = 'updated under a worker';
	my $version = $released[-1];
	create_site_of($version);
	my $position = log_position($node);
	set_fault($node, 'moved:wait:3');
	$node->safe_psql('postgres', 'SELECT site_stats.start_backfill()');
	ok_at_fault($node, $label, $position);
	my ($old) = workers($node);

	# The update waits for a batch that waits at its fault point. The batch is then cancelled, so another batch
	# may come before the update.
	my $update = $node->background_psql('postgres');
	$update->query_until(qr/begun/, "\\echo begun\nALTER EXTENSION site_stats UPDATE;\n");
	ok_until($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'ALTER EXTENSION%' AND $old = ANY (pg_blocking_pids(pid))",
		"$label: the update waits for the batch");
	ok_state($node, 'status, cursor', 'running|200', "$label: which is still open");
	clear_fault($node);
	$node->safe_psql('postgres', "SELECT pg_cancel_backend($old)");
	$update->quit;
	is($node->safe_psql('postgres', q(SELECT extversion FROM pg_extension WHERE extname = 'site_stats')), $current, "$label: it is $current now");
	ok_until($node, "status = 'complete'", "$label: goes on to the end");
	check_sound($node, $label);
	is(count_lines($node, 'backfill goes on in another process, since the extension was updated', $position), 1, "$label: the worker hands over, once");
	isnt($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE pid = $old"), 1, "$label: and is gone");
}

sub create_site_of
{
	my ($version) = @_;
	$node->safe_psql('postgres', "CREATE EXTENSION site_stats VERSION '$version'");
	return fill($node, $views, 'postgres');
}

ok_no_accidents($node);
$node->stop;
done_testing();
