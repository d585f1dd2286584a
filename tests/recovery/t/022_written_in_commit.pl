# Another extension writes page views in the commit itself, after the flush. They are counted all the same.

use strict;
use warnings;

use SiteStats;
use Test::More;

my $node = new_site('commit', 0);
require_fault_points($node);
my $insert = q(INSERT INTO site_stats.page_views (path, session_id, viewed_at) VALUES ('%s', '%s', '2025-01-01 00:00:00+00'));
my $fault  = sprintf "SET site_stats.fault_at_commit = %s", "\$\$" . sprintf($insert, '/late', 'late') . "\$\$";

$node->safe_psql('postgres', join ';', "LOAD 'site_stats'", $fault, sprintf($insert, '/early', 'early'), 'RESET site_stats.fault_at_commit');
ok_exact($node, 'a statement of its own');
cmp_ok($node->safe_psql('postgres', q(SELECT count(*) FROM site_stats.page_views WHERE path = '/late')), '>', 0, 'it was written in the commit');
$node->safe_psql('postgres', join ';', "LOAD 'site_stats'", $fault, 'BEGIN', sprintf($insert, '/early', 'late'),
	'SELECT total_page_views FROM site_stats.get_stats()', 'COMMIT');
ok_exact($node, 'a transaction that has read');
$node->safe_psql('postgres', join ';', "LOAD 'site_stats'", $fault, 'BEGIN ISOLATION LEVEL REPEATABLE READ', sprintf($insert, '/early', 'other'), 'COMMIT');
ok_exact($node, 'REPEATABLE READ');

ok_no_accidents($node);
$node->stop;
done_testing();
