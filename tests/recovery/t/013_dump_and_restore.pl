# pg_dump carries the page views, their sequence, the titles and the refusals. The restored database counts the page views
# while they are loaded. The copy answers as the original does: before a backfill, during one, and after one.

use strict;
use warnings;

use SiteStats;
use PostgreSQL::Test::Utils;
use Test::More;

my $node  = new_node('dump_and_restore');
my $files = PostgreSQL::Test::Utils::tempdir();
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE original');
create_site($node, 'original', 800);
$node->safe_psql('original', q(
	INSERT INTO site_stats.content (path, title, page_type) VALUES ('/p1', 'The first page', 'blog'), ('/p2', 'The second page', 'page');
	INSERT INTO site_stats.refusal_totals (site_id, day, reason, slot, refusals) VALUES (1, '2026-01-01', 'bot', 0, 5), (1, '2026-01-01', 'bot', 3, 1);
	SELECT site_stats.heartbeat('visitor', '/p1');));

my $answer = q(
	SELECT total_page_views, unique_visitors, total_paths, published_posts, published_pages, tracking_since, page_stats,
		(SELECT string_agg((d)::text, ' ') FROM site_stats.views_by_day() AS d),
		(SELECT string_agg((r)::text, ' ') FROM site_stats.refusals() AS r)
	FROM site_stats.get_stats());

# Runs a program against the server.
sub run_ok
{
	my ($label, @command) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return $node->command_ok(\@command, $label);
}

# The copy answers as the original does, and works on.
sub ok_copy
{
	my ($label, $copy) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($node->safe_psql($copy, $answer), $node->safe_psql('original', $answer), "$label: answers as the original");
	ok_exact($node, "$label: restored", $copy);
	is(progress($node, 'status', $copy), 'idle', "$label: no backfill is under way in the copy");
	my ($next, $last) = split /\|/, $node->safe_psql($copy, q(
		WITH added AS (INSERT INTO site_stats.page_views (path, session_id) VALUES ('/copy', 'copy') RETURNING id)
		SELECT (SELECT id FROM added), (SELECT max(id) FROM site_stats.page_views);));
	cmp_ok($next, '>', $last, "$label: the next id is new");
	$node->safe_psql($copy, q(
		UPDATE site_stats.page_views SET path = '/copied' WHERE id % 7 = 0;
		DELETE FROM site_stats.page_views WHERE id % 11 = 0;
		SELECT site_stats.record_page_view('/copy', 'page', 'another');));
	ok_exact($node, "$label: written to", $copy);
	like($node->safe_psql($copy, 'SELECT site_stats.start_backfill()'), qr/^Backfill started/, "$label: a backfill starts");
	ok_until($node, "status = 'complete'", "$label: and ends", $copy);
	check_sound($node, "$label: after a backfill of the copy", $copy);
	ok_no_worker($node, $label);
	$node->safe_psql('postgres', "DROP DATABASE $copy");
	return;
}

my @stages = (
	[ 'before a backfill', '' ],
	[ 'during a backfill', q(
		SELECT site_stats.begin_backfill();
		SELECT site_stats.backfill_turn(300);
		INSERT INTO site_stats.page_views (path, session_id) SELECT '/late', 's' || i FROM generate_series(1, 30) AS i;
		DELETE FROM site_stats.page_views WHERE id IN (10, 20, 700, 820);
		UPDATE site_stats.page_views SET session_id = 'moved' WHERE id IN (30, 40, 710, 825);) ],
	[ 'after a backfill', 'CALL site_stats.backfill();' ]);

for my $stage (@stages)
{
	my ($when, $prepare) = @$stage;
	$node->safe_psql('original', $prepare);
	# Before any backfill the original has counted none of its history, so only its copies can be exact.
	is(drift($node, 'original') > 0 ? 'drift' : 'none', $when =~ /^before/ ? 'drift' : 'none', "$when: what the original's check says");
	if ($when =~ /^before/)
	{
		$node->safe_psql('postgres', 'CREATE DATABASE counted TEMPLATE original');
		$node->safe_psql('counted', 'CALL site_stats.backfill()');
	}

	run_ok("$when: pg_dump, plain", 'pg_dump', '-f', "$files/plain.sql", 'original');
	$node->safe_psql('postgres', 'CREATE DATABASE plain');
	run_ok("$when: restored by psql", 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-o', "$files/output", '-f', "$files/plain.sql", 'plain');
	run_ok("$when: pg_dump, custom format", 'pg_dump', '-Fc', '-f', "$files/custom.dump", 'original');
	$node->safe_psql('postgres', 'CREATE DATABASE custom');
	run_ok("$when: restored by pg_restore -j 4", 'pg_restore', '--exit-on-error', '-j', 4, '-d', 'custom', "$files/custom.dump");
	if ($when =~ /^before/)
	{
		$node->safe_psql('postgres', 'DROP DATABASE original');
		$node->safe_psql('postgres', 'ALTER DATABASE counted RENAME TO original');
	}
	ok_copy("$when, plain", 'plain');
	ok_copy("$when, custom format", 'custom');
}

# A worker in the middle of a run does not block a dump, and the dump does not block the worker.
{
	my $label = 'while a worker runs';
	$node->safe_psql('original', "LOAD 'site_stats'; ALTER DATABASE original SET site_stats.backfill_batch_delay = '20ms'; ALTER DATABASE original SET site_stats.backfill_batch_size = 5;");
	$node->safe_psql('original', 'SELECT site_stats.start_backfill()');
	ok_until($node, "status = 'running' AND cursor > 0", "$label: under way", 'original');
	run_ok("$label: pg_dump, directory format, two jobs", 'pg_dump', '-Fd', '-j', 2, '-f', "$files/directory", 'original');
	is(progress($node, 'status', 'original'), 'running', "$label: still under way");
	$node->safe_psql('postgres', 'CREATE DATABASE directory');
	run_ok("$label: restored by pg_restore -j 4", 'pg_restore', '--exit-on-error', '-j', 4, '-d', 'directory', "$files/directory");
	ok_until($node, "status = 'complete'", "$label: complete", 'original');
	ok_copy("$label", 'directory');
}

# Page views that were loaded past the triggers are found, and a backfill counts them.
{
	my $label = 'data only, --disable-triggers';
	run_ok("$label: pg_dump", 'pg_dump', '-Fc', '--data-only', '-f', "$files/data.dump", 'original');
	$node->safe_psql('postgres', 'CREATE DATABASE data_only');
	create_site($node, 'data_only', 0);
	run_ok("$label: pg_restore", 'pg_restore', '--exit-on-error', '--data-only', '--disable-triggers', '-d', 'data_only', "$files/data.dump");
	cmp_ok(drift($node, 'data_only'), '>', 0, "$label: check_totals() reports the drift");
	like($node->safe_psql('data_only', 'SELECT site_stats.start_backfill()'), qr/^Backfill started/, "$label: start_backfill() repairs");
	ok_until($node, "status = 'complete'", "$label: complete", 'data_only');
	is($node->safe_psql('data_only', $answer), $node->safe_psql('original', $answer), "$label: answers as the original");
	check_sound($node, $label, 'data_only');
}

ok_no_accidents($node);
$node->stop;
done_testing();
