#!/usr/bin/env bash
# Rehearses a release of HEAD in a scratch clone, and checks that somebody outside of this tree
# can fetch each published module by itself and build a program with it.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/outside.sh

fail() { echo "release-check: $*" >&2; exit 1; }

# refused VERSION REASON checks that a release of VERSION is refused for REASON, in one line, and
# leaves nothing behind.
refused() {
	local head said
	head=$(git rev-parse HEAD)
	if said=$(tools/release.sh "$1" 2>&1); then fail "released $1, but $2"; fi
	[[ $said == "release: "*"$2"* && $said != *$'\n'* ]] || fail "for '$2' a release says: $said"
	[[ $(git rev-parse HEAD) == "$head" ]] || fail "a release refused for '$2' leaves a commit"
}

# tidy checks that the modules' go.mod and go.sum are as `go mod tidy` makes them.
tidy() {
	local module
	for module in "${modules[@]}"; do
		(cd "$module" && go mod tidy -diff) >"$scratch/log" 2>&1 ||
			{ cat "$scratch/log"; fail "at $1 the module in $module is not tidy"; }
	done
}

# stranger MODULE checks that a module which gets nothing but MODULE can build a program that
# imports all of its packages, except the internal ones. Its steps are joined by && because the
# shell does not stop at an error in a condition, which is where this is called.
stranger() {
	rm -rf "$scratch/stranger" && mkdir "$scratch/stranger" && cd "$scratch/stranger" &&
		go mod init stranger.example && go get "$1@$version" && write_main "$1" >main.go &&
		go mod tidy && go build -o program . && ./program
}

# write_main MODULE prints the program.  With -e go list tells of packages before what they
# import has been fetched.
write_main() {
	local packages
	packages=$(go list -e -f '{{if and .GoFiles (ne .Name "main")}}{{.ImportPath}}{{end}}' "$1/...") || return
	echo 'package main'
	grep -v /internal/ <<<"$packages" | sed '/./s/.*/import _ "&"/' && echo 'func main() {}'
}

version=v1.999.999
[[ -z $(git status --porcelain) ]] || echo 'release-check: uncommitted changes are left out'
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
outside "$scratch/clone" "$scratch"
# The rehearsal depends on nobody's git configuration, and asks no checksum database: the modules
# of others are not what it checks.
export GOSUMDB=off GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=nobody GIT_AUTHOR_EMAIL=nobody@localhost
export GIT_COMMITTER_NAME=$GIT_AUTHOR_NAME GIT_COMMITTER_EMAIL=$GIT_AUTHOR_EMAIL

git clone --quiet --no-hardlinks . "$scratch/clone"
cd "$scratch/clone"
git checkout --quiet -B rehearsal
root=$(go list -m)
modules=(. adapters/*/go.mod)
modules=("${modules[@]%/go.mod}")

# Right after a release Unreleased is empty, so that the rehearsal adds an entry.
grep -q '^## \[Unreleased\]' CHANGELOG.md || fail 'CHANGELOG.md has no section "## [Unreleased]"'
sed -i.old '/^## \[Unreleased\]/,/^## \[[0-9]/ { /^[-*] /d; }' CHANGELOG.md && rm CHANGELOG.md.old
git commit --quiet --all --allow-empty --message 'docs: have nothing to release'
refused "$version" 'the Unreleased section of CHANGELOG.md has no entry'
sed -i.old 's/^## \[Unreleased\].*/&\n\n- A rehearsal./' CHANGELOG.md && rm CHANGELOG.md.old
refused "$version" 'the tree has uncommitted changes'
git commit --quiet --all --message 'docs: have something to release'
for wrong in '' 1.2.3 v1.2 v1.02.3 v1.2.3-rc.1 v2.0.0; do
	refused "$wrong" 'VERSION is'
done
git tag "adapters/throttleprom/$version"
refused "$version" "there is a tag adapters/throttleprom/$version already"
git tag --delete "adapters/throttleprom/$version" >/dev/null

echo 'release-check: rehearsing a release'
before=$(git rev-parse HEAD)
tools/release.sh "$version" >"$scratch/log" 2>&1 || { cat "$scratch/log"; fail 'the release failed'; }
git diff --quiet "$before" HEAD -- . ':!CHANGELOG.md' ':!*go.mod' || fail 'the tree is not as before the release'
grep -q "^## \[${version#v}\] - $(date -u +%Y)" CHANGELOG.md || fail 'CHANGELOG.md has no section for the version'
tidy HEAD

git checkout --quiet "$version"
! grep -H '=>' "${modules[@]/%//go.mod}" || fail 'a published go.mod has a replace directive'
tidy "$version"
for module in "$root" "${modules[@]/#adapters/$root/adapters}"; do
	[[ $module != . ]] || continue
	echo "release-check: building a program with $module alone"
	(stranger "$module") >"$scratch/log" 2>&1 || { cat "$scratch/log"; fail "$module cannot be used by itself"; }
done
