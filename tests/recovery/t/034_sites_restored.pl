# Sites are carried by dumps of each format, in any order that a restore may take, and by logical replication: each has the
# numbers of the original afterwards, and the first site its settings. A crash leaves what was committed. (pg_restore with
# several jobs loads page views before their sites.)

use strict;
use warnings;

use SiteStats;
use PostgreSQL::Test::Utils;
use Test::More;

my $node  = new_node('sites_restored', allows_streaming => 'logical', max_worker_processes => 12);
my $files = PostgreSQL::Test::Utils::tempdir();
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE original');
$node->safe_psql('original', q(
	CREATE EXTENSION site_stats;
	UPDATE site_stats.sites SET timezone = 'Europe/Berlin', hosts = '{example.org}', excluded_addresses = '{10.0.0.0/8}' WHERE id = 1;
	INSERT INTO site_stats.sites (name) VALUES ('gone'), ('blog'), ('shop');
	DELETE FROM site_stats.sites WHERE name = 'gone';
	INSERT INTO site_stats.origins (source, channel) VALUES ('Google', 'Organic Search');
	INSERT INTO site_stats.clients (browser, device) VALUES ('Firefox', 'desktop');
	INSERT INTO site_stats.page_views (path, session_id, viewed_at, site_id, origin_id, client_id)
	SELECT '/p' || i % 5, 's' || i % 31, '2025-01-01 00:00:00+00'::timestamptz + i * interval '1 hour', s.id,
		CASE WHEN i % 3 = 0 THEN 1 END, CASE WHEN i % 4 = 0 THEN 1 END
	FROM generate_series(1, 400) AS i
	CROSS JOIN site_stats.sites AS s
	WHERE i % s.id = 0;
	INSERT INTO site_stats.content (path, title, site_id) SELECT '/p1', 'The first page of ' || name, id FROM site_stats.sites;));

# The numbers of each site, and all that is kept of it.
my $answer = q(
	SELECT s.*, g.total_page_views, g.unique_visitors, g.total_paths, g.tracking_since, g.page_stats
	FROM (SELECT id, name, timezone, hosts, excluded_addresses FROM site_stats.sites) AS s
	CROSS JOIN LATERAL site_stats.get_stats(s.name) AS g
	ORDER BY s.id;
	SELECT site_id, count(*), count(origin_id), count(client_id) FROM site_stats.page_views GROUP BY site_id ORDER BY site_id;
	SELECT * FROM site_stats.origins;
	SELECT * FROM site_stats.clients;);
my $expected = $node->safe_psql('original', $answer);
like($expected, qr/^1\|\|Europe\/Berlin\|\{example\.org\}.*^3\|blog\|.*^4\|shop\|/ms, 'the original has three sites');

sub ok_copy
{
	my ($label, $database) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($node->safe_psql($database, $answer), $expected, "$label: answers as the original");
	is(drift($node, $database), 0, "$label: check_totals() finds nothing");
	is($node->safe_psql($database, q(
		INSERT INTO site_stats.sites (name) VALUES ('new');
		SELECT site_stats.record_page_view('/', 'page', 'n', 'new');
		DELETE FROM site_stats.sites WHERE name = 'blog';
		SELECT count(*) FROM site_stats.page_views WHERE site_id = 3;)), "recorded\n0", "$label: sites come and go");
	is(drift($node, $database), 0, "$label: check_totals() finds nothing then");
	$node->safe_psql('postgres', "DROP DATABASE $database");
	return;
}

$node->command_ok([ 'pg_dump', '-f', "$files/plain.sql", 'original' ], 'pg_dump, plain');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$files/custom.dump", 'original' ], 'pg_dump, custom');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-o', "$files/output", '-f', "$files/plain.sql", 'copy' ], 'plain: restored');
ok_copy('plain', 'copy');
for my $jobs (1, 4)
{
	$node->safe_psql('postgres', 'CREATE DATABASE copy');
	$node->command_ok([ 'pg_restore', '--exit-on-error', '-j', $jobs, '-d', 'copy', "$files/custom.dump" ], "custom, $jobs at a time: restored");
	ok_copy("custom, $jobs at a time", 'copy');
}
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->safe_psql('copy', 'CREATE EXTENSION site_stats');
$node->command_ok([ 'pg_restore', '--exit-on-error', '--data-only', '-d', 'copy', "$files/custom.dump" ], 'data only: restored');
ok_copy('data only', 'copy');

# A subscriber of all tables has a first site of its own, which becomes that of the publisher.
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->safe_psql('copy', 'CREATE EXTENSION site_stats');
$node->safe_psql('original', q(
	CREATE PUBLICATION sites FOR TABLE site_stats.sites, site_stats.page_views, site_stats.content, site_stats.origins, site_stats.clients;
	SELECT pg_create_logical_replication_slot('sites', 'pgoutput');));
$node->safe_psql('copy', 'CREATE SUBSCRIPTION sites CONNECTION \'' . ($node->connstr('original') =~ s{'}{''}gr) . '\' PUBLICATION sites WITH (create_slot = false)');
$node->wait_for_subscription_sync($node, 'sites', 'copy');
$node->safe_psql('copy', 'DROP SUBSCRIPTION sites; SELECT site_stats.start_backfill();');
$node->safe_psql('copy', 'CALL site_stats.await_backfill()');
is($node->safe_psql('copy', $answer), $expected, 'a subscriber answers as the publisher');
is(drift($node, 'copy'), 0, 'a subscriber: check_totals() finds nothing');

# A page view past the triggers, of a site that is not there, is told.
is($node->safe_psql('copy', q(
	SET session_replication_role = replica;
	INSERT INTO site_stats.page_views (id, path, session_id, site_id) OVERRIDING SYSTEM VALUE VALUES (1000000, '/', 's', 99);
	SELECT aggregate, key, actual FROM site_stats.check_totals() WHERE aggregate = 'sites';)), 'sites|99|1', 'a page view of no site is told');

kill_server($node);
start_again($node);
is($node->safe_psql('original', $answer), $expected, 'after a crash: the same answers');
is(drift($node, 'original'), 0, 'after a crash: check_totals() finds nothing');

$node->stop;
done_testing();
