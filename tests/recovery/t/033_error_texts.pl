# Errors of the owner's own constraints and triggers, met in our functions and in a backfill, in databases of other
# encodings than UTF-8: their texts arrive whole, and the names of schema, table, column and constraint are kept.

use strict;
use warnings;

use SiteStats;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_site('error_texts', 0);

# What psql shows of an error, as UTF-8 bytes: the error, its detail and the names, without its context.
sub error_of {
	my ($database, $query) = @_;
	my (undef, undef, $error) = $node->psql($database, $query, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	return join "\n", grep { /^(ERROR|DETAIL|[A-Z ]+ NAME):/ } map { s/^psql:<stdin>:\d+: //r } split /\n/, $error;
}

$ENV{PGCLIENTENCODING} = 'UTF8';
for my $case ([ 'LATIN1', '/café' ], [ 'EUC_JP', '/日本語' ], [ 'UTF8', '/日本語' ]) {
	my ($encoding, $path) = @$case;
	my $database = 'db_' . lc $encoding;
	$node->safe_psql('postgres', "CREATE DATABASE $database TEMPLATE template0 ENCODING '$encoding' LOCALE 'C'");
	$node->safe_psql($database, q(
		CREATE EXTENSION site_stats;
		ALTER TABLE site_stats.page_views ADD CONSTRAINT plain CHECK (path ~ '^/[ -~]*$')));

	# The constraint of page_views, by an INSERT of one's own and by the function.
	my $insert = error_of($database, "INSERT INTO site_stats.page_views (path, session_id) VALUES ('$path', 's')");
	like($insert, qr/23514: .*"plain".*\nDETAIL:  Failing row contains \(\d+, \Q$path\E, .*\nSCHEMA NAME:  site_stats\nTABLE NAME:  page_views\nCONSTRAINT NAME:  plain/, "$encoding, INSERT: the whole error");
	my $call = error_of($database, "SELECT site_stats.record_page_view('$path', 'page', 's')");
	s/contains \(\d+,/contains (id,/, s/\d{4}-\d\d-\d\d [^,)]*/time/g for $insert, $call;
	is($call, $insert, "$encoding, record_page_view(): the same error");

	# A constraint of a table of counters, in a flush and in a batch of a backfill.
	$node->safe_psql($database, "ALTER TABLE site_stats.page_views DROP CONSTRAINT plain; INSERT INTO site_stats.page_views (path, session_id) VALUES ('$path', 's')");
	$node->safe_psql($database, q(ALTER TABLE site_stats.path_totals ADD CONSTRAINT plain_totals CHECK (path ~ '^/[ -~]*$') NOT VALID));
	my $flush = error_of($database, "INSERT INTO site_stats.page_views (path, session_id) VALUES ('$path', 's')");
	like($flush, qr/23514: .*"plain_totals".*\nDETAIL:  Failing row contains \(.*\Q$path\E.*\nSCHEMA NAME:  site_stats\nTABLE NAME:  path_totals\nCONSTRAINT NAME:  plain_totals/, "$encoding, flush: the whole error");
	my $backfill = error_of($database, 'CALL site_stats.backfill()');
	like($backfill, qr/23514: .*"plain_totals".*\nDETAIL:  Failing row contains \(.*\Q$path\E.*\nSCHEMA NAME:  site_stats\nTABLE NAME:  path_totals\nCONSTRAINT NAME:  plain_totals/, "$encoding, backfill(): the whole error");

	# A message with the path itself, in last_error and from there.
	$node->safe_psql($database, q(
		CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no % here', NEW.path; END $$;
		ALTER TABLE site_stats.path_totals DROP CONSTRAINT plain_totals;
		CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON site_stats.path_totals FOR EACH ROW EXECUTE FUNCTION refuse()));
	$node->safe_psql($database, 'SELECT site_stats.start_backfill()');
	like(error_of($database, 'CALL site_stats.await_backfill()'), qr/\Qno $path here\E/, "$encoding, await_backfill(): why the backfill has failed");
	is($node->safe_psql($database, 'SELECT last_error FROM site_stats.backfill_state'), "no $path here", "$encoding: last_error is the message");

	$node->safe_psql($database, 'DROP TRIGGER refuse ON site_stats.path_totals');
	$node->safe_psql($database, 'CALL site_stats.backfill()');
	is($node->safe_psql($database, 'SELECT total_page_views, source FROM site_stats.get_stats()'), '1|aggregates', "$encoding: counted when the constraint is gone");
	is($node->safe_psql($database, 'SELECT * FROM site_stats.check_totals()'), '', "$encoding: exact");
}

$node->stop;
done_testing();
