# With wal_level = logical each change of a row of counters is one change in the log: no insertion of a key that is there, with
# its removal. So a subscriber of all tables follows. A subscriber whose triggers are enabled for it refuses.

use strict;
use warnings;

use SiteStats;
use Test::More;

my $node = new_node('logical_decoding', allows_streaming => 'logical', wal_level => 'logical', max_replication_slots => 10, max_logical_replication_workers => 8, max_worker_processes => 16);
$node->start;
my $connection = $node->connstr('postgres') =~ s/dbname=\S+//r =~ s/'//gr;

# A row of every kind is there, of this epoch and of an older one.
sub create_history
{
	my ($database) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	create_site($node, $database, 0);
	$node->safe_psql($database, q(
		INSERT INTO site_stats.page_views (path, session_id, viewed_at)
		SELECT '/p' || i % 7, 's' || i % 31, '2026-01-01 00:00:00+00'::timestamptz + i * interval '1 hour' FROM generate_series(1, 300) AS i;
		CALL site_stats.backfill();
		INSERT INTO site_stats.page_views (path, session_id, viewed_at) VALUES ('/p1', 'new', '2026-02-01 10:00+00'), ('/p1', 'new', '2026-01-05 10:00+00');));
	return;
}

# What is decoded: for each transaction and row the kinds of its changes. A row of counters is named by its primary key.
sub decoded_twice
{
	my ($database, $slot) = @_;
	my (%changes, $xid);
	for (split /\n/, $node->safe_psql($database, "SELECT data FROM pg_logical_slot_get_changes('$slot', NULL, NULL)"))
	{
		$xid = $1 if /^BEGIN (\d+)/;
		next unless /^table site_stats\.(path_totals|daily_totals|site_totals|sessions|backfill_state): (INSERT|UPDATE|DELETE): (.*)/;
		my ($table, $kind, $row) = ($1, $2, $3);
		my %keys = (path_totals => 'path slot', daily_totals => 'day path slot', site_totals => 'slot', sessions => 'session_id', backfill_state => 'singleton');
		$row =~ s/^old-key: .*new-tuple: //;
		my $key = join ' ', map { $row =~ /(?:^| )\Q$_\E\[[^\]]*\]:('(?:[^']|'')*'|\S+)/ ? $1 : die "no $_ in: $row" } split / /, $keys{$table};
		$changes{"$xid $table $key"} .= "$kind ";
	}
	# A row may be deleted after it was there, and inserted when it was not: both in one transaction come from a key that was there.
	return [ scalar(keys %changes), join("\n", map { "$_: $changes{$_}" } grep { $changes{$_} =~ /INSERT DELETE/ } sort keys %changes) ];
}

sub ok_decoded
{
	my ($database, $label, $sql) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$node->safe_psql($database, "SELECT pg_create_logical_replication_slot('look', 'test_decoding')");
	$node->safe_psql($database, $sql);
	my ($rows, $twice) = @{ decoded_twice($database, 'look') };
	cmp_ok($rows, '>', 0, "$label: changes are decoded");
	is($twice, '', "$label: no row is inserted and deleted");
	$node->safe_psql($database, "SELECT pg_drop_replication_slot('look')");
	return;
}

create_history('publisher');
ok_decoded('publisher', 'page views of old days', q(
	INSERT INTO site_stats.page_views (path, session_id, viewed_at) VALUES ('/p1', 'v1', '2026-01-05 11:00+00');
	INSERT INTO site_stats.page_views (path, session_id, viewed_at)
	SELECT '/p' || i % 7, 's' || i % 40, '2026-01-01 00:00:00+00'::timestamptz + i * interval '1 hour' FROM generate_series(1, 200) AS i;));
ok_decoded('publisher', 'one by one', join '', map { "INSERT INTO site_stats.page_views (path, session_id, viewed_at) VALUES ('/p1', 'v1', '2026-01-0$_ 11:00+00');" } 1 .. 9);
ok_decoded('publisher', 'changes', q(
	UPDATE site_stats.page_views SET path = '/p2', session_id = 's1' WHERE session_id = 's3';
	DELETE FROM site_stats.page_views WHERE session_id = 's4';
	BEGIN; INSERT INTO site_stats.page_views (path, session_id) VALUES ('/p1', 'gone'); DELETE FROM site_stats.page_views WHERE session_id = 'gone'; COMMIT;));
