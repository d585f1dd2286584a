# Random histories of page views, and random questions about them at every point: each report answers as the oracle
# (tests/reports), before, while and after spans are written, in transactions, and in older snapshots.
#
#   SEED=7          the first history's choices are those of seed 7, the next one's those of seed 8, ...
#   HISTORIES=1     so many histories
#
# A history is a script of psql in a database of its own. If it shows a difference, statements are taken out of it for as
# long as it still does. What is left is printed: psql runs it in any database with the extension, after oracle.sql,
# compare.sql and what $prepare has below.

use strict;
use warnings;

use File::Basename;
use IPC::Run;
use List::Util qw(first);
use POSIX qw(strftime);
use SiteStats;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $seed        = $ENV{SEED}      || 1;
my $histories   = $ENV{HISTORIES} || 60;
my $write_spans = 'CALL site_stats.write_spans()';

my $reports = dirname(__FILE__) . '/../../reports';
my $files   = PostgreSQL::Test::Utils::tempdir();
my $node    = new_node('reports');
$ENV{PGHOST} = $node->host;
$ENV{PGPORT} = $node->port;

# Names for what a history refers to, which may be gone.
my $prepare = q(
	CREATE FUNCTION test.site(wanted text) RETURNS smallint LANGUAGE sql STABLE
	AS 'SELECT s.id FROM site_stats.sites AS s WHERE s.name = wanted';
	CREATE FUNCTION test.origin(wanted integer) RETURNS integer LANGUAGE sql STABLE
	AS 'SELECT o.id FROM site_stats.origins AS o WHERE o.id = wanted';
	CREATE FUNCTION test.client(wanted integer) RETURNS integer LANGUAGE sql STABLE
	AS 'SELECT c.id FROM site_stats.clients AS c WHERE c.id = wanted';
	CREATE FUNCTION test.some(choice integer, wanted integer) RETURNS SETOF bigint LANGUAGE sql STABLE
	AS $$SELECT v.id FROM site_stats.page_views AS v ORDER BY md5(format('%s %s', v.id, choice)) LIMIT wanted$$;);

# ---- choices -----------------------------------------------------------------------------------------------

sub between { my ($lowest, $highest) = @_; return $lowest + int rand($highest - $lowest + 1) }
sub chance { my ($probability) = @_; return rand() < $probability }
sub pick { return $_[ int rand @_ ] }

# One of WEIGHT => THING, ...
sub weighted
{
	my @choices = @_;
	my $sum     = 0;
	$sum += $choices[ 2 * $_ ] for 0 .. $#choices / 2;
	my $number = rand $sum;
	while (@choices > 2)
	{
		$number -= $choices[0];
		last if $number < 0;
		splice @choices, 0, 2;
	}
	return $choices[1];
}

# ---- page views --------------------------------------------------------------------------------------------

# The moment around which all is, in seconds since 1970; how far most views are from it, in half hours; and the ids that
# are taken. Identity values begin at $FIRST_ID.
my ($middle, $spread, %taken);
my $FIRST_ID = 5000;

# Moments at which days are shorter or longer, or are left out, in one of the zones; an ordinary one, and today.
my @moments = (
	[ 1774746000, 'Europe/Berlin' ],        # 2026-03-29 01:00: an hour is left out
	[ 1792890000, 'Europe/Berlin' ],        # 2026-10-25 01:00: an hour comes twice
	[ 1775314800, 'Australia/Lord_Howe' ],  # 2026-04-04 15:00: half an hour comes twice
	[ 1791041400, 'Australia/Lord_Howe' ],  # 2026-10-03 15:30: half an hour is left out
	[ 1541300400, 'America/Sao_Paulo' ],    # 2018-11-04 03:00: midnight is left out
	[ 1518919200, 'America/Sao_Paulo' ],    # 2018-02-18 02:00: the hour before midnight comes twice
	[ 1325239200, 'Pacific/Apia' ],         # 2011-12-30 10:00: a day is left out
	[ 1767205800, 'Asia/Kolkata' ],         # 2025-12-31 18:30: a year begins
	[ 1748736000, 'UTC' ],                  # 2025-06-01 00:00
	[ undef,      'America/New_York' ]);    # now
my @zones = map { $_->[1] } @moments;

# As a literal, to the microsecond.
sub moment
{
	my ($seconds, $microseconds) = @_;
	$seconds += $microseconds < 0 ? -1 : 0;
	return strftime("'%Y-%m-%d %H:%M:%S", gmtime $seconds) . sprintf(".%06d+00'", $microseconds % 1_000_000);
}

