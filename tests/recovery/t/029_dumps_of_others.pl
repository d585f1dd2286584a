# Dumps are restored by another superuser than the one who created the extension, or gave the schema away: the page views are
# there, and are counted.

use strict;
use warnings;

use SiteStats;
use PostgreSQL::Test::Utils;
use Test::More;

my $node  = new_node('dumps_of_others');
my $files = PostgreSQL::Test::Utils::tempdir();
$node->start;
$node->safe_psql('postgres', q(
	CREATE ROLE admin SUPERUSER LOGIN;
	CREATE ROLE app LOGIN;
	CREATE ROLE reader LOGIN;
	CREATE ACCESS METHOD heap2 TYPE TABLE HANDLER heap_tableam_handler;
	CREATE DATABASE original;));
$node->safe_psql('original', q(
	SET ROLE admin;
	CREATE EXTENSION site_stats;
	INSERT INTO site_stats.page_views (path, session_id, viewed_at)
	SELECT '/p' || i % 5, 's' || i % 31, '2025-01-01 00:00:00+00'::timestamptz + i * interval '1 hour' FROM generate_series(1, 100) AS i;
	INSERT INTO site_stats.content (path, title) VALUES ('/p1', 'The first page');));

my $answer = 'SELECT total_page_views, unique_visitors, total_paths, source, page_stats FROM site_stats.get_stats()';

# How many jobs pg_restore has.
my $jobs = 2;

# Restores of the original, each by the superuser of the tests, answer as the original does.
sub ok_restored
{
	my ($label, $prepare, @options) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $dumped = sub {
		my ($how, @command) = @_;
		$node->command_ok(\@command, "$label, $how");
		return;
	};
	my $restored = sub {
		my ($how, @command) = @_;
		$node->safe_psql('postgres', 'CREATE DATABASE copy');
		$node->safe_psql('copy', $prepare) if $prepare;
		$node->command_ok([ @command ], "$label, $how: restored");
		is($node->safe_psql('copy', $answer), $node->safe_psql('original', $answer), "$label, $how: answers as the original");
		is($node->safe_psql('copy', q(
			SELECT string_agg(DISTINCT a.amname, ' ') FROM pg_class AS c JOIN pg_am AS a ON a.oid = c.relam
			WHERE c.relnamespace = 'site_stats'::regnamespace AND c.relkind = 'r')), 'heap', "$label, $how: all tables are heaps");
		$node->safe_psql('copy', q(
			INSERT INTO site_stats.page_views (path, session_id) VALUES ('/new', 'new');
			DELETE FROM site_stats.page_views WHERE id % 11 = 0;
			SELECT site_stats.start_backfill();));
		$node->safe_psql('copy', 'CALL site_stats.await_backfill()');
		check_sound($node, "$label, $how", 'copy');
		ok_no_worker($node, "$label, $how");
		$node->safe_psql('postgres', 'DROP DATABASE copy');
		return;
	};
	$dumped->('plain', 'pg_dump', @options, '-f', "$files/plain.sql", 'original');
	$restored->('plain', 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-o', "$files/output", '-f', "$files/plain.sql", 'copy');
	$dumped->('custom', 'pg_dump', @options, '-Fc', '-f', "$files/custom.dump", 'original');
	$restored->('custom', 'pg_restore', '--exit-on-error', '-j', $jobs, '-d', 'copy', "$files/custom.dump");
	$restored->('custom, --no-owner', 'pg_restore', '--exit-on-error', '--no-owner', '-d', 'copy', "$files/custom.dump");
	return;
}

ok_restored('another superuser');
ok_restored('the extension alone', '', '-e', 'site_stats');
ok_restored('default_table_access_method', 'ALTER DATABASE copy SET default_table_access_method = heap2');

# Rights of others in the schema are carried, too.
$node->safe_psql('original', 'GRANT USAGE ON SCHEMA site_stats TO reader; GRANT SELECT ON site_stats.page_views TO reader');
ok_restored('with grants');
$node->safe_psql('original', 'ALTER SCHEMA site_stats OWNER TO app');
ok_restored('a schema that was given away');
$node->safe_psql('original', "ALTER TABLE site_stats.$_ OWNER TO app")
  for qw(page_views content path_totals daily_totals site_totals sessions active_sessions backfill_state backfill_requests);
ok_restored('all tables given away');

# Statistics alone: the schema is dumped with the page views and without the extension.
{
	my $label = 'pg_dump -n';
	$node->command_ok([ 'pg_dump', '-n', 'site_stats', '-f', "$files/schema.sql", 'original' ], $label);
	$node->safe_psql('postgres', 'CREATE DATABASE copy');
	create_site($node, 'copy', 0);
	$node->psql('copy', "\\i $files/schema.sql", on_error_stop => 0);
	is($node->safe_psql('copy', $answer), $node->safe_psql('original', $answer), "$label: restored where the extension is, it answers as the original");
	ok_exact($node, $label, 'copy');
	$node->safe_psql('postgres', 'DROP DATABASE copy');
}

# Data of one's own about page views: a table beside it, keyed by the view's id, is dumped and restored. With several jobs
# pg_restore may make the foreign key before the rows of an extension's table are there.
$jobs = 1;
{
	my $label = 'a table beside page_views';
	$node->safe_psql('original', q(
		CREATE TABLE public.referrers (view_id bigint PRIMARY KEY REFERENCES site_stats.page_views ON DELETE CASCADE, referrer text NOT NULL);
		INSERT INTO public.referrers SELECT id, 'r' || id FROM site_stats.page_views WHERE id % 2 = 0;));
	ok_restored($label);
	$node->command_ok([ 'pg_dump', '-Fc', '-f', "$files/custom.dump", 'original' ], $label);
	$node->safe_psql('postgres', 'CREATE DATABASE copy');
	$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', 'copy', "$files/custom.dump" ], "$label: restored");
	is($node->safe_psql('copy', q(SELECT count(*) FROM public.referrers JOIN site_stats.page_views AS v ON v.id = view_id)), '50', "$label: all rows fit");
	$node->safe_psql('postgres', 'DROP DATABASE copy');
}

# All databases with their roles, in another cluster.
{
	my $label = 'pg_dumpall';
	$node->command_ok([ 'pg_dumpall', '-f', "$files/all.sql" ], $label);
	my $other = new_node('dumped');
	$other->start;
	$other->psql('postgres', "\\i $files/all.sql", on_error_stop => 0);
	is($other->safe_psql('original', $answer), $node->safe_psql('original', $answer), "$label: answers as the original");
	ok_exact($other, $label, 'original');
	ok_no_accidents($other);
	$other->stop;
}

ok_no_accidents($node);
$node->stop;
done_testing();
