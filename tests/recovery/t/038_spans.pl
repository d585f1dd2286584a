# Reports are exact whatever happens to spans: turns that are killed, damaged rows, rows of another format, another setting,
# tables that are emptied, dumped, restored, published, updated from the last version, or in another encoding. A standby answers
# from them. The launcher's worker writes them, and one that a report starts.

use strict;
use warnings;

use File::Basename;
use SiteStats;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $reports = dirname(__FILE__) . '/../../reports';
my $oracle  = slurp_file("$reports/oracle.sql") . slurp_file("$reports/compare.sql");
my $write   = 'CALL site_stats.write_spans()';
my $files   = PostgreSQL::Test::Utils::tempdir();

my $node = new_node('spans', allows_streaming => 'logical', shared_buffers => "'128MB'", max_wal_senders => 5);
$node->start;

# Visits of some views, counted as they come in.
sub visits
{
	my ($first, $last) = @_;
	return qq(
		INSERT INTO site_stats.page_views (path, page_type, session_id, viewed_at)
		SELECT '/p' || i * 7919 % 53, 'page', 's' || n * 104729 % 997, '2026-01-01 00:00:00+00'::timestamptz + n * 7211 % 57600 * interval '1 min' + i % 4 * interval '10 min'
		FROM (SELECT i, i / 4 AS n FROM generate_series(${first}::bigint, $last) AS i) AS v;);
}

# A database with the extension, the oracle and some page views, of which all but the last ones are in spans.
sub create_database
{
	my ($database, $options) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $database " . ($options // ''));
	create_site($node, $database, 0);
	$node->safe_psql($database, $oracle);
	$node->safe_psql($database, visits(1, 2000) . $write);
	$node->safe_psql($database, visits(2001, 2100));
	return;
}

