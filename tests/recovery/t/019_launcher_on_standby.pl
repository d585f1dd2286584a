# A standby with site_stats in shared_preload_libraries has no launcher while it replays. As soon as it is
# promoted, it has one, which resumes the backfill that the primary was in the middle of.

use strict;
use warnings;

use SiteStats;
use Test::More;

my $views   = 1000;
my %preload = (shared_preload_libraries => "'site_stats'", 'site_stats.maintenance_interval' => "'1s'");
my $primary = new_node('primary', allows_streaming => 1, %preload);
$primary->start;
require_fault_points($primary);
create_site($primary, 'postgres', $views);
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

set_fault($primary, 'moved:wait:4');
my $position = log_position($primary);
$primary->safe_psql('postgres', 'SELECT site_stats.start_backfill()');
ok_at_fault($primary, 'primary', $position);
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('flush'));

ok_state($standby, 'status, cursor', 'running|300', 'standby: in the middle');
is($standby->safe_psql('postgres', q(SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'site_stats%')), 0, 'standby: no process of ours');
ok_exact($standby, 'standby');
is(count_lines($standby, 'site_stats: launcher started'), 0, 'standby: there was none');

$primary->stop('immediate');
$standby->promote;
ok_until($standby, "status = 'complete'", 'promoted: the backfill goes on by itself');
check_sound($standby, 'promoted');
is(count_lines($standby, 'site_stats: launcher started'), 1, 'promoted: one launcher');
is(count_lines($standby, 'site_stats: backfill resumed after an interruption'), 1, 'promoted: one line for the backfill');
ok_no_accidents($standby);
$standby->stop;
done_testing();
