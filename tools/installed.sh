#!/bin/sh
# installed.sh NAME TESTS PROGRAM... says that TESTS are skipped if no PROGRAM is installed, and
# fails if that happens in continuous integration.
name=$1 tests=$2
shift 2
for program; do
	command -v "$program" >/dev/null && exit
done
echo "test-all: no $name: the tests of $tests are skipped"
test "${CI-}" != true
