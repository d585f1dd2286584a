# The triggers do not count rows that reach the table past them. check_totals() says which counts are off, and
# a backfill corrects them.

use strict;
use warnings;

use SiteStats;
use Test::More;

my $node = new_node('triggers_bypassed', allows_streaming => 'logical', wal_level => 'logical');
$node->start;
create_site($node, 'postgres', 0);
$node->safe_psql('postgres', q(
	INSERT INTO site_stats.page_views (path, session_id, viewed_at)
	SELECT '/p' || i % 7, 's' || i % 31, '2025-01-01 00:00:00+00'::timestamptz + i * interval '1 hour' FROM generate_series(1, 300) AS i;));
ok_exact($node, 'counted by triggers');

# The statements leave wrong counts, and a backfill corrects them.
sub ok_drifts_and_repairs
{
	my ($label, $statements, $database) = @_;
	$database //= 'postgres';
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$node->safe_psql($database, $statements) if $statements;
	cmp_ok(drift($node, $database), '>', 0, "$label: check_totals() reports the drift");
	like($node->safe_psql($database, 'SELECT site_stats.start_backfill()'), qr/^Backfill started/, "$label: start_backfill() starts");
	ok_until($node, "status = 'complete'", "$label: complete", $database);
	check_sound($node, "$label, repaired", $database);
	return;
}

my $writes = q(
	INSERT INTO site_stats.page_views (path, session_id) SELECT '/unseen', 'unseen' || i FROM generate_series(1, 5) AS i;
	UPDATE site_stats.page_views SET path = '/changed', session_id = 'changed', viewed_at = viewed_at + interval '3 days' WHERE id % 50 = 1;
	DELETE FROM site_stats.page_views WHERE id % 50 = 2;);

ok_drifts_and_repairs('session_replication_role = replica', "SET session_replication_role = replica; $writes");
ok_drifts_and_repairs('ALTER TABLE ... DISABLE TRIGGER',
	"ALTER TABLE site_stats.page_views DISABLE TRIGGER USER; $writes ALTER TABLE site_stats.page_views ENABLE TRIGGER USER;");
ok_drifts_and_repairs('ALTER TABLE ... TYPE ... USING',
	q(ALTER TABLE site_stats.page_views ALTER COLUMN session_id TYPE text COLLATE "C" USING CASE WHEN id % 5 = 0 THEN 'rewritten' ELSE session_id END;));
ok_drifts_and_repairs('TRUNCATE without triggers', 'SET session_replication_role = replica; TRUNCATE site_stats.page_views;' . $writes);

# Changes past the triggers during a run: it still reads the rows that lie ahead in its range, and no others.
$node->safe_psql('postgres', q(INSERT INTO site_stats.page_views (path, session_id) SELECT '/p' || i % 7, 's' || i % 31 FROM generate_series(1, 300) AS i;));
$node->safe_psql('postgres', "SELECT site_stats.begin_backfill(); SELECT site_stats.backfill_turn(100); SET session_replication_role = replica; $writes");
cmp_ok(drift($node), '>', 0, 'during a run: check_totals() reports the drift');
$node->safe_psql('postgres', 'CALL site_stats.backfill()');
cmp_ok(drift($node), '>', 0, 'during a run: it stays, since the run had passed those rows');
ok_drifts_and_repairs('during a run', '');

# check_totals() names exactly the counts that are off.
$node->safe_psql('postgres', q(SET session_replication_role = replica; INSERT INTO site_stats.page_views (path, session_id, viewed_at) VALUES ('/one', 'one', '2025-05-05 12:00:00+00')));
is($node->safe_psql('postgres', 'SELECT * FROM site_stats.check_totals()'),
	"daily_totals|2025-05-05 /one|0|1\npath_totals|/one|0|1\nsessions|one|0|1\nsite_totals.views||" . join("\nsite_totals.visitors||",
		map { $node->safe_psql('postgres', "SELECT $_ - 1 || '|' || $_ FROM (SELECT count(*), count(DISTINCT session_id) FROM site_stats.page_views) AS t (v, s)") } qw(v s)),
	'check_totals() names each counter that is off');
ok_drifts_and_repairs('one view', '');

# A logical subscriber: neither the first copy of the table nor the later changes fire statement triggers.
$node->safe_psql('postgres', 'CREATE DATABASE subscriber');
create_site($node, 'subscriber', 0);
$node->safe_psql('postgres', q(
	CREATE PUBLICATION views FOR TABLE site_stats.page_views;
	SELECT pg_create_logical_replication_slot('views', 'pgoutput');));
$node->safe_psql('subscriber', 'CREATE SUBSCRIPTION views CONNECTION \'' . ($node->connstr('postgres') =~ s{'}{''}gr) . '\' PUBLICATION views WITH (create_slot = false)');
$node->wait_for_subscription_sync($node, 'views', 'subscriber');
ok_drifts_and_repairs('subscriber, after the copy', '', 'subscriber');
$node->safe_psql('postgres', $writes);
$node->wait_for_catchup('views');
ok_exact($node, 'publisher');
ok_drifts_and_repairs('subscriber, after changes', '', 'subscriber');
is($node->safe_psql('subscriber', 'SELECT total_page_views, unique_visitors, total_paths FROM site_stats.get_stats()'),
	$node->safe_psql('postgres', 'SELECT total_page_views, unique_visitors, total_paths FROM site_stats.get_stats()'), 'subscriber: answers as the publisher');
$node->safe_psql('subscriber', 'DROP SUBSCRIPTION views');

ok_no_worker($node, 'at the end');
ok_no_accidents($node);
$node->stop;
done_testing();
