#!/usr/bin/perl
# Runs each sample of samples/ whose language is at hand, as bin/check samples starts it: against a server with the
# extension, and as a browser and a proxy would call it. What a visitor sends must be recorded. The address and the
# user agent must be found nowhere.
#
#     tests/samples/run.pl PSQL PYTHON NODE_FOLDER SERVER_LOG RESULTS
#
# PGHOST names the server, which has pg_stat_statements if that can be had. A language that is not at hand is skipped,
# unless SAMPLES names it. It fails if none is there.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Copy qw(copy);
use HTTP::Tiny;
use IO::Socket::INET;
use JSON::PP;
use POSIX qw(WNOHANG);
use Test::More;
use Time::HiRes qw(sleep time);

my ($psql, $python, $node_folder, $server_log, $results) = @ARGV;
my $samples = abs_path(dirname($0) . '/../../samples');

# What must not be found anywhere. 127.0.0.2 is this machine, and is nobody's proxy.
my $visitor = '192.0.2.77';
my $direct  = '127.0.0.2';
my $chrome  = 'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0';
my $secrets = qr/192\.0\.2\.77|203\.0\.113\.9|127\.0\.0\.2|Mozilla|Googlebot|secret/;

# How each is started, on $PORT; what has to be there; and what Debian calls that.
my $serve = 'from wsgiref.simple_server import make_server; import os, collect; '
  . 'make_server("127.0.0.1", int(os.environ["PORT"]), collect.application).serve_forever()';
my @languages = (
	{
		name => 'node',
		has  => sub { runs('node', '--version') && -e "$node_folder/node_modules/pg" },
		needs => 'node and npm (Debian: nodejs npm), and the network, once',
		start => sub {
			# Node.js looks for packages beside the file.
			copy("$samples/collect.mjs", "$node_folder/collect.mjs") or die "$node_folder: $!\n";
			return ('node', "$node_folder/collect.mjs");
		},
	},
	{
		name  => 'python',
		has   => sub { runs($python, '-c', 'import psycopg, psycopg_pool') },
		needs => 'python3 with psycopg[binary,pool] (Debian: python3-venv), and the network, once',
		start => sub { return ($python, '-B', '-c', "import sys; sys.path.insert(0, '$samples'); $serve") },
	},
	{
		name  => 'php',
		has   => sub { runs('php', '-r', 'exit(function_exists("pg_pconnect") ? 0 : 1);') },
		needs => 'php with the extension pgsql (Debian: php-cli php-pgsql)',
		start => sub { return ('php', '-S', "127.0.0.1:$ENV{PORT}", "$samples/collect.php") },
	},
	{
		name  => 'ruby',
		has   => sub { runs('ruby', '-e', 'require "pg"') && runs('puma', '--version') },
		needs => 'ruby with the gems pg and puma (Debian: ruby-pg puma)',
		start => sub { return ('puma', '--quiet', '-b', "tcp://127.0.0.1:$ENV{PORT}", "$samples/collect.ru") },
	},
);

sub runs
{
	my @command = @_;
	my $pid     = fork // die "fork: $!\n";
	if ($pid == 0)
	{
		open STDOUT, '>', '/dev/null' and open STDERR, '>&', \*STDOUT;
		no warnings 'exec';
		exec @command or exit 127;
	}
	waitpid $pid, 0;
	return $? == 0;
}

# What psql prints, as the superuser.
sub ask
{
	my ($sql, @more) = @_;
	local $ENV{PGUSER} = 'postgres';
	open my $out, '-|', $psql, '-X', '-q', '-At', '-v', 'ON_ERROR_STOP=1', @more, '-c', $sql or die "$psql: $!\n";
	my $answer = join '', <$out>;
	close $out or die "psql could not run: $sql\n";
	chomp $answer;
	return $answer;
}

sub slurp
{
	my ($file) = @_;
	open my $in, '<', $file or die "$file: $!\n";
	local $/;
	return scalar <$in>;
}

# A server in a process group of its own.
my $server;

sub start
{
	my ($log, @command) = @_;
	$server = fork // die "fork: $!\n";
	return if $server;
	setpgrp;
	open STDOUT, '>', $log and open STDERR, '>&', \*STDOUT;
	exec @command or exit 127;
}

