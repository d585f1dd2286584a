# Rows that are written for good: new origins and clients, and the salt of the day. Many writers meet the same new ones at once,
# half of their transactions roll back, the server is killed: each combination is one row, each row has its index entries, and
# each view finds the row that it names, also on a standby that checks each block it replays. No log, no standby and no base
# backup has a salt.

use strict;
use warnings;

use File::Find;
use SiteStats;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = new_node('primary', allows_streaming => 1, max_wal_senders => 5, wal_keep_size => "'1GB'", wal_consistency_checking => "'all'",
	'site_stats.max_views_per_minute' => 0, 'site_stats.max_new_origins_per_day' => 0);
$primary->start;
create_site($primary, 'postgres', 0);
$primary->safe_psql('postgres', 'CREATE EXTENSION amcheck');
# A salt that is made before the backup.
$primary->safe_psql('postgres', q(SELECT site_stats.receive('{"type": "view", "url": "/"}', '192.0.2.1')));
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

# What is wrong with the dictionaries; nothing if all is right.
my $faults = q(
	SELECT 'twice: ' || count(*) FROM site_stats.origins GROUP BY source, referrer, medium, campaign, term, content, channel HAVING count(*) > 1
	UNION ALL
	SELECT 'twice: ' || count(*) FROM site_stats.clients GROUP BY browser, os, device, country, language HAVING count(*) > 1
	UNION ALL
	SELECT 'without its row: ' || v.path FROM site_stats.page_views AS v
	WHERE v.origin_id IS NOT NULL AND NOT EXISTS (SELECT FROM site_stats.origins AS o WHERE o.id = v.origin_id)
	UNION ALL
	SELECT 'another row: ' || v.path FROM site_stats.page_views AS v
	JOIN site_stats.origins AS o ON o.id = v.origin_id WHERE o.campaign <> ltrim(v.path, '/'));
my $sound = q(
	SELECT bt_index_check(i.indexrelid, true) FROM pg_index AS i
	WHERE i.indrelid IN ('site_stats.origins'::regclass, 'site_stats.clients'::regclass));

sub ok_dictionaries
{
	my ($label) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($primary->safe_psql('postgres', $faults), '', "$label: each origin and client is one row, and each view has its own");
	is($primary->safe_psql('postgres', "SELECT count(*) FROM ($sound) AS s"), '4', "$label: the indexes have all rows");
	$primary->safe_psql('postgres', q(SELECT pg_logical_emit_message(true, 'site_stats', 'flush')));
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
	is($standby->safe_psql('postgres', $faults), '', "$label: so it is on the standby");
	my $rows = 'SELECT md5(string_agg((o)::text, chr(10) ORDER BY o.id)) FROM site_stats.origins AS o';
	is($standby->safe_psql('postgres', $rows), $primary->safe_psql('postgres', $rows), "$label: the standby has the same rows");
	return;
}

# Each transaction has a new view, and often a new origin that others meet, too. Each second one rolls back.
my $script = PostgreSQL::Test::Utils::tempdir() . '/views.sql';
append_to_file($script, q(
\set campaign random(1, :campaigns)
\set session random(1, 1000000000)
\set country random(65, 90)
BEGIN;
SELECT site_stats.receive(jsonb_build_object('type', 'view', 'session', :session::text, 'url', '/c' || :campaign || '?utm_campaign=c' || :campaign),
	NULL, NULL, 'A' || chr(:country));
\if :commits
COMMIT;
\else
ROLLBACK;
\endif
\set commits 1 - :commits
));
sub run_writers
{
	my ($campaigns, $seconds) = @_;
	return ('pgbench', '-n', '-h', $primary->host, '-p', $primary->port, '-c', '8', '-j', '2', '-T', $seconds,
		'-D', "campaigns=$campaigns", '-D', 'commits=1', '-f', $script, 'postgres');
}
$primary->command_ok([ run_writers(2000, 5) ], 'eight writers meet new origins');
ok_dictionaries('eight writers');
isnt($primary->safe_psql('postgres', q(
	SELECT count(*) FROM site_stats.origins AS o WHERE NOT EXISTS (SELECT FROM site_stats.page_views AS v WHERE v.origin_id = o.id))),
	'0', 'eight writers: the origins of transactions that were rolled back are there');
is(drift($primary), 0, 'eight writers: the totals are exact');

# Killed in the middle, some times.
for my $time (1 .. 3)
{
	my $label = "killed, time $time";
	my $writers = IPC::Run::start([ run_writers(100_000, 30) ], '>', \my $output, '2>', \my $errors);
	$primary->poll_query_until('postgres', 'SELECT count(*) > ' . ($time * 2000 + 2000) . ' FROM site_stats.origins');
	kill_server($primary);
	IPC::Run::finish($writers);
	start_again($primary);
	ok_dictionaries($label);
	is(drift($primary), 0, "$label: the totals are exact");
}

# The standby refuses what writes.
for my $statement (q(SELECT site_stats.receive('{"type": "view", "url": "/", "session": "s"}')), q(SELECT site_stats.visitor_id('192.0.2.1', NULL)))
{
	like(sqlstate_of($standby, "$statement;"), qr/^25006: /, "on the standby: $statement is refused");
}

# A crash has emptied the salts, and a new one is made. It is in the server's memory alone, until the server stops.
is($primary->safe_psql('postgres', 'SELECT count(*) FROM site_stats.salts'), '0', 'the crash has emptied the salts');
$primary->safe_psql('postgres', q(SELECT site_stats.visitor_id('192.0.2.1', NULL)));
my $salt = pack('H*', $primary->safe_psql('postgres', q(SELECT encode(salt, 'hex') FROM site_stats.salts)));
is(length $salt, 16, 'a salt is made again');
my $in_dump = '';
$primary->run_log([ 'pg_dumpall', '-h', $primary->host, '-p', $primary->port ], '>', \$in_dump);
unlike($in_dump, qr/\Q@{[ unpack('H*', $salt) ]}\E/, 'a dump has no salt');
like($in_dump, qr/^COPY site_stats\.origins /m, 'a dump has the origins');
$primary->backup('later');
$primary->stop;

# The files below a folder, but for those in folders of a name, that have the salt in them.
sub files_with_salt
{
	my ($folder) = @_;
	my @found;
	find(sub { push @found, $File::Find::name if -f && index(slurp_file($_), $salt) >= 0 }, $folder);
	return @found;
}
my @found = files_with_salt($primary->data_dir);
is(scalar @found, 1, 'one file has the salt');
like($found[0] // '', qr{/base/}, 'that is the table');
is(join(' ', files_with_salt($standby->data_dir)), '', 'the standby has no salt');
is(join(' ', files_with_salt($primary->backup_dir . '/later')), '', 'a base backup has no salt');

# A standby that is promoted makes a salt of its own, and goes on with the origins.
$standby->promote;
is($standby->safe_psql('postgres', q(SELECT site_stats.receive('{"type": "view", "url": "/c1?utm_campaign=c1"}', '192.0.2.1'))), 'recorded', 'promoted: a view is recorded');
is($standby->safe_psql('postgres', $faults), '', 'promoted: it has its origin');
ok_exact($standby, 'promoted');

done_testing();
