# DROP EXTENSION during a backfill waits for one batch at most, and succeeds. The worker exits without a
# further line in the log. The same session may then create the extension again.

use strict;
use warnings;

use SiteStats;
use Test::More;

# A deadlock would be found at once, and no DROP may be part of one.
my $node = new_node('extension_dropped', deadlock_timeout => "'100ms'", 'site_stats.backfill_batch_size' => 10);
$node->start;

my $session = $node->background_psql('postgres', on_error_stop => 0);
for my $time (1 .. 12)
{
	my $label    = "dropped while it runs, time $time";
	my $position = log_position($node);
	$session->query_safe('CREATE EXTENSION site_stats');
	fill($node, 2500);
	$session->query_safe(q(SELECT site_stats.record_page_view('/', 'page', 's')));
	$session->query_safe('SELECT site_stats.start_backfill()');
	# Each time the DROP comes at another moment: before the worker runs, as it begins, and in the middle.
	ok_until($node, "cursor >= " . 100 * ($time - 2), "$label: under way") if $time > 1;
	my ($output, $failed) = $session->query('DROP EXTENSION site_stats');
	is($failed ? $session->{stderr} : '', '', "$label: succeeds");
	$session->{stderr} = '';
	ok_no_worker($node, $label);
	is(count_lines($node, 'deadlock detected', $position), 0, "$label: no deadlock");
	cmp_ok(count_lines($node, 'site_stats', $position), '<=', 4, "$label: next to nothing in the log");
}

# The session that has seen all these extensions, and a new session, still count right.
$session->query_safe('CREATE EXTENSION site_stats');
fill($node, 500);
$session->query_safe(q(INSERT INTO site_stats.page_views (path, session_id) SELECT '/n' || i % 3, 'n' || i FROM generate_series(1, 9) AS i));
$session->query_safe('SELECT site_stats.start_backfill()');
ok_until($node, "status = 'complete'", 'created again: complete');
check_sound($node, 'created again');
$session->query_safe('DELETE FROM site_stats.page_views WHERE id % 3 = 0');
ok_exact($node, 'created again, written to by the old session');
$session->quit;

# A DROP that is rolled back changes nothing.
$node->safe_psql('postgres', 'SELECT site_stats.start_backfill(); BEGIN; DROP EXTENSION site_stats; ROLLBACK;');
ok_resumes($node, 'SELECT * FROM site_stats.get_stats()', 'DROP rolled back');
ok_exact($node, 'DROP rolled back');

ok_no_worker($node, 'at the end');
ok_no_accidents($node);
$node->stop;
done_testing();