# The differences between reports and the oracle, and those that check_totals() finds.
sub differences
{
	my ($server, $database, $before) = @_;
	return $server->safe_psql($database, ($before // '') . 'SELECT * FROM test.compare(1, 25); SELECT * FROM site_stats.check_totals()');
}

sub ok_reports
{
	my ($label, $database, $before) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(differences($node, $database, $before), '', "$label: reports are exact");
}

# All page views are in spans.
my $is_written = q(SELECT s.cursor > 0 AND s.cursor = (SELECT max(v.id) FROM site_stats.page_views AS v) AND NOT EXISTS (SELECT FROM site_stats.loose_sessions) FROM site_stats.span_state AS s);

sub ok_written
{
	my ($label, $database) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($node->safe_psql($database, $is_written), 't', "$label: all is in spans");
	return ok_reports($label, $database);
}

# ---- a turn is killed --------------------------------------------------------------------------------------

{
	my $direct = q(SELECT (s.views, s.visitors, s.entries) = (SELECT count(*), count(DISTINCT v.session_id), s.visits FROM site_stats.page_views AS v)
		AND NOT EXISTS (SELECT FROM site_stats.check_totals()) FROM site_stats.summary(NULL, NULL) AS s);
	create_site($node, 'postgres', 0);
	my $last   = 0;
	my $cursor = 'SELECT s.cursor FROM site_stats.span_state AS s';
	for my $victim ('the server', 'the process', 'the server')
	{
		$node->safe_psql('postgres', visits($last + 1, $last += 150_000));
		my $before = $node->safe_psql('postgres', $cursor);
		my $session = $node->background_psql('postgres', on_error_stop => 0);
		my $pid = $session->query('SELECT pg_backend_pid()');
		$session->{stdin} .= "$write;\n";
		$session->{run}->pump_nb();
		$node->safe_psql('postgres', "DO 'BEGIN WHILE ($cursor) <= $before LOOP PERFORM pg_sleep(0.01); END LOOP; END'");
		if ($victim eq 'the server') { kill_server($node); start_again($node) }
		else
		{
			kill 'KILL', $pid;
			$node->poll_query_until('postgres', 'SELECT true');
		}
		eval { $session->{run}->kill_kill };
		$node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)");
		my $after = $node->safe_psql('postgres', $cursor);
		cmp_ok($after, '>', $before, "$victim is killed: what was written stays");
		note("the cursor is at $after of $last");
		is($node->safe_psql('postgres', $direct), 't', "$victim is killed: reports are exact");
		$node->safe_psql('postgres', 'DELETE FROM site_stats.page_views WHERE id % 1000 = 7');
	}
	$node->safe_psql('postgres', $write);
	is($node->safe_psql('postgres', $is_written), 't', 'after that: all is in spans');
	is($node->safe_psql('postgres', $direct), 't', 'after that: reports are exact');
}

# ---- a span is damaged, or of another version --------------------------------------------------------------

# A report with damage warns, is right, and starts a worker that makes the spans anew. The first one is damaged, which no turn reads.
{
	for my $column (qw(run_column time_column page_column kind_column hash_column divided_column))
	{
		my $label = "$column is damaged";
		$node->safe_psql('postgres', "UPDATE site_stats.spans SET $column = set_byte($column, length($column) - 9, get_byte($column, length($column) - 9) # 16) WHERE id = (SELECT min(s.id) FROM site_stats.spans AS s)");
		if ($column ne 'hash_column') # which a report reads only with loose sessions
		{
			my $by = $column eq 'kind_column' ? 'page_type' : 'path';
			my ($status, $output, $errors) = $node->psql('postgres', "SELECT sum(b.views) = (SELECT count(*) FROM site_stats.page_views) FROM site_stats.breakdown('$by', NULL, NULL, max_rows => 1000) AS b");
			is($output, 't', "$label: a report is right");
			like($errors, qr/WARNING:  site_stats: a span cannot be read/, "$label: it says so");
			ok($node->poll_query_until('postgres', q(SELECT NOT EXISTS (SELECT FROM site_stats.check_totals())) . " AND ($is_written)"), "$label: a worker makes the spans anew");
		}
		$node->safe_psql('postgres', $write);
		is($node->safe_psql('postgres', 'SELECT count(*) FROM site_stats.check_totals()'), 0, "$label: spans are sound again");
	}
}

create_database('versions');
for my $newer ('spans SET format = format + 1', 'span_state SET format = format + 1')
{
	$node->safe_psql('versions', "UPDATE site_stats.$newer");
	ok_reports("UPDATE $newer", 'versions');
	$node->safe_psql('versions', $write);
	ok_written("UPDATE $newer, and spans are written", 'versions');
}

# ---- settings, and what the owner does ---------------------------------------------------------------------

{
	my $timeout = q(SET site_stats.visit_timeout = '10min'; );
	ok_reports('a session with another visit_timeout', 'versions', $timeout);
	$node->safe_psql('versions', "$timeout $write");
	ok_reports('spans of a session with another visit_timeout', 'versions', $timeout);
	ok_reports('a session beside it', 'versions');
	$node->safe_psql('versions', "LOAD 'site_stats'; ALTER DATABASE versions SET site_stats.visit_timeout = '10min'");
	ok_reports('visit_timeout is changed', 'versions');
	$node->safe_psql('versions', $write);
	ok_written('visit_timeout is changed, and spans are written', 'versions');

	$node->safe_psql('versions', 'DELETE FROM site_stats.span_state');
	ok_reports('without the state row', 'versions');
	$node->safe_psql('versions', 'DELETE FROM site_stats.page_views WHERE id % 50 = 3');
	$node->safe_psql('versions', $write);
	ok_written('without the state row, and spans are written', 'versions');

	$node->safe_psql('versions', 'DROP INDEX site_stats.page_views_session_id_viewed_at_idx');
	ok_reports('without the index by session', 'versions');
	$node->safe_psql('versions', 'DELETE FROM site_stats.page_views WHERE id % 50 = 5; ' . visits(2101, 2150) . $write);
	ok_reports('without the index by session, and spans are written', 'versions');
	$node->safe_psql('versions', 'CREATE INDEX ON site_stats.page_views (session_id, viewed_at)');
	ok_reports('with the index again', 'versions');
	$node->safe_psql('versions', $write);
	ok_written('with the index again, and spans are written', 'versions');

	$node->safe_psql('versions', 'CREATE PUBLICATION everything FOR ALL TABLES; DELETE FROM site_stats.page_views WHERE id % 50 = 7; ' . $write);
	ok_written('all tables are published', 'versions');
	$node->safe_psql('versions', q(SELECT site_stats.forget_session('s9'); TRUNCATE site_stats.page_views));
	ok_reports('TRUNCATE', 'versions');
	$node->safe_psql('versions', visits(1, 100) . $write);
	ok_written('after TRUNCATE', 'versions');
}

# A session that a cursor holds a page for keeps VACUUM waiting, and VACUUM no turn.
{
	my $reader = $node->background_psql('versions');
	$reader->query_safe('BEGIN; DECLARE c CURSOR FOR SELECT * FROM site_stats.page_views; FETCH 1 FROM c');
	$node->safe_psql('versions', 'DELETE FROM site_stats.page_views WHERE id % 3 = 0; INSERT INTO site_stats.page_views (path, session_id) VALUES (\'/new\', \'new\')');
	my $vacuum = $node->background_psql('versions');
	$vacuum->{stdin} .= "VACUUM (FREEZE) site_stats.page_views;\n";
	$vacuum->{run}->pump_nb();
	ok_until($node, q(SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'BufferPin')), 'VACUUM waits', 'versions');
	$node->safe_psql('versions', "SET statement_timeout = '5s'; $write");
	ok_until($node, q(SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'BufferPin')), 'VACUUM still waits', 'versions');
	ok_written('beside VACUUM', 'versions');
	$reader->query_safe('COMMIT');
	$vacuum->query_safe('SELECT 1');
	$_->quit for $reader, $vacuum;
}