# Half an hour is the time after which a visit ends. So most views are half an hour from others, or a microsecond more
# or less, also from midnight.
sub viewed_at
{
	my $half_hours = int((rand() + rand() + rand() - 1.5) * $spread);
	$half_hours = between(-2000, 2000) if chance(0.04);
	my ($seconds, $microseconds) = @{ weighted(12 => [ 0, 0 ], 3 => [ 0, 1 ], 3 => [ 0, -1 ], 4 => [ 600, 0 ], 2 => [ 900, 0 ], 2 => [ 0, 500_000 ], 2 => [ 599, 999_999 ], 2 => [ between(0, 1799), between(0, 999_999) ]) };
	return moment($middle + 1800 * $half_hours + $seconds, $microseconds);
}

# An id that was never taken, mostly below the identity values.
sub id
{
	return 'DEFAULT' if chance(0.6);
	my $id;
	do { $id = chance(0.8) ? between(1, $FIRST_ID - 1) : between(100_000, 200_000) } while $taken{$id}++;
	return $id;
}

sub session { return weighted(5 => q('s1'), 4 => q('s2'), 2 => q('s3'), 2 => q('s4'), 1 => q('S1'), 1 => sprintf q('t%d'), between(1, 9)) }
sub path { return weighted(4 => q('/'), 4 => q('/a'), 3 => q('/b'), 1 => q('/A'), 1 => q('/a/b'), 1 => q('/a_b'), 1 => q('/a%b'), 1 => q('/é'), 1 => q('Google')) }
sub page_type { return weighted(4 => q('page'), 2 => q('blog'), 1 => q('home')) }
sub site_name { return weighted(5 => q(''), 3 => q('blog'), 1 => q('shop')) }
sub site { return 'test.site(' . site_name() . ')' }
sub origin { return chance(0.4) ? 'NULL' : 'test.origin(' . between(1, 9) . ')' }
sub client { return chance(0.4) ? 'NULL' : 'test.client(' . between(1, 7) . ')' }
sub some { my ($most) = @_; return sprintf 'id IN (SELECT test.some(%d, %d))', between(1, 99_999), between(1, $most) }
sub gap { return pick(q('30 min'), q('30 min'), q('-30 min'), q('30 min 0.000001 s'), q('30 min -0.000001 s'), q('-30 min -0.000001 s'), q('15 min'), q('-15 min'), q('0'), q('0.000001 s'), q('1 day'), q('-7 days')) }

sub rows
{
	my ($columns, @rows) = @_;
	return "INSERT INTO site_stats.page_views ($columns) OVERRIDING SYSTEM VALUE VALUES\n    " . join(",\n    ", map { "($_)" } @rows) . ';';
}
my $columns = 'id, path, page_type, session_id, viewed_at, site_id, origin_id, client_id';

sub scattered
{
	return rows($columns, map { join ', ', id(), path(), page_type(), session(), viewed_at(), site(), origin(), client() } 1 .. between(1, 10));
}

# One visitor's, each at a distance from the one before that may or may not end the visit.
sub in_a_row
{
	my ($session, $site) = (session(), site());
	my $microseconds = 1_000_000 * 1800 * between(-$spread, $spread);
	my @rows;
	for (1 .. between(2, 7))
	{
		push @rows, join ', ', id(), path(), page_type(), $session, moment($middle + POSIX::floor($microseconds / 1_000_000), $microseconds % 1_000_000), $site, origin(), client();
		$microseconds += pick(0, 1, 600_000_000, 1_799_999_999, 1_800_000_000, 1_800_000_000, 1_800_000_001, 3_600_000_000);
	}
	@rows = sort { rand() <=> 0.5 } @rows if chance(0.2);
	return rows($columns, @rows);
}

# Beside views that are there: two visits may become one.
sub beside
{
	my $gap = gap();
	return "INSERT INTO site_stats.page_views (path, session_id, viewed_at, site_id, origin_id)\n"
	  . "SELECT v.path, v.session_id, v.viewed_at + $gap, v.site_id, " . origin() . " FROM site_stats.page_views AS v WHERE v." . some(3) . ';';
}

