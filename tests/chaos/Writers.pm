# What the writers do: transactions of every kind that changes page views, chosen by the one random generator.
#
# No transaction may fail because of a counter or a backfill. A deadlock must never be the writer's own fault,
# so writers keep to one order. A statement locks the rows that it changes in the order of their ids. A
# transaction of several statements writes page views of one session, changes no rows but its own, and takes
# ids that no other transaction takes. In it, record_page_view() comes first and heartbeat() last.
#
# There are four sites. The last one, "spare", is deleted and made anew, so whoever names it must expect that it is gone.

package Writers;

use strict;
use warnings;

use Exporter 'import';
our @EXPORT_OK = qw(between chance gate_holder history pick sites transaction);

my $views    = 'site_stats.page_views';
my $sequence = q('site_stats.page_views_id_seq');

# Ids of the history are multiples of a step; identity values begin above the last. Up to there, writers take
# the multiples and the first two ids after each as they please. The other ids are given out once each; those
# of the last tenth go to transactions that are to delay the end of a backfill.
my $HISTORY = 20_000;
my $STEP    = 100;
my $SHARED  = 3;
my $LAST_ID = $STEP * $HISTORY;
my ($given, $given_last, $copies) = (0, 0, 0);

# ---- the random generator ----------------------------------------------------------------------------------

sub between { my ($lowest, $highest) = @_; return $lowest + int rand($highest - $lowest + 1) }
sub chance { my ($probability) = @_; return rand() < $probability }

