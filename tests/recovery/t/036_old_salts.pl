# Nobody views a page any more: maintenance erases the salts that are older than 48 hours, and no other.

use strict;
use warnings;

use SiteStats;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('old_salts', shared_preload_libraries => "'site_stats'", 'site_stats.maintenance_interval' => "'1h'");
$node->start;
create_site($node, 'postgres', 0);
$node->safe_psql('postgres', q(
	INSERT INTO site_stats.salts SELECT (now() AT TIME ZONE 'UTC')::date - i, decode(md5(i::text), 'hex') FROM generate_series(-1, 9) AS i));

# A stop writes the table to the disk, which no checkpoint does.
my $file = $node->data_dir . '/' . $node->safe_psql('postgres', q(SELECT pg_relation_filepath('site_stats.salts')));
my $on_disk = sub { index(PostgreSQL::Test::Utils::slurp_file($file), pack('H*', $_[0])) >= 0 ? 'there' : 'gone' };
my ($yesterday, $older) = split /\|/, $node->safe_psql('postgres', q(SELECT md5('1'), md5('5')));
$node->stop;
is(join(' ', map { $on_disk->($_) } $yesterday, $older), 'there there', 'salts are on the disk');
$node->start;

# The launcher begins a round when its interval changes.
$node->safe_psql('postgres', q(ALTER SYSTEM SET site_stats.maintenance_interval = '1s'));
$node->reload;
ok_until($node, 'SELECT count(*) = 3 FROM site_stats.salts', 'maintenance erases old salts');
is($node->safe_psql('postgres', q(
	SELECT string_agg(((now() AT TIME ZONE 'UTC')::date - s.day)::text, ' ' ORDER BY s.day), bool_and(s.salt = decode(md5(((now() AT TIME ZONE 'UTC')::date - s.day)::text), 'hex'))
	FROM site_stats.salts AS s)),
	'1 0 -1|t', 'those of yesterday, today and a clock that went back are as they were');
is(join(' ', map { $on_disk->($_) } $yesterday, $older), 'there gone', 'old ones are gone from the disk at once');
is(count_lines($node, 'maintenance failed'), 0, 'nothing failed');

done_testing();