# DROP EXTENSION while spans are written.
{
	create_database('dropped');
	$node->safe_psql('dropped', visits(1, 100_000));
	my $session = $node->background_psql('dropped', on_error_stop => 0);
	my $pid = $session->query('SELECT pg_backend_pid()');
	$session->{stdin} .= "$write;\n";
	$session->{run}->pump_nb();
	ok_until($node, "SELECT query = '$write;' AND state = 'active' FROM pg_stat_activity WHERE pid = $pid", 'spans are written');
	$node->safe_psql('dropped', 'DROP EXTENSION site_stats CASCADE');
	$session->query('SELECT 1');
	is($session->query("SELECT 'alive'"), 'alive', 'DROP EXTENSION: the session that has written spans lives on');
	$session->quit;
	$node->safe_psql('dropped', 'DROP SCHEMA test CASCADE');
	create_site($node, 'dropped', 0);
	$node->safe_psql('dropped', $oracle . visits(1, 300) . $write);
	ok_written('CREATE EXTENSION after that', 'dropped');
}

# ---- dumps, updates and encodings --------------------------------------------------------------------------

create_database('original');
$node->safe_psql('original', q(UPDATE site_stats.page_views SET viewed_at = viewed_at + interval '1 h' WHERE id % 100 = 3));
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->command_ok([ 'pg_dump', '-d', $node->connstr('original'), '-N', 'test', '-f', "$files/dump.sql" ], 'pg_dump');
$node->safe_psql('copy', slurp_file("$files/dump.sql"));
is($node->safe_psql('copy', 'SELECT count(*) FROM site_stats.spans'), 0, 'a dump has no spans');
$node->safe_psql('copy', "SET search_path = ''; $oracle");
ok_reports('restored', 'copy');
$node->safe_psql('copy', $write);
ok_written('restored, and spans are written', 'copy');

