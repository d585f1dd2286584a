# A transaction writes page views and, by postgres_fdw, another database. Counting fails when it commits: then nothing is
# committed in the other database either, whichever of the two libraries came first.

use strict;
use warnings;

use SiteStats;
use Test::More;

my $node = new_node('foreign_tables');
$node->start;
plan skip_all => 'postgres_fdw is not installed'
  unless $node->safe_psql('postgres', q(SELECT count(*) FROM pg_available_extensions WHERE name = 'postgres_fdw'));

my ($host, $port) = ($node->host, $node->port);
create_site($node, 'postgres', 0);
$node->safe_psql('postgres', 'CREATE DATABASE remote');
$node->safe_psql('remote', 'CREATE TABLE orders (note text); CREATE TABLE kept (note text)');
$node->safe_psql('postgres', qq(
	CREATE EXTENSION postgres_fdw;
	CREATE SERVER remote FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname 'remote');
	CREATE USER MAPPING FOR postgres SERVER remote OPTIONS (user 'postgres');
	CREATE FOREIGN TABLE orders (note text) SERVER remote;
	CREATE TABLE local_orders (note text);
	CREATE FUNCTION pass_on() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN INSERT INTO orders VALUES (NEW.note); RETURN NULL; END \$\$;
	CREATE CONSTRAINT TRIGGER pass_on AFTER INSERT ON local_orders INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION pass_on();
	CREATE FUNCTION order_and_view(note text) RETURNS void LANGUAGE plpgsql AS \$\$
	BEGIN
		INSERT INTO site_stats.page_views (path, session_id) VALUES ('/', 's');
		INSERT INTO orders VALUES (note);
	END
	\$\$;));

my $view   = q(INSERT INTO site_stats.page_views (path, session_id) VALUES ('/', 's'););
my $order  = q(INSERT INTO orders VALUES ('order'););
my $copied = "COPY orders FROM stdin;\ncopied\n\\.\n";

# Each runs in a session of its own, in which neither library is loaded before.
my @transactions = (
	[ 'the page view first',                    "BEGIN; $view $order COMMIT;" ],
	[ 'the order first',                        "BEGIN; $order $view COMMIT;" ],
	[ 'the library first',                      "LOAD 'site_stats'; BEGIN; $order $view COMMIT;" ],
	[ 'both libraries first',                   "LOAD 'postgres_fdw'; LOAD 'site_stats'; BEGIN; $order $view COMMIT;" ],
	[ 'a connection of an earlier transaction', "SELECT count(*) FROM orders; BEGIN; $view $order COMMIT;" ],
	[ 'a page view of an earlier transaction',  "INSERT INTO site_stats.page_views (path, session_id) VALUES ('/', 'other'); BEGIN; $order $view COMMIT;" ],
	[ 'in one statement',                       "WITH viewed AS (INSERT INTO site_stats.page_views (path, session_id) VALUES ('/', 's') RETURNING path) INSERT INTO orders SELECT path FROM viewed;" ],
	[ 'in a function',                          q(SELECT order_and_view('order');) ],
	[ 'in a DO block',                          q(DO $$ BEGIN PERFORM order_and_view('order'); END $$;) ],
	[ 'in a savepoint',                         "BEGIN; $view SAVEPOINT one; $order RELEASE one; COMMIT;" ],
	[ 'record_page_view()',                     "BEGIN; SELECT site_stats.record_page_view('/called', 'page', 's'); $order COMMIT;" ],
	[ 'by COPY, after the page view',           "BEGIN; $view\n${copied}COMMIT;" ],
	[ 'by COPY, before the page view',          "BEGIN;\n$copied$view COMMIT;" ],
	[ 'by a deferred trigger',                  "BEGIN; $view INSERT INTO local_orders VALUES ('order'); COMMIT;" ],
	[ 'by a deferred trigger, with one made before', "BEGIN; INSERT INTO local_orders VALUES ('order'); $view COMMIT;" ],
);

# Each transaction fails with this error, and leaves nothing on either side.
sub ok_atomic
{
	my ($why, $sqlstate, $setting) = @_;
	for (@transactions)
	{
		my ($label, $sql) = @$_;
		my $views = $node->safe_psql('postgres', q(SELECT count(*) FROM site_stats.page_views WHERE session_id = 's'));
		my ($status, $output, $errors) = $node->psql('postgres', "\\set VERBOSITY verbose\n$setting\n$sql");
		like($errors, qr/ERROR:  $sqlstate:/, "$why, $label: the commit fails");
		is($node->safe_psql('remote', 'SELECT count(*) FROM orders'), '0', "$why, $label: nothing in the other database");
		is($node->safe_psql('postgres', q(SELECT count(*) FROM site_stats.page_views WHERE session_id = 's')), $views, "$why, $label: no page view");
		$node->safe_psql('remote', 'DELETE FROM orders');
		$node->safe_psql('postgres', 'SET session_replication_role = replica; DELETE FROM local_orders');
	}
	return;
}

# Without a failure all of them commit on both sides.
for (@transactions)
{
	my ($label, $sql) = @$_;
	$node->psql('postgres', $sql, on_error_die => 1);
	is($node->safe_psql('remote', 'SELECT count(*) FROM orders'), '1', "no failure, $label: committed");
	$node->safe_psql('remote', 'DELETE FROM orders');
	$node->safe_psql('postgres', q(DELETE FROM local_orders; DELETE FROM site_stats.page_views WHERE session_id = 's'));
}
ok_exact($node, 'without a failure');

# Another transaction holds the row of the visitor.
$node->safe_psql('postgres', q(INSERT INTO site_stats.page_views (path, session_id) VALUES ('/', 's')));
$node->safe_psql('postgres', q(BEGIN; DELETE FROM site_stats.page_views WHERE session_id = 's'; PREPARE TRANSACTION 'holder'));
ok_atomic('lock_timeout', '55P03', q(SET lock_timeout = '100ms';));
$node->safe_psql('postgres', q(ROLLBACK PREPARED 'holder'));
ok_exact($node, 'after lock timeouts');

# An index of the owner does not allow the row of the visitor.
$node->safe_psql('postgres', q(
	DELETE FROM site_stats.page_views;
	INSERT INTO site_stats.page_views (path, session_id) VALUES ('/', 'S');
	CREATE UNIQUE INDEX one_visitor ON site_stats.sessions (lower(session_id));));
ok_atomic('unique index', '23505', '');
ok_exact($node, 'after conflicts');

ok_no_accidents($node);
$node->stop;
done_testing();
