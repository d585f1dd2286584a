# Without the launcher, a reader starts a maintenance worker only if it meets many rows in counter slots other
# than 0.

use strict;
use warnings;

use SiteStats;
use Test::More;

my $node  = new_site('folded_in_passing', 100);
my $rows  = 'SELECT count(*) FROM site_stats.path_totals WHERE slot > 0';
my $views = 'INSERT INTO site_stats.page_views (path, session_id)';
my $read  = 'SELECT total_page_views FROM site_stats.get_stats()';
my $sent  = q(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'site_stats maintenance');

$node->safe_psql('postgres', 'CALL site_stats.backfill()');
my $busy = $node->background_psql('postgres');

# A transaction that reads statistics between its writes keeps counter slot 0 to its end. Other writers then
# use the next one.
sub hold_slot_0 { $busy->query_safe("BEGIN; $views VALUES ('/busy', 'busy'); $read"); return }

# As many rows as one transaction folds are enough. One row less is left alone.
hold_slot_0();
$node->safe_psql('postgres', "$views SELECT '/page-' || n, 'session ' || n % 7 FROM generate_series(1, 4999) AS n");
$busy->query_safe('COMMIT');
is($node->safe_psql('postgres', $rows), 4999, 'a few: they are in another slot');
$node->safe_psql('postgres', $read);
sleep 1;
is($node->safe_psql('postgres', $sent), 0, 'a few: no worker is started');
is($node->safe_psql('postgres', $rows), 4999, 'a few: they stay');
check_sound($node, 'a few');

hold_slot_0();
$node->safe_psql('postgres', "$views VALUES ('/page-5000', 'session 1')");
is($node->safe_psql('postgres', $read), 5101, 'many: counted');
sleep 1;
is($node->safe_psql('postgres', $rows), 5000, 'many: nothing is folded while slot 0 is in use');
$busy->query_safe('COMMIT');
$node->safe_psql('postgres', $read);
ok_until($node, 'SELECT NOT EXISTS (SELECT FROM site_stats.path_totals WHERE slot > 0)', 'many: folded by the worker that the reader started');
ok_until($node, "SELECT ($sent) = 0", 'many: who leaves then');
check_sound($node, 'many');

$busy->quit;
ok_no_accidents($node);
$node->stop;
done_testing();
