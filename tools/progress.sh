#!/usr/bin/env bash
# Runs a command, and says every 15 s that it still runs if it has printed nothing: go test is
# silent while it builds, and while it tests a package.
set -u
# The loop is this shell itself, so that whoever kills it closes the pipe, which ends the command.
shopt -s lastpipe 2>/dev/null || true

# The last line carries the exit status: unlike the end of the pipe, it looks different from a
# read that has timed out in every version of bash.
over=$RANDOM$RANDOM
{ "$@" 2>&1; echo "$over $?"; } | {
	packages=0
	while last=$SECONDS; true; do
		if IFS= read -r -t 15 line; then
			case $line in
			"$over "*) exit "${line#* }" ;;
			ok* | FAIL* | '?'*) packages=$((packages + 1)) ;;
			esac
			printf '%s\n' "$line"
		elif ((SECONDS - last < 10)); then
			exit 1 # the command was killed along with the shell that runs it
		else
			echo "... $SECONDS s, $packages packages done"
		fi
	done
}
