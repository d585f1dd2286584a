#!/usr/bin/perl
# Turns the measurements of bin/bench into results: ratios within a run, each beside the bar that it must meet.
#
#     perl report.pl FILE...                 prints them as two tables
#     perl report.pl --markdown FILE...      the same for a document
#     perl report.pl --json OUT FILE...      prints them, and writes them to OUT with every measurement
#
# A file has the measurements of a part: lines "what TAB unit TAB value" in the order of its rounds, and lines
# "# TAB name TAB value" about the run. A ratio is taken in each round; the result is the median of the rounds.

use strict;
use warnings;

use JSON::PP;
use List::Util qw(max min);

my @words = qw(path source country entry_path);

# What is compared: the part, a description, two measurements, and the bar, at least (>=) or at most (<=). The first
# measurement is divided by the second. With a "-" in place of the second, the first stands for itself.
my @figures = (
	['inserts', 'naive inserts, 1 client, of plain',            'naive, 1 clients',       'plain, 1 clients'],
	['inserts', 'naive inserts, 16 clients, of plain',          'naive, 16 clients',      'plain, 16 clients'],
	['inserts', 'naive inserts, 64 clients, of plain',          'naive, 64 clients',      'plain, 64 clients'],
	['inserts', 'pg_ivm inserts, 1 client, of plain',           'pg_ivm, 1 clients',      'plain, 1 clients'],
	['inserts', 'pg_ivm inserts, 16 clients, of plain',         'pg_ivm, 16 clients',     'plain, 16 clients'],
	['inserts', 'pg_ivm inserts, 64 clients, of plain',         'pg_ivm, 64 clients',     'plain, 64 clients'],
	['inserts', 'timescaledb inserts, 1 client, of plain',      'timescaledb, 1 clients', 'plain, 1 clients'],
	['inserts', 'timescaledb inserts, 16 clients, of plain',    'timescaledb, 16 clients', 'plain, 16 clients'],
	['inserts', 'timescaledb inserts, 64 clients, of plain',    'timescaledb, 64 clients', 'plain, 64 clients'],
	['inserts', 'inserts, 1 client, of plain',                  'site_stats, 1 clients',  'plain, 1 clients',  '>=', 0.60],
	['inserts', 'inserts, 16 clients, of plain',                'site_stats, 16 clients', 'plain, 16 clients', '>=', 0.70],
	['inserts', 'inserts, 64 clients, of plain',                'site_stats, 64 clients', 'plain, 64 clients', '>=', 0.60],
	['copy',    'COPY, of plain',                               'plain',                  'site_stats',        '>=', 0.50],
	['copy',    'memory of that COPY above idle, MiB',          'site_stats, memory',     '-'],
	['copy',    'memory of a plain COPY above idle, MiB',       'plain, memory',          '-'],
	['api',     'record_page_view(), 16 clients, of plain inserts', 'recorded',           'plain',             '>=', 0.50],
	['api',     'receive(), 16 clients, of plain inserts',  'received',              'plain',             '>=', 0.50],
	['api',     'heartbeat(), 16 clients, of plain inserts',    'heartbeat',              'plain'],
	['backfill', 'backfill, 500 rows at a time, speed against one statement', 'one statement', 'transactions of 500 rows', '>=', 0.50],
	['backfill', 'backfill, 10,000 rows at a time, speed against one statement', 'one statement', 'transactions of 10000 rows', '>=', 0.80],
	['backfill', 'backfill while an old snapshot is open, time against without', 'short history, old snapshot open', 'short history'],
	['latency', q(writers' 99th percentile during a backfill, against without), 'p99 during', 'p99 without',   '<=', 2],
	['reads',   'get_stats() against direct SQL, times as fast', 'direct SQL, long history', 'get_stats(), long history', '>=', 500],
	['reads',   'get_stats(), long against short history',      'get_stats(), long history', 'get_stats(), short history', '<=', 1.2],
	['slots',   'get_stats(), 100,000 paths after a busy day, against 1,000', 'get_stats(), folded', 'get_stats(), 1,000 paths', '<=', 20],
	['slots',   'the same before its slots are folded',         'get_stats(), not folded', 'get_stats(), 1,000 paths'],
	['memory',  'memory of the worker above an idle backend, MiB', 'worker at 100 %, above idle', '-',         '<=', 64],
	['memory',  'memory of the worker at 100 %, against at 10 %', 'worker at 100 %',      'worker at 10 %'],
	['size',    'size of the aggregates, of page_views with its indexes', 'aggregates',   'page_views',        '<=', 0.35],
	(map { ['reports', "timeline by $_ of a year, against direct SQL, times as fast", "direct SQL, timeline by $_, a year", "timeline by $_, a year", '>=', 100] } qw(day week)),
	(map { my $days = $_; map { ['reports', "breakdown by $_ of $days, against direct SQL, times as fast", "direct SQL, breakdown by $_, $days", "breakdown by $_, $days", '>=', 100] } @words } '30 days', 'a year'),
	(map { my $days = $_; map { ['reports', "breakdown by $_ of $days with two filters, against direct SQL, times as fast", "direct SQL, two filters, by $_, $days", "two filters, by $_, $days", '>=', 50] } @words } '30 days', 'a year'),
	['reports', 'visitors of a year, against count(DISTINCT), times as fast', 'count(DISTINCT session_id), a year', 'summary, a year', '>=', 300],
	['reports', 'page of 30 days, against direct SQL, times as fast', 'direct SQL, page, 30 days', 'page, 30 days', '>=', 100],
	['reports', 'page of 30 days, against get_stats()',          'page, 30 days',          'get_stats()',       '<=', 60],
	['reports', 'stats_page() of 30 days, against direct SQL of its reports, times as fast', 'direct SQL, page, 30 days', 'stats_page(), 30 days', '>=', 100],
	['reports', 'stats_page() of 30 days, against get_stats()',  'stats_page(), 30 days',  'get_stats()',       '<=', 60],
	['reports', 'views_by_day() of a year, against before, times as fast', 'before, views_by_day(), a year', 'views_by_day(), a year', '>=', 100],
	['reports', 'top_pages() of a year, against before, times as fast', 'before, top_pages(), a year', 'top_pages(), a year', '>=', 100],
	['reports', 'page of a year, ten times as many views',       'page, a year of ten times as many', 'page, a year', '<=', 12],
	['reports', 'memory of that page above idle, MiB',           'memory of that page, above idle', '-',     '<=', 64],
	['reports', 'page while 16 clients insert 400 a second, against alone', 'page, inserts at 400 a second', 'page, nobody else', '<=', 2],
	['reports', 'page while 16 clients insert at full speed, against alone', 'page, inserts at full speed', 'page, nobody else', '<=', 2],
	['reports', 'write_spans(), speed against a backfill of 10,000 rows at a time', 'backfill',  'write_spans()',     '>=', 1],
	['reports', 'memory of write_spans() at 100 %, against at 10 %, above idle', 'write_spans() at 100 %, above idle', 'write_spans() at 10 %, above idle'],
	['reports', 'size of spans, of page_views with its indexes', 'all of spans',           'page_views',        '<=', 0.06],
);

my ($format, $json) = ('text', undef);
if (@ARGV && $ARGV[0] eq '--markdown') { shift; $format = 'markdown' }
elsif (@ARGV && $ARGV[0] eq '--json') { shift; $json = shift }
die "usage: report.pl [--markdown | --json OUT] FILE...\n" unless @ARGV;

# ---- the measurements ----------------------------------------------------------------------------------------------

my (%parts, @parts);
for my $path (@ARGV)
{
	open my $file, '<', $path or die "could not read $path: $!\n";
	my %part = (about => {}, order => [], values => {}, units => {});
	while (<$file>)
	{
		chomp;
		my ($what, $unit, $value) = split /\t/;
		if ($what eq '#') { $part{about}{$unit} = $value; next }
		push @{ $part{order} }, $what unless $part{values}{$what};
		push @{ $part{values}{$what} }, $value + 0;
		$part{units}{$what} = $unit;
	}
	push @parts, $part{about}{part};
	$parts{ $part{about}{part} } = \%part;
}

sub median
{
	my @sorted = sort { $a <=> $b } @_;
	my $middle = int(@sorted / 2);
	return @sorted % 2 ? $sorted[$middle] : ($sorted[$middle - 1] + $sorted[$middle]) / 2;
}

# Three significant digits.
sub short
{
	my ($number) = @_;
	my $size = abs $number;
	return sprintf $size >= 100 ? '%.0f' : $size >= 10 ? '%.1f' : $size >= 0.1 || $size == 0 ? '%.2f' : '%.3f', $number;
}

my @results;
for my $figure (@figures)
{
	my ($name, $what, $first, $second, $sense, $bar) = @$figure;
	my $part = $parts{$name} or next;
	my $above = $part->{values}{$first} or next;
	my $below = $second eq '-' ? [ map { 1 } @$above ] : $part->{values}{$second} or next;
	my @ratios = map { $above->[$_] / $below->[$_] } 0 .. min($#$above, $#$below);
	my $ratio = median(@ratios);
	push @results, {
		part => $name, what => $what, result => $ratio, smallest => min(@ratios), largest => max(@ratios), rounds => scalar @ratios,
		defined $bar ? (bar => "$sense $bar", met => ($sense eq '>=' ? $ratio >= $bar : $ratio <= $bar) ? JSON::PP::true : JSON::PP::false) : (),
	};
}

# ---- what is printed -----------------------------------------------------------------------------------------------

# Prints rows under their headings; the first column is text, the others are aligned to the right.
sub table
{
	my @rows = @_;
	if ($format eq 'markdown')
	{
		printf "| %s |\n", join ' | ', @{ shift @rows };
		printf "|%s|\n", join '|', '---', map { '---:' } 2 .. @{ $rows[0] };
		printf "| %s |\n", join ' | ', @$_ for @rows;
		return;
	}
	my @widths = map { my $column = $_; max map { length $_->[$column] } @rows } 0 .. $#{ $rows[0] };
	for my $row (@rows)
	{
		printf "    %-*s%s\n", $widths[0], $row->[0], join '', map { sprintf '  %*s', $widths[$_], $row->[$_] } 1 .. $#$row;
	}
}

table([qw(what result spread bar met)], map {
	[$_->{what}, short($_->{result}), short($_->{smallest}) . ' to ' . short($_->{largest}),
		$_->{bar} // '', defined $_->{met} ? $_->{met} ? 'yes' : 'no' : '']
} @results) if @results;
print "\n";
table([qw(measured unit median spread)], map {
	my ($name, $part) = ($_, $parts{$_});
	map {
		my @values = @{ $part->{values}{$_} };
		["$name: $_", $part->{units}{$_}, short(median(@values)), @values > 1 ? short(min @values) . ' to ' . short(max @values) : '']
	} @{ $part->{order} }
} @parts);

print "\n";
for my $about (map { $parts{$_}{about} } @parts)
{
	printf "%s%s: commit %s, %s, PostgreSQL %s, scale %s, %s s\n", $format eq 'markdown' ? '- ' : '    ',
		map { $about->{$_} // '?' } qw(part commit date server scale seconds);
}

if (defined $json)
{
	my %all = (results => \@results, parts => [ map { { about => $_->{about}, measurements => $_->{values}, units => $_->{units} } } @parts{@parts} ]);
	open my $file, '>', $json or die "could not write $json: $!\n";
	print $file JSON::PP->new->pretty->canonical->encode(\%all);
	close $file or die "could not write $json: $!\n";
}