sub changed
{
	my $what = weighted(
		4 => sub { 'path = ' . path() },
		2 => sub { 'page_type = ' . page_type() },
		5 => sub { 'viewed_at = viewed_at + ' . gap() },
		3 => sub { 'viewed_at = ' . viewed_at() },
		5 => sub { 'session_id = ' . session() },
		3 => sub { 'site_id = ' . site() },
		3 => sub { 'origin_id = ' . origin() },
		3 => sub { 'client_id = ' . client() },
		2 => sub { 'id = DEFAULT' },
		1 => sub { 'path = path' },
		2 => sub { join ', ', 'session_id = ' . session(), 'viewed_at = ' . viewed_at(), 'path = ' . path() })->();
	return "UPDATE site_stats.page_views SET $what WHERE " . some(4) . ';';
}

sub deleted
{
	return 'DELETE FROM site_stats.page_views WHERE '
	  . weighted(
		8 => some(4),
		2 => 'session_id = ' . session(),
		1 => 'viewed_at < ' . viewed_at() . ' AND ' . some(20),
		1 => 'site_id = ' . site()) . ';';
}

# What a statement of a user changes.
sub change
{
	return weighted(9 => \&scattered, 5 => \&in_a_row, 5 => \&beside, 8 => \&changed, 5 => \&deleted, 0.3 => sub { 'TRUNCATE site_stats.page_views;' })->();
}

# What has other ways into page_views, or changes what a view belongs to.
sub other_change
{
	return weighted(
		2 => sub { 'UPDATE site_stats.sites SET timezone = ' . "'" . pick(@zones) . "' WHERE name = " . site_name() . ';' },
		1 => sub { "DELETE FROM site_stats.sites WHERE name = 'shop'; INSERT INTO site_stats.sites (name, timezone) VALUES ('shop', '" . pick(@zones) . "');" },
		2 => sub { q(INSERT INTO site_stats.origins (source, channel) VALUES ('New', 'Referral');) },
		2 => sub { 'SELECT site_stats.forget_session(' . session() . ', ' . site_name() . ') \g /dev/null' },
		2 => sub { 'SELECT site_stats.remove_page_views(' . viewed_at() . ', ' . between(1, 5) . ') \g /dev/null' },
		2 => sub { 'SELECT site_stats.record_page_view(' . path() . ", 'page', " . session() . ', ' . site_name() . ') \g /dev/null' },
		2 => sub { sprintf q{SELECT site_stats.receive(jsonb_build_object('type', 'view', 'url', '/a?utm_source=New', 'site', %s, 'session', %s)) \g /dev/null}, site_name(), session() },
		1 => sub { 'CALL site_stats.backfill();' })->();
}

# ---- histories ---------------------------------------------------------------------------------------------

# The questions that are asked at this point.
my ($place, $questions);
sub compare
{
	my ($count) = @_;
	$questions += $count;
	return sprintf 'SELECT * FROM test.compare(%d, %d);', ++$place, $count;
}

# Another session's statement. If it meets a lock of this one, it gives up.
sub by_another
{
	my ($sql) = @_;
	$sql =~ s/\n */ /g;
	$sql =~ s/"/\\"/g;
	return '\! PGOPTIONS="-c lock_timeout=100ms -c statement_timeout=2s" psql -X -q -v VERBOSITY=sqlstate -c "' . $sql . '" 2>&1 | grep -v -e 55P03 -e 57014';
}

# A transaction that sees what is committed, with questions about what it has not committed itself.
sub transaction
{
	my @statements = ('BEGIN;');
	for (1 .. between(1, 3))
	{
		push @statements, change();
		push @statements, compare(3) if chance(0.6);
		next unless chance(0.3);
		push @statements, 'SAVEPOINT s;', change();
		push @statements, compare(2) if chance(0.5);
		push @statements, weighted(3 => 'ROLLBACK TO s;', 1 => 'RELEASE s;');
		push @statements, compare(2) if chance(0.5);
	}
	return @statements, weighted(3 => 'COMMIT;', 2 => 'ROLLBACK;');
}

# A transaction with one snapshot, beside which others write page views and spans.
sub snapshot
{
	my $level      = pick('REPEATABLE READ', 'REPEATABLE READ', 'REPEATABLE READ READ ONLY', 'SERIALIZABLE');
	my $writes     = $level =~ /ONLY/ ? 0 : chance(0.4);
	my @statements = ("BEGIN ISOLATION LEVEL $level;", $writes ? weighted(3 => \&scattered, 2 => \&beside, 3 => \&changed, 2 => \&deleted)->() : (), compare(3));
	for (1 .. between(1, 2))
	{
		push @statements, by_another(weighted(2 => \&scattered, 1 => \&in_a_row, 2 => \&beside, $writes ? () : (2 => \&changed, 2 => \&deleted))->()) if chance(0.6);
		push @statements, by_another($write_spans) if chance(0.7);
		push @statements, compare(4);
	}
	return @statements, weighted(3 => 'COMMIT;', 1 => 'ROLLBACK;');
}

