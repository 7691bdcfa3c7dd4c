package interleaving_test

import "github.com/throttle-go/throttle/verify/interleaving"

// Short names show what differs from line to line of the tables.
type (
	configuration = interleaving.Configuration
	policy        = interleaving.Policy
	op            = interleaving.Op
)

const (
	opCall              = interleaving.OpCall
	opCallWithin        = interleaving.OpCallWithin
	opDo                = interleaving.OpDo
	opFlush             = interleaving.OpFlush
	opCancel            = interleaving.OpCancel
	opSetPolicy0        = interleaving.OpSetPolicy0
	opSetPolicy1        = interleaving.OpSetPolicy1
	opSetPolicy2        = interleaving.OpSetPolicy2
	opClose             = interleaving.OpClose
	opShutdown          = interleaving.OpShutdown
	opShutdownImpatient = interleaving.OpShutdownImpatient
	opParentEnd         = interleaving.OpParentEnd
	opPause             = interleaving.OpPause
	opResume            = interleaving.OpResume
)

// policies are the ones that are searched and replayed. Their durations are so short that they
// pass within the few ticks of a search.
type policies struct {
	unbounded, every, leading, trailing     policy
	quiet, quietBounded, window, full, both policy
	periodic, retrying                      policy
}

func newPolicies() policies {
	return policies{
		unbounded:    policy{},
		every:        policy{Interval: 2},
		quiet:        policy{Quiet: 2},
		quietBounded: policy{Quiet: 2, MaxWait: 3, Interval: 2},
		window:       policy{Quiet: 2, MaxWait: 2},
		full:         policy{Quiet: 3, MaxCalls: 2},
		leading:      policy{Interval: 2, Edges: interleaving.Leading},
		trailing:     policy{Interval: 2, Edges: interleaving.Trailing},
		both:         policy{Quiet: 2, Edges: interleaving.Leading | interleaving.Trailing},
		periodic:     policy{Interval: 1, MaxInterval: 2},
		retrying:     policy{Interval: 1, Retry: 2},
	}
}