{
	$node->safe_psql('postgres', 'CREATE DATABASE updated');
	$node->safe_psql('updated', q(CREATE EXTENSION site_stats VERSION '0.2.0'));
	$node->safe_psql('updated', visits(1, 2000));
	my $old = $node->background_psql('updated');
	$old->query_safe(q(INSERT INTO site_stats.page_views (path, session_id) VALUES ('/old', 'old')));
	$node->safe_psql('updated', 'ALTER EXTENSION site_stats UPDATE');
	$node->safe_psql('updated', $oracle);
	ok_reports('updated', 'updated');
	$node->safe_psql('updated', $write);
	ok_written('updated, and spans are written', 'updated');
	$old->query_safe(q(INSERT INTO site_stats.page_views (path, session_id, viewed_at) VALUES ('/old', 's1', '2026-01-01 00:00+00'); DELETE FROM site_stats.page_views WHERE id % 100 = 3));
	$old->quit;
	ok_reports('written to by a session from before', 'updated');
	$node->safe_psql('updated', $write);
	ok_written('written to by a session from before, and spans are written', 'updated');
}

for my $encoding ('EUC_JP', 'LATIN1')
{
	my $database = lc $encoding;
	my ($one, $other) = $encoding eq 'EUC_JP' ? ("/\xe6\x97\xa5\xe6\x9c\xac", "/\xe6\x97\xa5\xe4\xb8\x80") : ("/caf\xc3\xa9", "/caf\xc3\xa8");
	create_database($database, "TEMPLATE template0 ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C'");
	local $ENV{PGCLIENTENCODING} = 'UTF8';
	my $views = sub { return qq(INSERT INTO site_stats.page_views (path, page_type, session_id, viewed_at) VALUES
		('$one', '$one', '$_[0]', '2026-02-01 10:00+00'), ('$other', 'page', '$_[0]', '2026-02-01 10:10+00'), ('$one', '$other', '$_[0]$one', '2026-02-01 10:20+00');) };
	$node->safe_psql($database, $views->('a') . $write . ';' . $views->('b'));
	ok_reports($encoding, $database);
	my $prefix = substr $one, 0, 4;
	is($node->safe_psql($database, qq(SELECT b.value, b.views FROM site_stats.breakdown('path', NULL, NULL, '{"path": {"like": "$prefix%"}, "entry_path": "$one"}') AS b)),
		"$one|4\n$other|2", "$encoding: filters and values");
	is($node->safe_psql($database, qq(SELECT s.views FROM site_stats.summary(NULL, NULL, '{"page_type": ["$other"], "path": {"not": "$other"}}') AS s)), 2, "$encoding: another filter");
}

# ---- texts that nobody needs any more ----------------------------------------------------------------------

{
	my $left = q(SELECT string_agg(t.value, ' ' ORDER BY t.value) FROM site_stats.span_texts AS t WHERE t.value NOT LIKE '/p%');
	create_database('texts');
	$node->safe_psql('texts', qq(
		INSERT INTO site_stats.page_views (path, page_type, session_id, viewed_at) VALUES
			('/secret', 'private', 'person', '2026-02-01 10:00+00'), ('/shared', 'page', 'person', '2026-02-01 10:10+00'), ('/shared', 'page', 'another', '2026-02-01 10:10+00'),
			('/moved', 'page', 'third', '2026-02-01 10:20+00');
		$write;));
	is($node->safe_psql('texts', $left), '/moved /secret /shared page private', 'texts are there');
	$node->safe_psql('texts', q(SELECT site_stats.forget_session('person'); UPDATE site_stats.page_views SET path = '/elsewhere' WHERE path = '/moved'));
	ok_reports('a visitor is forgotten', 'texts');
	$node->safe_psql('texts', $write);
	is($node->safe_psql('texts', $left), '/elsewhere /shared page', 'texts that no page view has are gone after the next turns');
	ok_written('texts are gone', 'texts');
	$node->safe_psql('texts', q(INSERT INTO site_stats.page_views (path, session_id) VALUES ('/secret', 'new'), ('/late', 'new')));
	ok_reports('a text comes again', 'texts');
	$node->safe_psql('texts', $write);
	ok_written('a text comes again, and spans are written', 'texts');
	$node->safe_psql('texts', "DELETE FROM site_stats.page_views; $write");
	is($node->safe_psql('texts', 'SELECT (SELECT count(*) FROM site_stats.span_texts), (SELECT count(*) FROM site_stats.spans)'), '0|0', 'without page views nothing is left');
}

