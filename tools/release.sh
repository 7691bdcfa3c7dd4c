#!/usr/bin/env bash
# Makes a release of every published module, the root and the adapters: release.sh v1.2.3.
#
# The first commit moves the changelog's Unreleased section under the version, and makes each
# module require that same version of the others. In the published modules it drops the replace
# directives, which only work inside this tree. The tags are on this commit. A second commit
# brings the replace directives back. If anything fails, neither commits nor tags remain. Nothing
# is pushed.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/outside.sh

fail() { echo "release: $*" >&2; exit 1; }

# require makes every module of the tree require $version of those that it requires already.
require() {
	for file in $(git ls-files '*go.mod' ':!tools'); do
		for module in $(sed -n "s|^[[:space:]]*\($root[^ ]*\) v.*|\1|p" "$file"); do
			go mod edit -require="$module@$version" "$file"
		done
	done
}

# tag tags the commit once for each published module.
tag() {
	for tag in "${tags[@]}"; do
		git tag --force --annotate --message "throttle $version" "$tag" >/dev/null
	done
}

version=${1-}
[[ $version =~ ^v[01]\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)$ ]] ||
	fail "VERSION is '$version', but must be v0.Y.Z or v1.Y.Z (v2 needs another module path)"
git symbolic-ref --quiet HEAD >/dev/null || fail 'no branch is checked out'
[[ -z $(git status --porcelain) ]] || fail 'the tree has uncommitted changes'
[[ -f CHANGELOG.md ]] || fail 'there is no CHANGELOG.md'
awk '/^## / { in_unreleased = /^## \[Unreleased\]/ } in_unreleased && /^[-*] / { found = 1 } END { exit !found }' CHANGELOG.md ||
	fail "the Unreleased section of CHANGELOG.md has no entry"

root=$(go list -m)
adapters=(adapters/*/go.mod)
adapters=("${adapters[@]%/go.mod}")
tags=("$version" "${adapters[@]/%//$version}")
for tag in "${tags[@]}"; do
	! git rev-parse --quiet --verify "refs/tags/$tag" >/dev/null || fail "there is a tag $tag already"
done

scratch=$(mktemp -d)
before=$(git rev-parse HEAD)
undo() {
	git reset --quiet --hard "$before"
	git tag --delete "${tags[@]}" >/dev/null 2>&1 || true
	echo 'release: failed; all is as it was' >&2
}
trap 'undo; rm -rf "$scratch"' EXIT

awk -v version="${version#v}" -v date="$(date -u +%F)" -v url="https://$root" '
	/^## \[Unreleased\]/ { print; printf "\n## [%s] - %s\n", version, date; next }
	/^\[Unreleased\]: / {
		printf "[Unreleased]: %s/compare/v%s...HEAD\n", url, version
		printf "[%s]: %s/releases/tag/v%s\n", version, url, version
		next
	}
	{ print }' CHANGELOG.md >"$scratch/changelog"
cp "$scratch/changelog" CHANGELOG.md
require
for adapter in "${adapters[@]}"; do
	for replaced in $(sed -n "s|^.*\($root[^ ]*\) => \..*|\1|p" "$adapter/go.mod"); do
		go mod edit -dropreplace="$replaced" "$adapter/go.mod"
	done
done
git commit --quiet --all --message "release: $version

The modules require each other by version, and can be fetched one by one."
tag

# An adapter's go.sum needs the checksum of the tagged root. It is known now, and stays the same,
# since nothing in the root module changes any more.
(
	outside "$PWD" "$scratch"
	for adapter in "${adapters[@]}"; do
		(cd "$adapter" && go mod tidy) 2>"$scratch/log" || { cat "$scratch/log" >&2; exit 1; }
	done
)
git commit --quiet --all --amend --no-edit
tag

git checkout --quiet "$before" -- '*go.mod' '*go.sum'
require
git commit --quiet --all --message "release: replace the modules by the tree again

They are built together here, whatever the last release was."

trap 'rm -rf "$scratch"' EXIT
echo "release: tagged ${tags[*]}"
echo "release: to publish it: git push --atomic origin HEAD ${tags[*]}"
