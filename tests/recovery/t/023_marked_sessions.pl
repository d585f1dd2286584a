# A batch marks the sessions that it finds, and later batches of the same process pass over them. They must
# not pass over changes by other transactions to such a session. Nor may they pass over a session whose mark
# was undone.

use strict;
use warnings;

use SiteStats;
use Test::More;

my $node = new_site('marked_sessions', 0);
require_fault_points($node);

# Two batches of ten. Sessions a, b and c are in both. The second batch writes session 0 first and z last.
my $history = q(
	SET session_replication_role = replica;
	INSERT INTO site_stats.page_views (id, path, page_type, session_id, viewed_at) OVERRIDING SYSTEM VALUE
	SELECT i, '/p' || i % 3, 'page', ('{a,b,b,c,d,e,f,g,h,i, a,b,c,j,k,l,m,n,0,z}'::text[])[i], '2025-01-01 00:00:00+00'::timestamptz + i * interval '1 hour'
	FROM generate_series(1, 20) AS i;
	SELECT setval(pg_get_serial_sequence('site_stats.page_views', 'id'), 20););

# Page views of some sessions in the session set, with a + after a count that is a lower bound.
sub sessions
{
	my ($ids) = @_;
	return $node->safe_psql('postgres', qq(
		SELECT string_agg(session_id || views || CASE WHEN is_lower_bound THEN '+' ELSE '' END, ' ' ORDER BY session_id)
		FROM site_stats.sessions WHERE session_id = ANY ('{$ids}')));
}

# Makes the history, and a worker that has done its first batch. In its second one it waits, again and again,
# for an open writer of the given session. Returns the writer's session of psql.
sub start_and_stop_at
{
	my ($label, $session_id) = @_;
	$node->safe_psql('postgres', 'TRUNCATE site_stats.page_views');
	$node->safe_psql('postgres', $history);
	$node->safe_psql('postgres', 'SELECT site_stats.begin_backfill()');
	$node->safe_psql('postgres', q(INSERT INTO site_stats.page_views (path, session_id) VALUES ('/live', 'f')));
	my $writer = $node->background_psql('postgres');
	$writer->query_safe(qq(BEGIN; INSERT INTO site_stats.page_views (path, session_id) VALUES ('/live', '$session_id');));
	$writer->query_safe('SELECT total_page_views FROM site_stats.get_stats()');
	$node->safe_psql('postgres', 'SELECT site_stats.start_backfill(10)');
	ok_until($node, "cursor = 10 AND last_error LIKE '%for a writer: %'", "$label: the worker waits for a writer of $session_id");
	is(sessions('a,b,c,e,f'), 'a1+ b2+ c1+ e1+ f2', "$label: marked, but for a session that was there before");
	ok_exact($node, $label);
	return $writer;
}

# Page views are deleted while the worker waits. It has marked no session in its second batch so far.
{
	my $label  = 'taken away';
	my $writer = start_and_stop_at($label, '0');
	$node->safe_psql('postgres', 'DELETE FROM site_stats.page_views WHERE id IN (1, 2)');
	is(sessions('a,b,c'), 'b1 c1+', "$label: a session whose views are taken away is counted");
	ok_exact($node, "$label, after a deletion");
	$writer->query_safe('COMMIT');
	$writer->quit;
	ok_until($node, "status = 'complete'", "$label: goes on when the writer ends");
	is(sessions('a,b,c'), 'a1+ b2 c1+', "$label: who has left comes back, who is counted goes on to be, who is marked is left alone");
	ok_exact($node, "$label, at the end");
}

# Batches are undone that had marked all sessions but the last one.
{
	my $label  = 'undone';
	my $writer = start_and_stop_at($label, 'z');
	$writer->query_safe('COMMIT');
	$writer->quit;
	ok_until($node, "status = 'complete'", "$label: goes on when the writer ends");
	is(sessions('a,b,c,j,k,n,z'), 'a1+ b2+ c1+ j1+ k1+ n1+ z2', "$label: they are marked in the end");
	ok_exact($node, "$label, at the end");
}