sub stop
{
	return unless $server;
	kill -15, $server;
	my $until = time + 10;
	sleep 0.05 while waitpid($server, WNOHANG) == 0 && time < $until;
	kill -9, $server;
	$server = undef;
}
END { my $status = $?; stop(); $? = $status }
$SIG{$_} = sub { exit 1 } for qw(INT TERM HUP);

# Posts a body, through a proxy on this machine unless headers say something else. Returns the status.
sub post
{
	my ($body, %headers) = @_;
	my $from  = delete $headers{from} // '127.0.0.1';
	my $agent = delete $headers{agent} // $chrome;
	%headers = ('X-Forwarded-For' => "203.0.113.9, $visitor", 'X-Country' => 'pt', %headers);
	my $http   = HTTP::Tiny->new(agent => $agent, local_address => $from, timeout => 20);
	my $answer = $http->post("http://127.0.0.1:$ENV{PORT}/collect",
		{ headers => { 'Content-Type' => 'text/plain', %headers }, content => ref $body ? encode_json($body) : $body });
	return $answer->{status};
}

sub view
{
	my ($path, %more) = @_;
	return { type => 'view', url => "https://example.com$path", language => 'en-GB', %more };
}

# The page views: path, whose they are, what they were made with and where the visitor came from.
sub views
{
	return ask(<<"SQL");
SELECT v.path,
    CASE v.session_id
        WHEN site_stats.visitor_id('$visitor', '$chrome') THEN 'visitor'
        WHEN site_stats.visitor_id('$direct', '$chrome') THEN 'direct'
    END,
    concat_ws(' ', c.browser, c.os, c.device, c.country, c.language), o.source, o.campaign
FROM site_stats.page_views AS v
LEFT JOIN site_stats.clients AS c ON c.id = v.client_id
LEFT JOIN site_stats.origins AS o ON o.id = v.origin_id
WHERE v.viewed_at > now() - interval '1 hour'
ORDER BY v.id
SQL
}

