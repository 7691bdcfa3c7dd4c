# Sourced by release.sh and release-check.sh.

# outside REPOSITORY SCRATCH makes go see this library as someone outside of the tree does:
# it fetches the library by git, as from GitHub but out of the local REPOSITORY, into a module
# cache of its own in SCRATCH. What others have published comes from the usual cache if it is
# there, and else from the usual proxy.
outside() {
	export GOPROXY="file://$(go env GOMODCACHE)/cache/download,$(go env GOPROXY)"
	export GOMODCACHE=$2/modules GOPRIVATE=github.com/throttle-go/throttle GOWORK=off
	export GOFLAGS="${GOFLAGS-} -modcacherw -trimpath" # -trimpath shares what is built with the tree and the next SCRATCH
	export GIT_CONFIG_COUNT=2
	export GIT_CONFIG_KEY_0=url.$1.insteadOf GIT_CONFIG_VALUE_0=https://github.com/throttle-go/throttle
	export GIT_CONFIG_KEY_1=safe.directory GIT_CONFIG_VALUE_1='*'
}