ok_decoded('publisher', 'record_page_view()', q(SELECT site_stats.record_page_view('/p' || i % 7, 'page', 's' || i % 40) FROM generate_series(1, 100) AS i));
ok_decoded('publisher', 'CALL backfill()', 'CALL site_stats.backfill(50)');
ok_decoded('publisher', 'a backfill by a worker', q(SELECT site_stats.start_backfill(50); CALL site_stats.await_backfill()));
ok_decoded('publisher', 'folding', q(BEGIN; INSERT INTO site_stats.page_views (path, session_id) VALUES ('/p1', 's1'); SELECT site_stats.fold_totals(); COMMIT));
ok_exact($node, 'publisher', 'publisher');

# A subscriber of all tables, which began with a copy of the database, follows.
my $tables = q(
	SELECT md5(string_agg(line, E'\n' ORDER BY line COLLATE "C")) FROM (
		SELECT t::text AS line FROM site_stats.path_totals AS t
		UNION ALL SELECT t::text FROM site_stats.daily_totals AS t
		UNION ALL SELECT t::text FROM site_stats.site_totals AS t
		UNION ALL SELECT t::text FROM site_stats.sessions AS t
		UNION ALL SELECT t::text FROM site_stats.backfill_state AS t
		UNION ALL SELECT t::text FROM site_stats.page_views AS t) AS t);
{
	my $label = 'subscriber of all tables';
	$node->safe_psql('publisher', q(CREATE PUBLICATION everything FOR ALL TABLES; SELECT pg_create_logical_replication_slot('everything', 'pgoutput')));
	ok_no_worker($node, $label);
	$node->safe_psql('postgres', 'CREATE DATABASE subscriber TEMPLATE publisher');
	$node->safe_psql('subscriber', "CREATE SUBSCRIPTION everything CONNECTION '$connection dbname=publisher' PUBLICATION everything WITH (create_slot = false, copy_data = false)");
	my $follows = sub {
		my ($what, $sql) = @_;
		my $position = log_position($node);
		$node->safe_psql('publisher', $sql);
		$node->wait_for_catchup('everything');
		is($node->safe_psql('subscriber', $tables), $node->safe_psql('publisher', $tables), "$label: $what: the same rows");
		ok_exact($node, "$label: $what", 'subscriber');
		is(count_lines($node, 'logical replication .*(exited|conflict)|duplicate key', $position), 0, "$label: $what: no error");
	};
	$follows->('a page view of an old day', q(INSERT INTO site_stats.page_views (path, session_id, viewed_at) VALUES ('/p1', 'v3', '2026-01-05 11:00+00')));
	$follows->('changes', q(
		UPDATE site_stats.page_views SET path = '/p3', session_id = 's1' WHERE session_id = 's5';
		DELETE FROM site_stats.page_views WHERE session_id IN ('s6', 'v3');
		SELECT site_stats.record_page_view('/p' || i % 7, 'page', 's' || i % 40) FROM generate_series(1, 100) AS i;));
	$follows->('a backfill', 'CALL site_stats.backfill(50)');
	# The spans are those of the publisher: a turn leaves them alone.
	$follows->('spans', 'CALL site_stats.write_spans()');
	$node->safe_psql('publisher', q(INSERT INTO site_stats.page_views (path, session_id) VALUES ('/span', 's1')));
	$node->wait_for_catchup('everything');
	$node->safe_psql('subscriber', 'CALL site_stats.write_spans()');
	$follows->('spans after a turn of the subscriber', q(CALL site_stats.write_spans(); DELETE FROM site_stats.page_views WHERE session_id = 's7'; CALL site_stats.write_spans()));
	is($node->safe_psql('subscriber', 'SELECT views FROM site_stats.summary(NULL, NULL)'), $node->safe_psql('publisher', 'SELECT count(*) FROM site_stats.page_views'), "$label: its reports are exact");
	$node->safe_psql('subscriber', 'DROP SUBSCRIPTION everything');
}

