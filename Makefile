# The verbs of this project; the work is done by the scripts in bin/, which say what they do.
#
# Variables: LOG (demo), SAMPLES (check-samples), TESTS (check-regress), SPECS (check-isolation), PROVE_TESTS
# (check-recovery), SEED and HISTORIES (037_reports_random), NEIGHBOURS (check-neighbours), SEED and CYCLES (chaos),
# ONLY, SCALE and ROUNDS (bench), PG or PG_CONFIG (all): see make help.

.DEFAULT_GOAL := help
.PHONY: help setup build install demo check check-format check-rooms check-shell check-sql-style check-readme \
    check-lint check-unit check-pgspot check-samples check-page check-regress check-upgrade check-installcheck check-isolation \
    check-recovery check-chaos matrix chaos bench screenshots clean package check-package check-pg-upgrade check-neighbours installcheck

export PG PG_CONFIG FROM TO LOG TESTS SPECS PROVE_TESTS SAMPLES NEIGHBOURS PROFILE SEED CYCLES HISTORIES ONLY SCALE ROUNDS

help:
	@echo 'make demo                      show what site_stats does, on a throw-away server with made-up views'
	@echo 'make demo LOG=access.log.gz    the same with the views of a real access log (common or combined format)'
	@echo 'make check                     all tests'
	@echo '  make check-format            ... the format of the Rust code'
	@echo '  make check-rooms             ... which Rust modules use which, and no circle (bin/check-rooms --graph shows them)'
	@echo '  make check-shell             ... the shell scripts (shellcheck)'
	@echo '  make check-sql-style         ... the style of the SQL'
	@echo '  make check-readme            ... whether the README shows what its test sees'
	@echo '  make check-lint              ... Rust lints, and the documentation of the code'
	@echo '  make check-unit              ... unit tests'
	@echo '  make check-pgspot            ... names in the install script that a search_path could catch'
	@echo '  make check-samples           ... the samples of the README, in the languages that are here'
	@echo '                               (SAMPLES="node python php ruby": these, which must be here)'
	@echo '  make check-page              ... in Chromium: the statistics page (axe-core, keyboard, phone, requests, size), and tracker()'
	@echo '  make check-regress           ... SQL tests      (TESTS="backfill stats": these only)'
	@echo '  make check-upgrade           ... the SQL tests again, after an update from the first released version'
	@echo '  make check-installcheck      ... the SQL tests on a running server with other settings and another locale'
	@echo '  make check-isolation         ... concurrency    (SPECS="two-inserters": these only)'
	@echo '  make check-recovery          ... crashes, standbys  (PROVE_TESTS="018_launcher": these only)'
	@echo '  make check-chaos             ... a short chaos run'
	@echo 'make matrix [PG=18]            the tests that run a server, with PostgreSQL 17 and 18 in small Debian systems; needs root'
	@echo '                               (PG=15-cassert: PostgreSQL 15 with assertions, compiled once; a part of these tests)'
	@echo 'make check-neighbours          beside pg_repack, poolers and replication of others, from Debian: four minutes; needs root'
	@echo '                               (NEIGHBOURS="pgbouncer pgpool": these only)'
	@echo 'make chaos [SEED=n] [CYCLES=n] writers, readers, backfills and faults, all at once and at random'
	@echo 'make bench                     how fast it is, beside plain PostgreSQL and the alternatives: 15 to 20 minutes'
	@echo '                               (ONLY="inserts copy api backfill latency reads slots memory size": these only)'
	@echo 'make screenshots               the pictures of the page, in docs/images'
	@echo 'make install PG_CONFIG=/path   build for your own PostgreSQL and install there'
	@echo 'make installcheck PG_CONFIG=   the SQL tests against a server that runs, with the extension installed'
	@echo 'make package [PG="15 17"]      a Debian package and a tarball for each version, in build/packages'
	@echo 'make check-package             ... installed and used on machines without Rust; needs root'
	@echo 'make check-pg-upgrade          ... carried from PostgreSQL 15 to 18 by pg_upgrade; needs root'
	@echo 'make build                     build only'
	@echo 'make setup                     install what is missing to build and test; the verbs above do it themselves'
	@echo 'make clean                     remove what was built, but for downloaded tools'
	@echo
	@echo 'PG=17 chooses among installed versions of PostgreSQL (15 to 18), PG_CONFIG=/path/to/pg_config any other.'

setup:
	@bin/setup

build:
	@bin/build

install:
	@bin/build install

package:
	@bin/package

check-package:
	@bin/check-package

check-pg-upgrade:
	@bin/check-pg-upgrade

check-neighbours:
	@bin/check-neighbours

installcheck:
	@bin/installcheck

demo:
	@bin/demo

check:
	@bin/check

check-format check-rooms check-shell check-sql-style check-readme check-lint check-unit check-pgspot check-samples check-page check-regress check-upgrade check-installcheck check-isolation check-recovery check-chaos:
	@bin/check $(@:check-%=%)

matrix:
	@bin/matrix

chaos:
	@bin/chaos

bench:
	@bin/bench

screenshots:
	@bin/screenshots

clean:
	rm -rf target build/server-* build/run.* build/results build/log
