# Tables and schema are given to other roles, as scripts of hosts do. With one owner all works as before. With several, what
# cannot work says so when it is asked for, and page views are counted all the same.

use strict;
use warnings;

use SiteStats;
use Test::More;

my $node = new_site('owners', 300, max_worker_processes => 12);
$node->safe_psql('postgres', q(
	CREATE ROLE app LOGIN;
	CREATE ROLE other LOGIN;
	CREATE ROLE visitor LOGIN;
	GRANT USAGE ON SCHEMA site_stats TO visitor;
	GRANT EXECUTE ON FUNCTION site_stats.record_page_view, site_stats.get_stats TO visitor;
	CALL site_stats.backfill();));
my @tables = qw(page_views path_totals daily_totals site_totals sessions active_sessions backfill_state backfill_requests);

# What asks for a backfill raises 42501, and nothing is left of the request.
sub ok_refused
{
	my ($label, $message) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $position = log_position($node);
	my $before   = progress($node, 'status, requested_at, started_at');
	for my $call ('SELECT site_stats.start_backfill()', 'CALL site_stats.backfill()', 'SELECT site_stats.begin_backfill()')
	{
		like(sqlstate_of($node, $call), qr/^42501: a backfill acts as $message Give all tables of the schema site_stats to one role, and that role USAGE on the schema\.$/, "$label: $call");
	}
	my $answers = $node->safe_psql('postgres', q(
		SET ROLE visitor;
		SELECT site_stats.record_page_view('/visited', 'page', 'visitor ' || clock_timestamp());
		SELECT total_page_views > 0 FROM site_stats.get_stats();));
	is($answers, "recorded\nt", "$label: a visitor is recorded");
	ok_exact($node, $label);
	is(progress($node, 'status, requested_at, started_at'), $before, "$label: no request is left");
	is(count_lines($node, 'site_stats: ', $position), 0, "$label: nothing in the log");
	is(join(' ', workers($node)), '', "$label: no worker");
	return;
}

# All that there is to do works.
sub ok_works
{
	my ($label) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $position = log_position($node);
	$node->safe_psql('postgres', q(
		INSERT INTO site_stats.page_views (path, session_id, viewed_at) VALUES ('/old', 's1', '2025-01-03 12:00+00'), ('/new', 'new', now());
		UPDATE site_stats.page_views SET session_id = 's2' WHERE session_id = 's1' AND id % 2 = 0;
		DELETE FROM site_stats.page_views WHERE id % 17 = 0;
		SELECT site_stats.heartbeat('visitor', '/');
		SELECT site_stats.fold_totals();));
	is($node->safe_psql('postgres', q(SET ROLE visitor; SELECT site_stats.record_page_view('/visited', 'page', 'visitor ' || clock_timestamp()))), 'recorded', "$label: a visitor is recorded");
	ok_exact($node, "$label: written");
	like($node->safe_psql('postgres', 'SELECT site_stats.start_backfill()'), qr/^Backfill started/, "$label: a backfill starts");
	$node->safe_psql('postgres', 'CALL site_stats.await_backfill()');
	ok_exact($node, "$label: after a backfill by a worker");
	ok_no_worker($node, $label);
	$node->safe_psql('postgres', 'CALL site_stats.backfill()');
	ok_exact($node, "$label: after a backfill by CALL");
	$node->safe_psql('postgres', 'BEGIN; TRUNCATE site_stats.page_views; ROLLBACK');
	is(count_lines($node, 'permission denied|ERROR|failed', $position), 0, "$label: no error in the log");
	return;
}

ok_works('one owner');

$node->safe_psql('postgres', 'GRANT USAGE ON SCHEMA site_stats TO app');
$node->safe_psql('postgres', "ALTER TABLE site_stats.$_ OWNER TO app") for @tables;
for my $table (grep { $_ ne 'page_views' } @tables)
{
	$node->safe_psql('postgres', "ALTER TABLE site_stats.$table OWNER TO postgres");
	ok_refused("$table of another owner", qr/"app", the owner of page_views, who may not use table site_stats\.$table/);
	$node->safe_psql('postgres', "ALTER TABLE site_stats.$table OWNER TO app");
}
ok_works('all tables of another owner');

$node->safe_psql('postgres', 'REVOKE USAGE ON SCHEMA site_stats FROM app');
ok_refused('no rights in the schema', qr/"app", the owner of page_views, who may not use schema site_stats/);
$node->safe_psql('postgres', 'ALTER SCHEMA site_stats OWNER TO app; ALTER TABLE site_stats.content OWNER TO app');
ok_works('all tables and the schema of another owner');

# A role that is a member of the others may use their tables.
$node->safe_psql('postgres', 'ALTER TABLE site_stats.sessions OWNER TO other; GRANT other TO app');
ok_works('a member of the other owner');
$node->safe_psql('postgres', 'ALTER TABLE site_stats.sessions OWNER TO app; REVOKE other FROM app');

# Row-level security, forced for an owner that is no superuser.
$node->safe_psql('postgres', "ALTER TABLE site_stats.$_ ENABLE ROW LEVEL SECURITY") for @tables;
ok_works('row-level security');
my $hidden = 'query would be affected by row-level security policy for table';
for my $table (qw(page_views backfill_state))
{
	my $label = "row-level security, forced on $table";
	$node->safe_psql('postgres', "ALTER TABLE site_stats.$table FORCE ROW LEVEL SECURITY");
	like(sqlstate_of($node, 'CALL site_stats.backfill()'), qr/^42501: $hidden "$table" To disable the policy for the table's owner, use ALTER TABLE NO FORCE ROW LEVEL SECURITY\.$/, "$label: CALL says so");
	$node->safe_psql('postgres', q(SET ROLE visitor; SELECT site_stats.record_page_view('/visited', 'page', 'visitor ' || clock_timestamp())));
	ok_exact($node, $label);
	$node->safe_psql('postgres', "ALTER TABLE site_stats.$table NO FORCE ROW LEVEL SECURITY");
}
$node->safe_psql('postgres', 'ALTER TABLE site_stats.page_views FORCE ROW LEVEL SECURITY; SELECT site_stats.start_backfill()');
ok_until($node, "status = 'failed'", 'row-level security, forced: a backfill fails');
like(progress($node, 'last_error'), qr/^$hidden "page_views"/, 'row-level security, forced: with the reason');
ok_no_worker($node, 'row-level security, forced');
$node->safe_psql('postgres', "ALTER TABLE site_stats.$_ NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY") for @tables;

# Triggers of such an owner on the counters act as that owner.
$node->safe_psql('postgres', q(
	CREATE TABLE acted (name text);
	GRANT INSERT ON acted TO app;
	CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.acted VALUES (current_user); RETURN NULL; END $$;
	CREATE TRIGGER own AFTER INSERT OR UPDATE OR DELETE ON site_stats.path_totals FOR EACH ROW EXECUTE FUNCTION act();));
ok_works('a trigger of the owner');
is($node->safe_psql('postgres', 'SELECT DISTINCT name FROM acted'), 'app', 'a trigger of the owner acts as the owner');

ok_no_accidents($node);
$node->stop;
done_testing();