sub check_sample
{
	my ($language) = @_;
	ask('TRUNCATE site_stats.page_views, site_stats.active_sessions');
	$ENV{PORT} = do { IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1')->sockport };
	start("$results/samples.$language->{name}.log", $language->{start}->());
	my $until = time + 30;
	sleep 0.05 until IO::Socket::INET->new("127.0.0.1:$ENV{PORT}") || time > $until;

	my $script = HTTP::Tiny->new(timeout => 20)->get("http://127.0.0.1:$ENV{PORT}/tracker.js");
	is($script->{status}, 200, 'the script');
	like($script->{headers}{'content-type'}, qr{^text/javascript}, 'is one');
	is($script->{content}, ask("SELECT site_stats.tracker('/collect')"), 'and that of the database');

	my $from_search = view('/a?utm_campaign=May&token=secret#top', referrer => 'https://www.google.com/search?q=secret');
	my $recorded    = '/a|visitor|Chrome Windows desktop PT en-GB|Google|May';
	is(post($from_search), 204,       'a view');
	is(views(),            $recorded, 'is recorded, as that of whom the proxy names last');
	is(post($from_search), 204,       'the same again');
	is(views(),            $recorded, 'is a duplicate');

	my $beat = { type => 'heartbeat', url => 'https://example.com/a' };
	is(post($beat), 204, 'a heartbeat');
	is(ask('SELECT active_visitors, active_by_path FROM site_stats.get_stats()'),
		'1|[{"path": "/a", "count": 1}]', 'is recorded');

	is(post(view('/prefetch'), 'Sec-Purpose' => 'prefetch;prerender'), 204, 'a prefetch');
	is(post(view('/prefetch'), 'Purpose'     => 'prefetch'),           204, 'a prefetch, as older browsers say it');
	is(post(view('/prefetch'), 'X-Moz'       => 'prefetch'),           204, 'a prefetch, as older Firefox says it');
	is(post(view('/bot'), agent => 'Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)'),
		204, 'a bot');
	is(post(view('/bot'), agent => ''), 204,       'no user agent');
	is(views(),                         $recorded, 'none of these is recorded');

	for my $wrong (
		'{"type": "view', '', 'null', '1', '"view"', '[]', '{}',
		'{"type": "view"}', '{"type": "secret", "url": "/"}', '{"type": "view", "url": ["secret"]}',
		'{"type": "view", "url": "/\\u0000"}', '{"type": "view", "url": "secret:"}', "{\"type\": \"\xff\", \"url\": \"/\"}", '[' x 10_000)
	{
		is(post($wrong), 400, 'wrong: ' . substr($wrong, 0, 60) =~ s/[^ -~]/?/gr);
	}
	is(post(view('/' . 'x' x 3000)), 400, 'wrong: a path that is too long');
	like(post(view('/' . 'x' x 20000)), qr/^4/, 'wrong: more than an event may have');
	is(post(view('/x'), 'X-Forwarded-For' => 'secret'), 400, 'wrong: a proxy that names no address');
	is(views(), $recorded, 'nothing wrong is recorded');

	is(post(view('/b', session => 'mine', site => 'nowhere', at => '2020-01-01T00:00:00Z')), 204, 'a liar');
	is(views(), "$recorded\n/b|visitor|Chrome Windows desktop PT en-GB||", 'cannot choose session, site and time');
	is(post(view('/c'), from => $direct), 204, 'a visitor without a proxy');
	is(views(), "$recorded\n/b|visitor|Chrome Windows desktop PT en-GB||\n/c|direct|Chrome Windows desktop en-GB||",
		'is who the connection comes from, and from no country');

	is(post({ type => 'leave' }), 204, 'a leave');
	is(ask('SELECT active_visitors, total_page_views, unique_visitors FROM site_stats.get_stats()'), '0|3|2', 'is recorded');

	# The first call after that may find the connection gone.
	my $activity = ask("SELECT DISTINCT query FROM pg_stat_activity WHERE usename = 'site_web'");
	like($activity, qr/site_stats\.receive\(\$1, \$2, \$3, \$4\)/, 'pg_stat_activity shows parameters');
	unlike($activity, $secrets, 'and not what they are');
	ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'site_web'");
	like(post(view('/d')), qr/^(204|500)$/, 'a lost connection');
	is(join(' ', map { post(view('/d')) } 1 .. 10), join(' ', (204) x 10), 'is made again');

	stop();
}

# In the server's log is every statement of the role that records, but for its parameters.
ask('CREATE EXTENSION IF NOT EXISTS site_stats');
my $sees_statements = ask("SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_stat_statements'");
ask('CREATE EXTENSION pg_stat_statements') if $sees_statements;
ask($_) for (
	'CREATE ROLE site_web LOGIN',
	'GRANT USAGE ON SCHEMA site_stats TO site_web',
	'GRANT EXECUTE ON FUNCTION site_stats.receive, site_stats.tracker TO site_web',
	'ALTER ROLE site_web SET log_min_duration_statement = 0',
	'ALTER ROLE site_web SET log_parameter_max_length = 0');
@ENV{ 'PGUSER', 'PGDATABASE' } = ('site_web', 'postgres');

my %wanted = map { $_ => 1 } split ' ', $ENV{SAMPLES} // '';
my $ran    = 0;
for my $language (@languages)
{
	next if %wanted && !$wanted{ $language->{name} };
	if ($language->{has}->())
	{
		$ran++;
		subtest "samples/collect in $language->{name}" => sub { check_sample($language) };
	}
	elsif (%wanted) { fail("samples/collect in $language->{name}: it needs $language->{needs}") }
	else            { pass("samples/collect in $language->{name}: skipped, because it needs $language->{needs}") }
}
ok($ran, 'there is a language to run a sample in');

my $log = slurp($server_log);
like($log, qr/site_stats\.receive\(\$1, \$2, \$3, \$4\)/, 'the log shows parameters');
unlike($log, $secrets, 'and not what they are');
if ($sees_statements)
{
	my $statements = ask("SELECT query FROM pg_stat_statements WHERE userid = 'site_web'::regrole");
	like($statements, qr/site_stats\.receive\(\$1, \$2, \$3, \$4\)/, 'pg_stat_statements shows parameters');
	unlike($statements, $secrets, 'and not what they are');
}
is(ask('SELECT * FROM site_stats.check_totals()'), '', 'the counts are exact');
done_testing();
