# import/access_log.sql imports what it understands, and refuses a log that it would read wrongly: then psql ends with
# status 3, names a line, and has written nothing. The lines are those of real servers, with addresses for documentation.

use strict;
use warnings;

use Cwd qw(abs_path);
use Encode qw(encode);
use File::Basename qw(dirname);
use SiteStats;
use PostgreSQL::Test::Utils;
use Test::More;

my $script = abs_path(dirname(__FILE__) . '/../../../import/access_log.sql');
my $files  = PostgreSQL::Test::Utils::tempdir();
my $node   = new_node('access_log');
$node->start;
create_site($node, 'postgres', 0);

# ---- lines ---------------------------------------------------------------------------------------------------------

# What follows the visitor in a line, in the common format and with a user agent. The request is for /a unless given.
sub common
{
	my ($request) = @_;
	return '[27/Nov/2026:20:17:49 +0530] "' . ($request // 'GET /a HTTP/1.1') . '" 200 84';
}
sub combined { my ($request, $agent) = @_; return common($request) . ' "-" "' . ($agent // 'UA-1') . '"' }

# Twenty lines of a log that is in order, each of a visitor of its own.
sub good { return map { "192.0.2.$_ - - " . combined() } 1 .. 20 }

# ---- outcomes ------------------------------------------------------------------------------------------------------

# Imports a file. What psql has said, its status, and how many views and visitors it has written, which are taken away.
sub import_file
{
	my ($file, @variables) = @_;
	my ($output, $errors) = ('', '');
	my $command = [ 'psql', '-X', '-d', $node->connstr('postgres'), '-v', "log=$file", (map { ('-v', $_) } @variables), '-f', $script ];
	IPC::Run::run($command, '>', \$output, '2>', \$errors);
	my $status  = $? >> 8;
	my $written = $node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT session_id) FROM site_stats.page_views');
	$node->safe_psql('postgres', 'TRUNCATE site_stats.page_views');
	return ($output, $errors, $status, $written);
}

sub log_of
{
	my ($text) = @_;
	my $file = "$files/access.log";
	open my $out, '>:raw', $file or die "$file: $!";
	print $out $text;
	close $out or die "$file: $!";
	return $file;
}

# If a hint has a command, the copy that it makes is imported, as one view.
sub follow_hint
{
	my ($label, $errors) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return unless $errors =~ /(gzip -cdf LOG .* > COPY)/;
	my $command = $1 =~ s{LOG}{$files/access.log}r =~ s{COPY}{$files/copy.log}r;
	system_or_bail('sh', '-c', $command);
	my ($output, undef, $status, $written) = import_file("$files/copy.log");
	return is("status $status, written $written", 'status 0, written 1|1', "$label: the hint helps");
}

# A log with this line is refused as a whole, with this in the message: it alone, and after lines that are in order.
sub refused
{
	my ($label, $message, $line) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	for my $log ([ 21, good(), $line ], [ 1, $line ])
	{
		my ($number, @log) = @$log;
		my ($output, $errors, $status, $written) = import_file(log_of(join "\n", @log, ''));
		is("status $status, written $written", 'status 3, written 0|0', "$label: line $number is refused");
		like($errors, qr/ERROR:  line $number of the log does not begin with the address of a visitor\n.*$message/s, '... and the message');
		follow_hint($label, $errors) if $number == 1;
	}
	return;
}

# This line is malformed: a log of nothing else is refused, and after others it is left out and shown.
sub left_out
{
	my ($label, $reason, $line) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($output, $errors, $status, $written) = import_file(log_of("$line\n"));
	is("status $status, written $written", 'status 3, written 0|0', "$label: a log of nothing else is refused");
	($output, $errors, $status, $written) = import_file(log_of(join "\n", good(), $line, ''));
	is("status $status, written $written", 'status 0, written 20|20', "$label: left out");
	like($output, qr/^\| +21 \| +\Q$reason\E +\|/m, "$label: shown, with the reason");
	return;
}

# These lines are imported, as that many views of that many visitors.
sub imported
{
	my ($label, $views, $visitors, $lines, @variables) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($output, $errors, $status, $written) = import_file(log_of(join "\n", @$lines, ''), @variables);
	is("status $status, written $written $errors", "status 0, written $views|$visitors ", "$label: imported");
	return $output;
}

# ---- an address and nothing else -----------------------------------------------------------------------------------

imported('addresses', 6, 6, [ map { "$_ - - " . combined() } qw(192.0.2.10 2001:db8::1 2001:DB8:0:0:0:0:0:2 ::ffff:192.0.2.10 2001:db8::192.0.2.9 ::1) ]);
imported('users', 5, 1, [ map { "192.0.2.10 $_ " . combined() } '- jo', '- Jo Doe', 'ident jo', '- 27', 'shop.example.org -' ]);
imported('combined with more fields', 3, 1,
	[ map { '192.0.2.10 - - ' . combined() . $_ } ' ', ' 0.001 198.51.100.7:8080', ' "-"' ]);
like(imported('common', 2, 2, [ map { "$_ - - " . common() } qw(192.0.2.10 192.0.2.11) ]),
	qr/^The log has no user agents: each address is one visitor\.$/m, 'common: that addresses are visitors is said');
unlike(imported('combined', 1, 1, [ '192.0.2.10 - - ' . combined() ]), qr/no user agents/, 'combined: nothing of the kind is said');
imported('lines that are no page view', 20, 20, [ good(), '- - - [27/Nov/2026:20:18:04 +0530] "- http://localhost HTTP/1.0" 400 0 "-" "-"',
	'shop.example.org:80 192.0.2.10 - - ' . combined('HEAD /a HTTP/1.1') ]);
imported('an empty log', 0, 0, []);

# ---- something else ------------------------------------------------------------------------------------------------

for my $case (
	[ 'vhost_combined of Apache', 'shop.example.org:80 192.0.2.10 - -', 'a virtual host or a prefix.*-f 2- ' ],
	[ 'a virtual host without a port', 'shop.example.org 192.0.2.10 - -', 'a virtual host or a prefix.*-f 2- ' ],
	[ 'a virtual host in front of IPv6', 'shop.example.org 2001:db8::1 - -', 'a virtual host or a prefix.*-f 2- ' ],
	[ 'a virtual host alone', 'shop.example.org - -', 'a name, of the site or of the visitor.*-v host_names=on' ],
	[ 'a virtual host and a port alone', 'shop.example.org:443 - -', 'is not an address' ],
	[ 'syslog with an ISO time', '2026-11-27T20:17:49+00:00 vm nginx: 192.0.2.10 - -', 'a virtual host or a prefix.*-f 4- ' ],
	[ 'syslog with a traditional time', 'Nov 27 14:47:25 vm vm nginx: 192.0.2.10 - -', 'a virtual host or a prefix.*-f 7- ' ],
	[ 'syslog with a priority', '<190>Nov 27 14:47:25 vm nginx: 192.0.2.10 - -', 'a virtual host or a prefix.*-f 6- ' ],
	[ 'syslog of RFC 5424', '<190>1 2026-11-27T20:17:49Z vm nginx - - - 192.0.2.10 - -', 'a virtual host or a prefix.*-f 8- ' ],
	[ 'docker logs -t', '2026-11-27T20:17:49.123456789Z 192.0.2.10 - -', 'a virtual host or a prefix.*-f 2- ' ],
	[ 'containerd', '2026-11-27T20:17:49.123456789Z stdout F 192.0.2.10 - -', 'a virtual host or a prefix.*-f 4- ' ],
	[ 'docker compose', 'web-1 | 192.0.2.10 - -', 'a virtual host or a prefix.*-f 3- ' ],
	[ 'kubectl logs --prefix', '[pod/web/nginx] 192.0.2.10 - -', 'a virtual host or a prefix.*-f 2- ' ],
	[ 'a process id', '4711 192.0.2.10 - -', 'a virtual host or a prefix.*-f 2- ' ],
	[ 'a process id, alone', '4711 - -', 'is not an address' ],
	[ 'a file name of grep', 'access.log:192.0.2.10 - -', 'is not an address' ],
	[ 'a list', '192.0.2.10, 198.51.100.7 - -', 'a list of addresses' ],
	[ 'a list without a blank', '192.0.2.10,198.51.100.7 - -', 'a list of addresses' ],
	[ 'IPv4 with a port', '192.0.2.10:5678 - -', 'an address with a port.*s/' ],
	[ 'IPv6 with a port', '[2001:db8::1]:5678 - -', 'an address with a port.*s/' ],
	[ 'IPv6 with a port and no brackets', '2001:db8::1:56789 - -', 'an address with a port.*s/' ],
	[ 'IPv6 in brackets', '[2001:db8::1] - -', 'an address in brackets.*s/' ],
	[ 'IPv6 with a zone', 'fe80::1%eth0 - -', 'is not an address' ],
	[ 'a network', '192.0.2.0/24 - -', 'is not an address' ],
	[ 'no IPv4 address', '192.0.2.256 - -', 'is not an address' ],
	[ 'a time of day', '20:17:49 - -', 'is not an address' ],
	[ 'a hyphen', '- - -', 'no address' ],
	[ 'the address that stands for none', '0.0.0.0 - -', 'no address' ],
	[ 'a unix socket of nginx', 'unix: - -', 'is not an address' ],
	[ 'an address in single quotation marks', q('192.0.2.10' - -), 'is not an address' ],
	[ 'a byte order mark', "\xef\xbb\xbf192.0.2.10 - -", 'is not an address' ],
  )
{
	my ($label, $visitor, $message) = @$case;
	refused($label, $message, "$visitor " . combined());
}

# ---- lines with two readings, and those of other formats -----------------------------------------------------------

for my $case (
	[ 'a second address for an identity', '198.51.100.7 192.0.2.10 - - ' . combined(), 'two addresses' ],
	[ 'an address of the site (lighttpd)', '192.0.2.10 203.0.113.5:8080 - ' . combined(), 'two addresses' ],
	[ 'an IPv6 address of the site (lighttpd)', '2001:db8::1 [2001:db8::9]:18086 - ' . combined(), 'two addresses' ],
	[ 'the address of a syslog sender', '198.51.100.7 nginx: 192.0.2.10 - - ' . combined(), 'two addresses' ],
	[ 'a name for an identity', '198.51.100.7 visitor.example.net - - ' . combined(), 'two addresses' ],
	[ 'an address for a user', '198.51.100.7 - 192.0.2.10 ' . combined(), 'two addresses' ],
	[ 'a hyphen in a user', '198.51.100.7 - visitor.example.net - - ' . combined(), 'two addresses' ],
	[ 'a visitor behind a proxy (nginx)', '198.51.100.7 - - ' . combined() . ' "192.0.2.10"', 'two addresses' ],
	[ 'a visitor behind two proxies (nginx)', '198.51.100.7 - - ' . combined() . ' "2001:db8::1, 203.0.113.5"', 'two addresses' ],
	[ 'an escape of HAProxy', '192.0.2.10 - - ' . combined('GET /quo#22te.html HTTP/1.1'), '# in the path' ],
	[ 'a path that varnishncsa cut', '192.0.2.10 - - ' . combined('GET http://shop.example.org/' . 'a' x 253 . ' HTTP/1.1'), 'a path that was cut' ],
	[ 'an agent that varnishncsa cut', '192.0.2.10 - - ' . combined(undef, 'a' x 242), 'a user agent that was cut' ],
	[ 'an agent that mini_httpd cut', '192.0.2.10 - - ' . combined(undef, 'a' x 200), 'a user agent that was cut' ],
	[ 'a zone that Paste invents', '192.0.2.10 - - ' . combined() =~ s/\+0530/+0550/r, 'no such time' ],
	[ 'an address in quotation marks', '"192.0.2.10" - - ' . combined(), 'another format' ],
	[ 'JSON of Docker', '{"log":"192.0.2.10 - - ' . combined() =~ s/"/\\"/gr . '\n","stream":"stdout"}', 'another format' ],
	[ 'JSON of Caddy', '{"level":"info","ts":1795790762.37,"request":{"remote_ip":"192.0.2.10"}}', 'another format' ],
	[ 'docker compose, with blanks', 'web-1  | 192.0.2.10 - - ' . combined(), 'another format' ],
	[ 'the Ingress controller, formerly', '192.0.2.10 - [192.0.2.10] - - ' . combined(), 'another format' ],
	[ 'gunicorn on a unix socket', ' - - ' . combined(), 'another format' ],
	[ 'a user with a bracket', '192.0.2.10 - jo[e] ' . combined(), 'another format' ],
	[ 'HAProxy httplog', '192.0.2.10:40684 [27/Nov/2026:20:16:49.006] fe_http b/s 0/0/0/0/0 200 283 - - ---- 1/1/0/0/0 0/0 "GET /a HTTP/1.1"', 'another format' ],
	[ 'uvicorn', 'INFO:     192.0.2.10:42804 - "GET /a HTTP/1.1" 200 OK', 'another format' ],
  )
{
	my ($label, $line, $reason) = @$case;
	left_out($label, $reason, $line);
}
imported('a proxy that the server knows', 1, 1, [ '192.0.2.10 - - ' . combined() . ' "192.0.2.10, 198.51.100.7"' ]);
imported('a fragment', 1, 1, [ '192.0.2.10 - - ' . combined('GET /a#top HTTP/1.1') ]);
imported('long paths and user agents', 3, 3, [ map { "192.0.2.10 - - $_" }
	combined('GET /' . 'a' x 253 . ' HTTP/1.1', 'a' x 242), combined('GET /' . 'a' x 300 . ' HTTP/1.1', 'a' x 300), combined() ]);

# A line that was cut after its size looks like one in the common format.
my ($output, $errors, $status, $written) = import_file(log_of(join "\n", good(), '192.0.2.1 - - ' . common()));
is("status $status, written $written", 'status 0, written 20|20', 'a line that was cut at the end of the log is left out');
like($output, qr/^\| +21 \| +cut, or in the common format +\|/m, '... and shown');

# ---- names of visitors ---------------------------------------------------------------------------------------------

my @names = map { "$_ - - " . combined() } qw(visitor.example.net localhost 192-0-2-10.example.net 192.0.2.10);
refused('names', 'a name, of the site or of the visitor', $names[0]);
imported('names, if the user says so', 4, 4, \@names, 'host_names=on');
for my $line ('shop.example.org 192.0.2.10 - -', 'shop.example.org visitor.example.net - -', 'shop.example.org:80 - -', 'Nov 27 vm nginx:',
	'shop.example.org - 192.0.2.10', 'vm.example.org - nginx: visitor.example.net - -')
{
	($output, $errors, $status, $written) = import_file(log_of("$line " . combined() . "\n"), 'host_names=on');
	is("status $status, written $written", 'status 3, written 0|0', "names: \"$line\" is refused nevertheless");
}

# ---- no user agents ------------------------------------------------------------------------------------------------

for my $agent ('', '-')
{
	($output, $errors, $status, $written) = import_file(log_of('192.0.2.10 - - ' . combined(undef, $agent) . qq( 56046 223 "fe_clf" "b" "s" 0 0 0 0 0 ---- "" "" \n)));
	is("status $status, written $written", 'status 3, written 0|0', "no line has a user agent but \"$agent\": refused");
	like($errors, qr/ERROR:  no page view of the log has a user agent.*HINT:  Nothing was imported/s, '... and the message');
	follow_hint('a log without user agents', $errors);
	imported("a visitor with the user agent \"$agent\"", 21, 21, [ good(), '198.51.100.7 - - ' . combined(undef, $agent) ]);
}

# ---- more than a tenth ---------------------------------------------------------------------------------------------

imported('a tenth is malformed', 18, 18, [ (good())[ 0 .. 17 ], 'nonsense', '' ]);
($output, $errors, $status, $written) = import_file(log_of(join "\n", (good())[ 0 .. 16 ], 'nonsense', '', 'nonsense'));
is("status $status, written $written", 'status 3, written 0|0', 'more than a tenth is malformed: refused');
like($errors, qr/ERROR:  3 of the 20 lines of the log are malformed.*DETAIL:  The first is line 18 \(another format\): nonsense\nHINT: .*-v allow_malformed=on/s, '... and the message');
imported('more than a tenth is malformed, and the user allows it', 17, 17, [ (good())[ 0 .. 16 ], ('nonsense') x 3 ], 'allow_malformed=on');
($output, $errors, $status, $written) = import_file(log_of('- - - ' . combined() . "\n"), 'allow_malformed=on');
is("status $status, written $written", 'status 3, written 0|0', 'that does not allow a wrong address');

# ---- files ---------------------------------------------------------------------------------------------------------

my $log = log_of(join "\n", good(), '');
system_or_bail('sh', '-c', "gzip -c $log > $files/access.log.gz && tar -C $files -czf $files/access.tar.gz access.log");
is((import_file("$files/access.log.gz"))[3], '20|20', 'a file of gzip is imported');
($output, $errors, $status, $written) = import_file("$files/access.tar.gz");
is("status $status, written $written", 'status 3, written 0|0', 'an archive of tar is refused');
($output, $errors, $status, $written) = import_file(log_of(encode('UTF-16', join "\n", good(), '')));
is("status $status, written $written", 'status 3, written 0|0', 'UTF-16 with a byte order mark is refused');

ok_exact($node, 'at the end');
ok_no_accidents($node);
$node->stop;
done_testing();