# Deletions after the run, also in a transaction that has counted page views of the session before.
{
	my $label = 'when all is counted';
	$node->safe_psql('postgres', 'DELETE FROM site_stats.page_views WHERE id = 4');
	is(sessions('c'), 'c1', "$label: one view is left");
	$node->safe_psql('postgres', 'DELETE FROM site_stats.page_views WHERE id = 13');
	is(sessions('c'), '', "$label: none is left");
	ok_exact($node, $label);

	my $counts = $node->safe_psql('postgres', q(
		BEGIN;
		INSERT INTO site_stats.page_views (path, session_id) VALUES ('/live', 'd'), ('/live', 'd');
		SELECT 'visitors ' || unique_visitors FROM site_stats.get_stats();
		DELETE FROM site_stats.page_views WHERE id = 5;
		SELECT 'visitors ' || unique_visitors FROM site_stats.get_stats();
		SAVEPOINT s;
		DELETE FROM site_stats.page_views WHERE session_id = 'd';
		SELECT 'visitors ' || unique_visitors FROM site_stats.get_stats();
		ROLLBACK TO s;
		DELETE FROM site_stats.page_views WHERE session_id = 'd' AND id = (SELECT max(id) FROM site_stats.page_views);
		COMMIT;));
	my ($before, $with, $without) = $counts =~ /visitors (\d+)/g;
	is($with,      $before,     "$label: a session that has views of this transaction stays");
	is($without,   $before - 1, "$label: without them it leaves");
	is(sessions('d'), 'd1',     "$label: one view of it is left in the end");
	ok_exact($node, "$label, several flushes");
}

# The oracle finds a lower bound that is too low, and one that is too high.
{
	my $label = 'the oracle';
	for my $views (0, 2)
	{
		my $found = $node->safe_psql('postgres', qq(
			BEGIN;
			UPDATE site_stats.sessions SET views = $views WHERE session_id = 'e' AND is_lower_bound;
			SELECT 'found', c.* FROM site_stats.check_totals() AS c;
			ROLLBACK;));
		is($found, "found|sessions|e|$views|1", "$label: $views in place of at least 1");
	}
}

# A transaction that deletes a page view of a marked session waits for a batch that passes over the session.
# It does so whatever the id of that page view, since it could not count a page view that is about to be
# counted. A transaction that adds one does not wait.
{
	my ($label, $position) = ('within a batch', log_position($node));
	$node->safe_psql('postgres', 'TRUNCATE site_stats.page_views');
	$node->safe_psql('postgres', $history);
	set_fault($node, 'counted:wait:2');
	$node->safe_psql('postgres', 'SELECT site_stats.start_backfill(10)');
	ok_at_fault($node, $label, $position);
	ok_state($node, 'cursor', '10', "$label: the second one");
	$node->safe_psql('postgres', q(INSERT INTO site_stats.page_views (path, session_id) VALUES ('/live', 'c')));
	is(sessions('c'), 'c2+', "$label: a view is added");
	my $writer = $node->background_psql('postgres');
	$writer->query_until(qr/begun/, "\\echo begun\nDELETE FROM site_stats.page_views WHERE id > 20 AND session_id = 'c';\n");
	ok_until($node, q(SELECT count(*) = 1 FROM pg_stat_activity
		WHERE query LIKE 'DELETE%' AND wait_event = 'advisory' AND pg_blocking_pids(pid) = ARRAY(SELECT worker_pid FROM site_stats.backfill_progress)),
		"$label: a deletion waits for it");
	is(sessions('c'), 'c2+', "$label: and has written nothing");
	clear_fault($node);
	$node->safe_psql('postgres', 'SELECT pg_cancel_backend((SELECT worker_pid FROM site_stats.backfill_progress))');
	$writer->quit;
	ok_until($node, "status = 'complete'", "$label: goes on to the end");
	like(sessions('c'), qr/^c2\+?$/, "$label: the session has the views that are left");
	ok_exact($node, $label);
}

ok_no_worker($node, 'at the end');
ok_no_accidents($node);
$node->stop;
done_testing();