# One of [WEIGHT, THING...], as a list.
sub pick
{
	my ($weighted) = @_;
	my $sum = 0;
	$sum += $_->[0] for @$weighted;
	my $number = rand $sum;
	for my $entry (@$weighted)
	{
		$number -= $entry->[0];
		next if $number >= 0;
		my (undef, @thing) = @$entry;
		return @thing;
	}
	return @{ $weighted->[-1] }[ 1 .. $#{ $weighted->[-1] } ];
}

# ---- values ------------------------------------------------------------------------------------------------

# Few paths are popular and most are not.
sub visitor { return sprintf "'s%d'", chance(0.1) ? between(1_000, 9_999) : int 300 * rand()**2 }
# The number in a visitor's id decides on the site, where several statements are of one visitor. The same id is another
# visitor on another site.
sub site_of { my ($visitor) = @_; return $visitor =~ /(\d)'$/ && $1 > 6 ? $1 - 6 : 1 }
sub site { return (pick([ [ 6, 1 ], [ 2, 2 ], [ 2, 3 ], [ 1, 'COALESCE((SELECT t.id FROM site_stats.sites AS t WHERE t.name = $$spare$$), 1)' ] ]))[0] }
sub site_name { return (pick([ [ 6, q('') ], [ 2, q('shop') ], [ 2, q('blog') ], [ 1, q('spare') ] ]))[0] }
sub name_of { my ($visitor) = @_; return (q(''), q(''), q('shop'), q('blog'))[ site_of($visitor) ] }
sub path { return sprintf "'/p%d'", chance(0.02) ? between(100, 999) : int 53 * rand()**2 }
sub day { return chance(0.3) ? 'DEFAULT' : time_of_day() }
sub time_of_day { return sprintf "'2025-%02d-%02d %02d:30+00'", between(1, 2), between(1, 28), between(0, 23) }

# A random id up to the last one, and the id of the page view next to such an id.
sub somewhere { return sprintf '(SELECT floor(%.6f * max(m.id))::bigint FROM ONLY %s AS m)', rand, $views }
sub someone { return sprintf '(SELECT min(n.id) FROM ONLY %s AS n WHERE n.id >= %s)', $views, somewhere() }

# An id inside the history that is not taken, and never was. These ids jump to and fro: each is a golden
# section of the range away from the one before.
sub unused_id
{
	my $count = ($STEP - $SHARED) * $HISTORY * 9 / 10;
	return numbered(++$given * 1_079_063 % $count);
}

sub unused_id_at_the_end { return numbered(($STEP - $SHARED) * $HISTORY - ++$given_last) }

sub numbered
{
	my ($number) = @_;
	my $in_step = $STEP - $SHARED;
	return $STEP * int($number / $in_step) + $SHARED + $number % $in_step;
}

# Rows that a statement may change: a number of ids from a random one on, locked in order.
sub chosen
{
	my ($count) = @_;
	return sprintf q(WITH place AS MATERIALIZED (
		SELECT m.first, m.first + %d * m.count AS last, m.count FROM (SELECT %s AS first, %s AS count) AS m
	), chosen AS MATERIALIZED (
		SELECT v.id FROM %s AS v
		WHERE v.id >= (SELECT p.first FROM place AS p) AND v.id <= (SELECT p.last FROM place AS p)
		ORDER BY v.id
		LIMIT (SELECT p.count FROM place AS p)
		FOR UPDATE OF v
	)), 2 * $STEP, somewhere(), $count, $views;
}

# Many rows: paths, sessions and days from arithmetic with random factors. Now and then there are many paths,
# whose counters fill blocks.
sub made_up
{
	my ($rows, $id) = @_;
	return sprintf q(SELECT %s'/p' || i * %d %% %d, 'page', 's' || i * %d %% 300,
			'2025-01-01 00:00+00'::timestamptz + i * %d %% 3456000 * interval '1 second', (ARRAY[1, 1, 1, 2, 3])[1 + i %% 5]
		FROM generate_series(1::bigint, %s) AS i),
	  $id, between(1, 9_999), chance(0.2) ? 997 : 53, between(1, 9_999), between(1, 999_999), $rows;
}

# ---- statements --------------------------------------------------------------------------------------------

sub insert
{
	my ($visitor) = @_;
	return sprintf q(INSERT INTO %s (path, page_type, session_id, viewed_at, site_id) VALUES (%s, '%s', %s, %s, %s);),
	  $views, path(), (qw(page blog home))[ between(0, 2) ], $visitor || visitor(), day(), $visitor ? site_of($visitor) : site();
}

# A page view from an origin that others have, or from one of its own. The statement has locked the table before it looks
# for the origin, so the origin stays.
sub insert_with_origin
{
	my $new = chance(0.4);
	return sprintf q(%s INSERT INTO %s (path, session_id, viewed_at, site_id, origin_id) SELECT %s, %s, %s, %s, %s;),
	  $new ? q(WITH o AS (INSERT INTO site_stats.origins (source) VALUES ('somewhere') RETURNING id)) : '', $views, path(), visitor(),
	  time_of_day() . '::timestamptz', site(),
	  $new ? '(SELECT o.id FROM o)' : sprintf '(SELECT max(o.id) FROM site_stats.origins AS o WHERE o.id <= %.6f * (SELECT max(m.id) FROM site_stats.origins AS m))', rand;
}

sub insert_many { return sprintf "INSERT INTO $views (path, page_type, session_id, viewed_at, site_id) %s;", made_up(between(2, 120), '') }

# Brings back the rows that a TRUNCATE and the deletions took.
sub insert_missing
{
	return sprintf "INSERT INTO $views (path, page_type, session_id, viewed_at, site_id) %s;",
	  made_up("(SELECT 100 + greatest(0, $HISTORY - count(*)) / 2 FROM ONLY $views)", '');
}

sub insert_twice
{
	my ($first, $second) = (insert(), insert());
	$first =~ s/;$//;
	return "WITH first AS ($first RETURNING id) $second";
}

# A COPY from a file, with ids or without.
sub copy
{
	my ($folder, $with_ids) = @_;
	my ($file, $rows) = (sprintf('%s/%d', $folder, ++$copies % 5_000), '');
	my @ids = $with_ids ? sort { $a <=> $b } map { unused_id() } 1 .. between(1, 20) : (undef) x between(1, 60);
	for my $id (@ids)
	{
		my @row = map { s/^'|'$//gr } path(), 'page', visitor(), time_of_day(), between(1, 3);
		$rows .= join("\t", $id // (), @row) . "\n";
	}
	open my $handle, '>', $file or die "could not write $file: $!\n";
	print $handle $rows;
	close $handle or die "could not write $file: $!\n";
	return sprintf "COPY $views (%spath, page_type, session_id, viewed_at, site_id) FROM '$file';", $with_ids ? 'id, ' : '';
}

# Many ids at once that a backfill has still to count.
sub insert_into_range
{
	return sprintf q(INSERT INTO %s (id, path, session_id, viewed_at, site_id) OVERRIDING SYSTEM VALUE
		SELECT m.id, '/p' || m.id %% 53, 's' || m.id * %d %% 300, %s, 1 + m.id %% 3
		FROM (
			SELECT (s.cursor + floor(%.6f * (s.target - s.cursor))::bigint) / %d * %d + i / %d * %d + i %% %d AS id, s.cursor, s.target
			FROM site_stats.backfill_state AS s, generate_series(0, %d) AS i
		) AS m
		WHERE m.id > m.cursor AND m.id <= m.target
		ORDER BY m.id
		%s;), $views, between(1, 9_999), time_of_day() . '::timestamptz', rand, $STEP, $STEP, $SHARED, $STEP, $SHARED, between(0, 30),
	  chance(0.9) ? 'ON CONFLICT (id) DO NOTHING' : '';
}

# One id, whether a backfill has counted it or not.
sub insert_unused
{
	my ($visitor) = @_;
	return sprintf 'INSERT INTO %s (id, path, session_id, viewed_at, site_id) OVERRIDING SYSTEM VALUE VALUES (%d, %s, %s, %s, %s);',
	  $views, unused_id(), path(), $visitor || visitor(), time_of_day(), $visitor ? site_of($visitor) : site();
}

sub upsert
{
	return sprintf q(INSERT INTO %s AS v (id, path, session_id, viewed_at, site_id) OVERRIDING SYSTEM VALUE
		SELECT m.id, %s, %s, %s::timestamptz, %s FROM (SELECT %s AS id) AS m WHERE m.id > 0
		ON CONFLICT (id) DO UPDATE SET %s;), $views, path(), visitor(), time_of_day(), site(), someone(), assignment();
}

sub merge
{
	return sprintf q(MERGE INTO %s AS v USING (SELECT %s AS id) AS m ON v.id = m.id
		WHEN MATCHED THEN %s
		WHEN NOT MATCHED THEN INSERT (path, session_id) VALUES (%s, %s);), $views, chance(0.7) ? someone() : 0,
	  chance(0.3) ? 'DELETE' : 'UPDATE SET ' . assignment(), path(), visitor();
}

# New values of one column or of several.
sub assignment
{
	my @columns = (
		sub { 'path = ' . path() }, sub { 'session_id = ' . visitor() }, sub { 'viewed_at = ' . time_of_day() }, sub { 'site_id = ' . site() });
	my @chosen = grep { chance(0.5) } @columns;
	return join ', ', map { $_->() } @chosen ? @chosen : $columns[0];
}

sub update
{
	my ($assignment) = @_;
	return sprintf '%s UPDATE %s AS v SET %s FROM chosen AS c WHERE v.id = c.id;', chosen(chance(0.5) ? 1 : between(2, 40)), $views, $assignment;
}

sub update_values { return update(assignment()) }
sub update_id { return update('id = DEFAULT') }

# The more page views there are beyond those of the beginning, the more of them.
sub delete_some
{
	my $count = chance(0.5) ? 1 : sprintf '%d + (SELECT greatest(0, count(*) - %d) / 30 FROM ONLY %s)', between(2, 40), $HISTORY, $views;
	return sprintf '%s DELETE FROM %s AS v USING chosen AS c WHERE v.id = c.id;', chosen($count), $views;
}

# ---- transactions ------------------------------------------------------------------------------------------

sub ending { return chance(0.7) ? 'COMMIT;' : 'ROLLBACK;' }

# Statements of one session, one of them with an id that may have to wait for the batch.
sub statements
{
	my ($visitor) = @_;
	return join "\n", map { chance(0.15) ? insert_unused($visitor) : insert($visitor) } 1 .. between(1, 4);
}

# Changes of the row that the transaction has last inserted.
sub own_row
{
	my ($visitor) = @_;
	my $own = "WHERE id = (SELECT currval($sequence))";
	return join "\n", insert($visitor), sprintf("UPDATE $views SET path = %s %s;", path(), $own),
	  chance(0.5) ? "DELETE FROM $views $own;" : "UPDATE $views SET id = DEFAULT $own;";
}

sub several_statements
{
	my $visitor = visitor();
	return join "\n", 'BEGIN;', chance(0.3) ? record($visitor) : (), statements($visitor), chance(0.5) ? own_row($visitor) : (),
	  chance(0.2) ? beat($visitor) : (), ending();
}

sub savepoints
{
	my $visitor = visitor();
	return join "\n", 'BEGIN;', chance(0.5) ? statements($visitor) : (), 'SAVEPOINT a;', statements($visitor), 'SAVEPOINT b;',
	  statements($visitor), (chance(0.5) ? 'ROLLBACK TO b;' : 'RELEASE b;'), statements($visitor),
	  (chance(0.7) ? 'ROLLBACK TO a;' : 'RELEASE a;'), chance(0.5) ? statements($visitor) : (), ending();
}

sub exceptions
{
	my $visitor = visitor();
	return sprintf q(DO $do$ BEGIN
		%s
		BEGIN
			%s
			BEGIN
				%s
				PERFORM 1 / 0;
			EXCEPTION WHEN division_by_zero THEN
				%s
			END;
			RAISE EXCEPTION 'on purpose';
		EXCEPTION WHEN raise_exception THEN
			%s
		END;
		%s
	END $do$;), map { statements($visitor) } 1 .. 6;
}

sub record
{
	my ($visitor) = @_;
	return sprintf q(SELECT site_stats.record_page_view(%s, 'page', %s, %s);), path(), $visitor || visitor(), $visitor ? name_of($visitor) : site_name();
}

sub beat
{
	my ($visitor) = @_;
	return sprintf q(SELECT site_stats.heartbeat(%s, %s, 'Lisbon', 'Portugal', %.1f, -9.1, %s);), $visitor || visitor(), path(), 38 + rand,
	  $visitor ? name_of($visitor) : site_name();
}

sub forget { return sprintf 'SELECT site_stats.forget_session(%s, %s);', visitor(), site_name() }

sub remove_old
{
	return sprintf q(SELECT site_stats.remove_page_views(%s, %d);), chance(0.2) ? q('2025-01-05 00:00+00') : q('2025-01-02 00:00+00'), between(0, 200);
}

# The sites, where there are none yet. For run.pl.
sub sites { return q(INSERT INTO site_stats.sites (name) VALUES ('shop'), ('blog'), ('spare');) }

# A site that goes with its page views, and another one of its name. It does not wait long for other transactions.
sub replace_site
{
	return join "\n", 'BEGIN;', q(SET LOCAL lock_timeout = '800ms';), q(DELETE FROM site_stats.sites WHERE name = 'spare';),
	  chance(0.9) ? q(INSERT INTO site_stats.sites (name) VALUES ('spare') ON CONFLICT (name) DO NOTHING;) : (), (chance(0.7) ? 'COMMIT;' : 'ROLLBACK;');
}

# Another one where there is none.
sub add_site { return q(INSERT INTO site_stats.sites (name) VALUES ('spare') ON CONFLICT (name) DO NOTHING;) }

# One statement under a snapshot that may be older than the rows it finds, then a read of its own work.
sub one_snapshot
{
	my ($level, $folder, $compare) = @_;
	my ($statement) = pick(
		[
			[ 3, \&insert ],        [ 2, \&insert_many ], [ 2, \&insert_into_range ],      [ 2, \&insert_unused ],
			[ 4, \&update_values ], [ 1, \&update_id ],   [ 2, \&delete_some ],            [ 1, \&record ],
			[ 1, sub { copy($folder, 0) } ]
		]);
	return join "\n", "BEGIN ISOLATION LEVEL $level;", "LOCK TABLE $views IN ACCESS SHARE MODE;",
	  sprintf('DO $do$ BEGIN PERFORM FROM site_stats.page_views AS v WHERE v.session_id = %s; PERFORM pg_sleep(%.3f); END $do$;', visitor(), 0.1 * rand()**3),
	  $statement->(), chance(0.5) ? $compare : (), ending();
}

# A TRUNCATE that does not wait long for other transactions; half of them are rolled back. Identity values
# stay above the ids of the history.
sub truncate_table
{
	return join "\n", 'BEGIN;', q(SET LOCAL lock_timeout = '800ms';),
	  (chance(0.5) ? "TRUNCATE $views;" : "TRUNCATE $views RESTART IDENTITY; SELECT FROM setval($sequence, $LAST_ID);"),
	  chance(0.5) ? insert_many() : (), (chance(0.5) ? 'COMMIT;' : 'ROLLBACK;');
}

# A transaction that is left prepared; the end of its name says whether it is to be committed.
sub prepared
{
	my ($name) = @_;
	my $visitor = visitor();
	return join "\n", 'BEGIN;', statements($visitor), insert_unused($visitor),
	  sprintf("PREPARE TRANSACTION '%s %s';", $name, chance(0.6) ? 'COMMIT' : 'ROLLBACK');
}

# A transaction that keeps every batch waiting for some seconds.
sub gate_holder
{
	my ($seconds) = @_;
	return sprintf q(BEGIN;
		INSERT INTO %s (id, path, session_id) OVERRIDING SYSTEM VALUE VALUES (%d, %s, %s);
		SELECT FROM pg_sleep(%.3f);
		%s), $views, unused_id_at_the_end(), path(), visitor(), $seconds, ending();
}

# A history that nothing has counted.
sub history
{
	return join "\n", 'BEGIN;', 'SET LOCAL session_replication_role = replica;',
	  sprintf('INSERT INTO %s (id, path, page_type, session_id, viewed_at, site_id) OVERRIDING SYSTEM VALUE %s;', $views, made_up($HISTORY, "$STEP * i, ")),
	  "SELECT FROM setval($sequence, $LAST_ID);", 'COMMIT;', "VACUUM ANALYZE $views;";
}

# One transaction: { kind, sql, may }. `may` are the SQLSTATEs that it may fail with, apart from what faults
# do.
sub transaction
{
	my ($name, $folder, $compare) = @_;
	my ($kind) = pick(
		[
			[ 20, 'insert' ],            [ 8, 'multi-row insert' ], [ 4, 'copy' ],           [ 3, 'copy with ids' ],
			[ 6, 'insert into range' ],  [ 4, 'upsert' ],           [ 3, 'merge' ],          [ 2, 'insert twice' ],
			[ 14, 'update' ],            [ 2, 'update of id' ],     [ 2, 'update of type' ], [ 6, 'delete' ],
			[ 7, 'several statements' ], [ 6, 'savepoints' ],       [ 4, 'exception blocks' ], [ 0.6, 'prepared' ],
			[ 6, 'record_page_view' ],   [ 5, 'heartbeat' ],        [ 4, 'repeatable read' ], [ 3, 'serializable' ],
			[ 1, 'refill' ],             [ 0.04, 'truncate' ],      [ 2, 'read own writes' ],
			[ 3, 'insert with origin' ], [ 3, 'forget_session' ],   [ 2, 'remove_page_views' ],
			[ 0.3, 'site replaced' ],    [ 0.3, 'site added' ],
		]);
	my %makers = (
		'insert'             => \&insert,
		'multi-row insert'   => \&insert_many,
		'copy'               => sub { copy($folder, 0) },
		'copy with ids'      => sub { copy($folder, 1) },
		'insert into range'  => \&insert_into_range,
		'upsert'             => \&upsert,
		'merge'              => \&merge,
		'insert twice'       => \&insert_twice,
		'update'             => \&update_values,
		'update of id'       => \&update_id,
		'update of type'     => sub { update(q(page_type = 'blog')) },
		'delete'             => \&delete_some,
		'several statements' => \&several_statements,
		'savepoints'         => \&savepoints,
		'exception blocks'   => \&exceptions,
		'prepared'           => sub { prepared($name) },
		'record_page_view'   => \&record,
		'heartbeat'          => \&beat,
		'insert with origin' => \&insert_with_origin,
		'forget_session'     => \&forget,
		'remove_page_views'  => \&remove_old,
		'site replaced'      => \&replace_site,
		'site added'         => \&add_site,
		'repeatable read'    => sub { one_snapshot('REPEATABLE READ', $folder, $compare) },
		'serializable'       => sub { one_snapshot('SERIALIZABLE', $folder, $compare) },
		'refill'             => \&insert_missing,
		'truncate'           => \&truncate_table,
		# The first read counts the writes, and answers as of its call. A statement that begins later sees them in
		# its snapshot.
		'read own writes'    => sub { join "\n", 'BEGIN;', statements(visitor()), 'SELECT FROM site_stats.get_stats();', $compare, ending() });
	# Any statement may name the spare site, which may have gone since the statement looked for it.
	my %may = (
		'copy with ids'     => ['23505'],
		'insert into range' => ['23505'],
		'repeatable read'   => [ '40001', '23505' ],
		'serializable'      => [ '40001', '23505' ],
		'truncate'          => ['55P03'],
		'forget_session'    => ['55P03'],
		'site replaced'     => ['55P03']);
	return { kind => $kind, sql => $makers{$kind}->(), may => { map { $_ => 1 } qw(22023 23503), @{ $may{$kind} || [] } } };
}

1;