# The statements of a history.
sub history
{
	my ($seed) = @_;
	srand $seed;
	($place, $questions, %taken) = (0, 0);
	($middle, my $zone) = @{ pick(@moments) };
	$middle //= 3600 * int(time() / 3600);
	$spread = pick(6, 20, 60);
	my @statements = (
		"UPDATE site_stats.sites SET timezone = '$zone' WHERE id = 1;",
		"INSERT INTO site_stats.sites (name, timezone) VALUES ('blog', '" . pick($zone, @zones) . "'), ('shop', '" . pick(@zones) . "');",
		q(INSERT INTO site_stats.origins (source, referrer, medium, campaign, term, content, channel) VALUES
    ('Google', 'www.google.com/', NULL, NULL, NULL, NULL, 'Organic Search'),
    ('Google', 'www.google.com/', NULL, NULL, NULL, NULL, 'Organic Search'),
    ('google', NULL, 'cpc', 'May', 'a', 'b', 'Paid Search'),
    ('Google', NULL, 'cpc', 'June', 'a', NULL, 'Paid Search'),
    ('news.example', 'news.example/é', NULL, NULL, NULL, '', 'Referral'),
    (NULL, NULL, NULL, 'May', NULL, NULL, NULL),
    (NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    ('', '', '', '', '', '', '');),
		q(INSERT INTO site_stats.clients (browser, os, device, country, language) VALUES
    ('Firefox', 'Linux', 'desktop', 'DE', 'de'),
    ('Firefox', 'Linux', 'desktop', 'DE', 'en-GB'),
    ('Safari', 'iOS', 'mobile', 'DE', NULL),
    ('Safari', 'iOS', 'mobile', NULL, 'de'),
    ('firefox', NULL, 'tablet', 'at', 'pt_BR'),
    (NULL, NULL, NULL, NULL, NULL);),
		"SELECT setval('site_stats.page_views_id_seq', $FIRST_ID) \\g /dev/null",
		(map { chance(0.7) ? scattered() : in_a_row() } 1 .. between(1, 6)),
		compare(5));
	for (1 .. between(4, 12))
	{
		push @statements, weighted(10 => \&change, 2 => \&other_change, 4 => \&transaction, 5 => \&snapshot)->();
		push @statements, "$write_spans;" if chance(0.4);
		push @statements, compare(between(2, 6)) if chance(0.6);
		push @statements, 'SELECT * FROM site_stats.check_totals();' if chance(0.1);
	}
	push @statements, "$write_spans;", compare(5) if chance(0.5);
	return @statements, compare(10), 'SELECT * FROM site_stats.check_totals();';
}

# A long history, and another one that comes late: visits of four views, 10, 20 or 30 minutes from each other, some of these
# a microsecond more.
sub long_history
{
	my ($seed) = @_;
	my @settings = (history($seed))[ 0 .. 3 ];
	($place, $questions) = (0, 0);
	my $views = sub {
		my ($first, $last, $id, $days) = @_;
		return qq(INSERT INTO site_stats.page_views ($columns) OVERRIDING SYSTEM VALUE
SELECT i + $id, '/p' || i * 7919 % 53 % 41, 'page', 's' || n * 104729 % 997 % 700,
    '2026-03-01 00:00:00+00'::timestamptz + n * 7211 % ($days * 1440) * interval '1 min'
        + i % 4 * (n % 3 * interval '10 min' + interval '10 min' + n % 7 / 6 * interval '0.000001 s'),
    1 + n % 7 / 6, CASE WHEN i % 3 > 0 THEN 1 + i % 8 END, CASE WHEN i % 5 > 0 THEN 1 + i % 6 END
FROM (SELECT i, i / 4 AS n FROM generate_series($first, $last) AS i) AS v;);
	};
	return (
		@settings,
		$views->(1, 15_000, 100_000, 40), compare(4), "$write_spans;", compare(10),
		$views->(15_001, 20_000, 0, 50), compare(10), "$write_spans;",
		q(UPDATE site_stats.page_views SET viewed_at = viewed_at + '30 min', path = '/moved' WHERE id IN (SELECT test.some(1, 500));),
		'DELETE FROM site_stats.page_views WHERE id IN (SELECT test.some(2, 500));',
		compare(10), "$write_spans;", compare(10),
		'SELECT * FROM site_stats.check_totals();');
}

# Runs statements in a new database, if need be beside a session that writes spans all the time. Returns what is wrong: the
# rows of questions and of check_totals(), and the error that has ended it.
my $given_up = 0;
sub run_history
{
	my ($beside, @statements) = @_;
	$node->safe_psql('template1', 'CREATE DATABASE history TEMPLATE prepared');
	local $ENV{PGDATABASE} = 'history';
	write_file("$files/history.sql", join "\n", @statements, '');
	my $writer = $beside ? IPC::Run::start([ 'psql', '-X', '-q' ], '<', "$files/spans.sql", '>', '/dev/null', '2>', "$files/errors") : undef;
	my ($output, $messages) = ('', '');
	IPC::Run::run([ 'psql', '-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-f', "$files/history.sql" ], '>', \$output, '2>', \$messages);
	if ($?)
	{
		# A writer with one snapshot may be told to try again. That is the end of this history.
		if ($messages =~ /could not serialize access/) { $given_up++ }
		else { $output .= $messages =~ s/^psql:.*?: //mgr }
	}
	if ($writer)
	{
		$node->safe_psql('template1', q(SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'history'));
		IPC::Run::finish($writer);
		$output .= "the writer of spans: $_\n" for grep { /ERROR/ && !/55P03/ } split /\n/, slurp_file("$files/errors");
	}
	$node->safe_psql('template1', 'DROP DATABASE history WITH (FORCE)');
	return $output;
}

# What the session beside it does: \watch goes on until there is an error, such as a lock that was waited for too long.
write_file("$files/spans.sql", "\\set VERBOSITY sqlstate\n" . "$write_spans \\watch 0.02\n" x 100);

sub write_file
{
	my ($name, $text) = @_;
	unlink $name;
	append_to_file($name, $text);
	return;
}

# The statements that are needed for what went wrong first, and what they show. The questions at the point where an answer
# differs become this one question. After a minute it is content with what it has.
sub shortest
{
	my ($beside, $wrong, @statements) = @_;
	my @question;
	my $shows = sub { my $output = run_history($beside, @_); return substr($output, 0, 30) eq substr($wrong, 0, 30) ? $output : undef };
	if (my ($asked) = $wrong =~ /^((?:summary|timeline|breakdown)\(.*?\))\|/)
	{
		my $point = first { run_history($beside, @statements[ 0 .. $_ ]) ne '' } grep { $statements[$_] =~ /test\.compare/ } 0 .. $#statements;
		$#statements = $point - 1 if defined $point;
		@question    = ("SELECT * FROM test.ask(\$question\$$asked\$question\$);");
		$shows       = sub { return run_history($beside, @_, @question) =~ /^(\Q$asked\E\|.*)/ms ? $1 : undef };
	}
	my $until = time() + 60;
	for (my $size = int((@statements + 1) / 2); $size > 0; $size = int($size / 2))
	{
		for (my $from = @statements - $size; $from >= 0 && time() < $until; $from -= $size)
		{
			my @fewer = @statements;
			splice @fewer, $from, $size;
			my $output = $shows->(@fewer) // next;
			($wrong, @statements) = ($output, @fewer);
		}
	}
	return ($wrong, @statements, @question);
}

# The history answers every question as the oracle does.
my ($asked, $shortened) = (0, 0);
sub ok_history
{
	my ($label, $beside, @statements) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $output = run_history($beside, @statements);
	$asked += $questions;
	return if is(substr($output, 0, 1000), '', sprintf '%s: %d questions%s', $label, $questions, $beside ? ' beside a writer of spans' : '');
	return if $shortened++; # the first one is enough
	my ($wrong, @needed) = shortest($beside, $output, @statements);
	diag(join "\n", "$label: these statements are enough", @needed, '... for this (question, row, answered, expected)', $wrong);
	return;
}

# ---- the test ----------------------------------------------------------------------------------------------

$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE prepared');
create_site($node, 'prepared', 0);
$node->safe_psql('prepared', slurp_file("$reports/oracle.sql") . slurp_file("$reports/compare.sql") . $prepare);

for (1 .. $histories)
{
	ok_history("seed $seed", $seed % 5 == 0, history($seed));
	$seed++;
}
ok_history('a long history', 0, long_history(1));
note("$asked questions; $given_up histories ended with a serialization failure");
cmp_ok($given_up, '<=', $histories / 5, 'few histories ended early');
cmp_ok($asked, '>', 20 * $histories, 'questions were asked');

ok_no_accidents($node);
$node->stop;
done_testing();