# ---- a report starts a worker ------------------------------------------------------------------------------

{
	create_database('passing');
	$node->safe_psql('passing', visits(2101, 2700));
	my $session = $node->background_psql('passing');
	$session->query_safe('SELECT * FROM site_stats.summary(NULL, NULL)');
	ok_until($node, $is_written, 'a report of many page views that are in no span starts a worker that writes spans', 'passing');
	$session->quit;
	ok_reports('after that', 'passing');
}

# ---- a standby ---------------------------------------------------------------------------------------------

{
	$node->backup('base');
	my $standby = PostgreSQL::Test::Cluster->new('standby_of_spans');
	$standby->init_from_backup($node, 'base', has_streaming => 1);
	$standby->append_conf('postgresql.conf', 'max_standby_streaming_delay = -1');
	$standby->start;
	my $ok_same = sub {
		my ($label) = @_;
		$node->safe_psql('postgres', q(SELECT pg_logical_emit_message(true, 'site_stats', 'flush')));
		$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
		is(differences($standby, 'passing'), '', "$label: the standby's reports are exact");
	};
	$ok_same->('a standby');
	$node->safe_psql('passing', 'DELETE FROM site_stats.page_views WHERE id % 10 = 7; ' . visits(2701, 2800));
	$ok_same->('with loose sessions');
	$node->safe_psql('passing', $write);
	$ok_same->('when spans are written anew');
	$node->safe_psql('passing', 'UPDATE site_stats.spans SET page_column = set_byte(page_column, 9, get_byte(page_column, 9) # 1)');
	$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
	is($standby->safe_psql('passing', 'SELECT * FROM test.compare(1, 25)'), '', "with a damaged span: the standby's reports are exact");
	like(sqlstate_of($standby, $write, 'passing'), qr/^25006/, 'a standby writes no spans');
	$standby->promote;
	$standby->safe_psql('passing', $write);
	is($standby->safe_psql('passing', $is_written), 't', 'promoted: it writes spans');
	is(differences($standby, 'passing'), '', 'promoted: reports are exact');
	ok_no_accidents($standby);
	$standby->stop;
}
ok_no_accidents($node);
$node->stop;

# ---- the launcher ------------------------------------------------------------------------------------------

# Its worker writes spans. A writer that does not end keeps it from that, but not from running a backfill.
{
	my $launched = new_node('launched_spans', shared_preload_libraries => "'site_stats'", 'site_stats.maintenance_interval' => "'1s'", max_worker_processes => 2, max_logical_replication_workers => 0);
	$launched->start;
	create_site($launched, 'postgres', 0);
	$launched->safe_psql('postgres', visits(1, 500));
	ok_until($launched, $is_written, "the launcher's worker writes spans");
	my $writer = $launched->background_psql('postgres');
	$writer->query_safe(q(BEGIN; INSERT INTO site_stats.page_views (path, session_id) VALUES ('/open', 'open')));
	$launched->safe_psql('postgres', visits(501, 600));
	$launched->safe_psql('postgres', q(UPDATE site_stats.backfill_state SET cursor = 0, target = 100, views_total = 100, views_done = 0, status = 'running', epoch = epoch, started_at = now(), updated_at = now()));
	ok_until($launched, "status = 'complete'", 'a writer does not end: the backfill does');
	$writer->query_safe('COMMIT');
	$writer->quit;
	ok_until($launched, $is_written, 'it ends: spans are written');
	ok_no_accidents($launched);
	$launched->stop;
}
done_testing();