# With the first copy, the state row of the subscriber is in the way; without that row all of it is copied.
{
	my $label = 'first copy of all tables';
	$node->safe_psql('publisher', q(SELECT pg_create_logical_replication_slot('copied', 'pgoutput')));
	$node->safe_psql('postgres', 'CREATE DATABASE copied');
	create_site($node, 'copied', 0);
	$node->safe_psql('copied', q(TRUNCATE site_stats.backfill_state, site_stats.span_state, site_stats.path_totals, site_stats.daily_totals, site_stats.site_totals, site_stats.sessions));
	$node->safe_psql('copied', "CREATE SUBSCRIPTION copied CONNECTION '$connection dbname=publisher' PUBLICATION everything WITH (create_slot = false)");
	$node->wait_for_subscription_sync($node, 'copied', 'copied');
	is($node->safe_psql('copied', $tables), $node->safe_psql('publisher', $tables), "$label: the same rows");
	ok_exact($node, $label, 'copied');
	$node->safe_psql('copied', 'DROP SUBSCRIPTION copied');
}

# Triggers that are enabled for a subscriber: it stops with a clear error, before it counts wrongly.
{
	my $label = 'ENABLE ALWAYS';
	for my $enabled (qw(ALWAYS REPLICA))
	{
		my $name = lc "enabled_$enabled";
		$node->safe_psql('publisher', "CREATE PUBLICATION $name FOR TABLE site_stats.page_views; SELECT pg_create_logical_replication_slot('$name', 'pgoutput')");
		$node->safe_psql('postgres', "CREATE DATABASE $name");
		create_site($node, $name, 0);
		$node->safe_psql($name, "ALTER TABLE site_stats.page_views ENABLE $enabled TRIGGER page_views_$_") for qw(insert update delete truncate);
		my $position = log_position($node);
		$node->safe_psql($name, "CREATE SUBSCRIPTION $name CONNECTION '$connection dbname=publisher' PUBLICATION $name WITH (create_slot = false)");
		ok(eval { $node->wait_for_log(qr/0A000 .*ERROR:  page views that arrive by logical replication cannot be counted by triggers/, $position) }, "ENABLE $enabled: the first copy is refused");
		is($node->safe_psql($name, 'SELECT count(*) FROM site_stats.page_views'), '0', "ENABLE $enabled: nothing is copied");
		$node->safe_psql($name, "ALTER TABLE site_stats.page_views ENABLE TRIGGER page_views_$_") for qw(insert update delete truncate);
		$node->wait_for_subscription_sync($node, $name, $name);
		$node->safe_psql($name, 'SELECT site_stats.start_backfill(); CALL site_stats.await_backfill()');
		ok_exact($node, "ENABLE $enabled, then as before", $name);
		$node->safe_psql($name, "DROP SUBSCRIPTION $name");
	}
}

# A TRUNCATE that arrives at such a subscriber after the copy is refused, too.
{
	my $label = 'TRUNCATE';
	$node->safe_psql('publisher', q(CREATE PUBLICATION truncated FOR TABLE site_stats.page_views; SELECT pg_create_logical_replication_slot('truncated', 'pgoutput')));
	$node->safe_psql('postgres', 'CREATE DATABASE truncated');
	create_site($node, 'truncated', 0);
	$node->safe_psql('truncated', "CREATE SUBSCRIPTION truncated CONNECTION '$connection dbname=publisher' PUBLICATION truncated WITH (create_slot = false)");
	$node->wait_for_subscription_sync($node, 'truncated', 'truncated');
	$node->safe_psql('truncated', 'CALL site_stats.backfill(); ALTER TABLE site_stats.page_views ENABLE ALWAYS TRIGGER page_views_truncate');
	my $position = log_position($node);
	$node->safe_psql('publisher', 'TRUNCATE site_stats.page_views');
	ok(eval { $node->wait_for_log(qr/0A000 .*ERROR:  page views that arrive by logical replication cannot be counted by triggers/, $position) }, "$label: refused");
	ok_exact($node, "$label, refused", 'truncated');
	$node->safe_psql('truncated', 'ALTER TABLE site_stats.page_views ENABLE TRIGGER page_views_truncate');
	$node->wait_for_catchup('truncated');
	$node->safe_psql('truncated', 'SELECT site_stats.start_backfill(); CALL site_stats.await_backfill()');
	ok_exact($node, "$label, then as before", 'truncated');
	$node->safe_psql('truncated', 'DROP SUBSCRIPTION truncated');
}

ok_no_worker($node, 'at the end');
ok_no_accidents($node);
$node->stop;
done_testing();
