package interleaving

// This file holds what is searched: many small worlds, since one with everything in
// it would have too many states.

// A Bounded is a configuration to search.
type Bounded struct {
	Effort int // from which on it is searched; there is nothing more to search beyond 10
	States int // that it has at least: a search that sees less is blind
	Configuration
}

// policies are those that are searched. A few ticks have to see each to its end.
type policies struct {
	unbounded, every, leading, trailing     Policy
	quiet, quietBounded, window, full, both Policy
	periodic, retrying                      Policy
}

func newPolicies() policies {
	return policies{
		unbounded:    Policy{},
		every:        Policy{Interval: 2},
		quiet:        Policy{Quiet: 2},
		quietBounded: Policy{Quiet: 2, MaxWait: 3, Interval: 2},
		window:       Policy{Quiet: 2, MaxWait: 2},
		full:         Policy{Quiet: 3, MaxCalls: 2},
		leading:      Policy{Interval: 2, Edges: Leading},
		trailing:     Policy{Interval: 2, Edges: Trailing},
		both:         Policy{Quiet: 2, Edges: Leading | Trailing},
		periodic:     Policy{Interval: 1, MaxInterval: 2},
		retrying:     Policy{Interval: 1, Retry: 2},
	}
}

// Searches returns all that is searched. None has a breach.
func Searches() map[string]Bounded {
	p := newPolicies()
	once, twice := []Op{OpCall}, []Op{OpCall, OpCall}
	return map[string]Bounded{
		"calls within an interval": {
			1, 120_000,
			Configuration{Policies: []Policy{p.every}, Scripts: [][]Op{twice, twice, twice}, Ticks: 4},
		},
		"calls without a limit": {
			1, 32_000,
			Configuration{Policies: []Policy{p.unbounded}, Scripts: [][]Op{twice, twice, twice}, Ticks: 1, StaleWakes: 1},
		},
		"quiet calls": {
			1, 140_000,
			Configuration{Policies: []Policy{p.quiet}, Scripts: [][]Op{twice, twice}, Ticks: 4, StaleWakes: 1},
		},
		"three quiet calls": {
			1, 61_000,
			Configuration{Policies: []Policy{p.quiet}, Scripts: [][]Op{once, once, once}, Ticks: 6},
		},
		"quiet with a bound": {
			1, 160_000,
			Configuration{Policies: []Policy{p.quietBounded}, Scripts: [][]Op{twice, twice}, Ticks: 5},
		},
		"quiet with a leading edge": {
			1, 120_000,
			Configuration{Policies: []Policy{p.both}, Scripts: [][]Op{twice, {OpCall, OpCallWithin}}, Ticks: 4},
		},
		"a bound of calls": {
			1, 29_000,
			Configuration{Policies: []Policy{p.full}, Scripts: [][]Op{twice, once, once}, Ticks: 4},
		},
		"counted calls": {
			1, 94_000,
			Configuration{Policies: []Policy{p.every}, Scripts: [][]Op{twice, twice, once}, Ticks: 2, Counting: true},
		},
		"counted calls meet Cancel": {
			1, 120_000,
			Configuration{Policies: []Policy{p.every}, Scripts: [][]Op{twice, once, {OpCancel}, {OpFlush}}, Ticks: 3, Counting: true},
		},
		"counted quiet calls": {
			1, 20_000,
			Configuration{Policies: []Policy{p.quiet, p.every}, Scripts: [][]Op{twice, once, {OpSetPolicy1}}, Ticks: 3, Counting: true},
		},
		"calls meet Flush, Cancel and Close": {
			1, 120_000,
			Configuration{Policies: []Policy{p.every}, Scripts: [][]Op{twice, once, {OpFlush}, {OpCancel}, {OpClose}}, Ticks: 3},
		},
		"quiet calls meet Flush and Cancel": {
			1, 160_000,
			Configuration{Policies: []Policy{p.quiet}, Scripts: [][]Op{twice, once, {OpFlush}, {OpCancel}}, Ticks: 3},
		},
		"quiet calls meet Close": {
			1, 41_000,
			Configuration{Policies: []Policy{p.quiet}, Scripts: [][]Op{twice, once, {OpClose}}, Ticks: 4},
		},
		"Do meets Flush, Cancel and Close": {
			1, 54_000,
			Configuration{Policies: []Policy{p.every}, Scripts: [][]Op{{OpDo, OpDo}, {OpDo}, {OpFlush}, {OpCancel}, {OpClose}}, Ticks: 3},
		},
		"quiet calls meet SetPolicy": {
			1, 100_000,
			Configuration{Policies: []Policy{p.quiet, p.every}, Scripts: [][]Op{twice, once, {OpSetPolicy1, OpSetPolicy0}}, Ticks: 3},
		},
		"edges turn off and on": {
			1, 39_000,
			Configuration{Policies: []Policy{p.trailing, p.leading, p.quiet}, Scripts: [][]Op{twice, once, {OpSetPolicy1, OpSetPolicy2}}, Ticks: 3},
		},
		"leading calls meet SetPolicy and Flush": {
			1, 100_000,
			Configuration{Policies: []Policy{p.leading, p.both}, Scripts: [][]Op{twice, once, {OpSetPolicy1}, {OpFlush}}, Ticks: 3},
		},
		"periodic runs begin and end": {
			1, 44_000,
			Configuration{Policies: []Policy{p.every, p.periodic}, Scripts: [][]Op{twice, {OpSetPolicy1, OpSetPolicy0}, {OpCancel}}, Ticks: 4},
		},
		"periodic runs meet Cancel and Close": {
			1, 200_000,
			Configuration{Policies: []Policy{p.periodic}, Scripts: [][]Op{twice, once, {OpCancel}, {OpClose}}, Ticks: 3, StaleWakes: 1},
		},
		"retries meet calls and Cancel": {
			1, 230_000,
			Configuration{Policies: []Policy{p.retrying, p.every}, Scripts: [][]Op{twice, once, {OpCancel}, {OpSetPolicy1}}, Ticks: 3, Failures: 1, RetryIn: 1},
		},
		"retries meet Flush and Close": {
			1, 71_000,
			Configuration{Policies: []Policy{p.retrying}, Scripts: [][]Op{{OpDo}, once, {OpFlush}, {OpClose}}, Ticks: 3, Failures: 2, RetryIn: 1},
		},
		"Shutdown meets calls and Cancel": {
			1, 31_000,
			Configuration{Policies: []Policy{p.every}, Scripts: [][]Op{once, once, {OpShutdown}, {OpCancel}, {OpFlush}}, Ticks: 3},
		},
		"Shutdown meets retries": {
			1, 90_000,
			Configuration{Policies: []Policy{p.retrying}, Scripts: [][]Op{{OpDo}, once, {OpShutdown}, {OpCancel}}, Ticks: 3, Failures: 2, RetryIn: 1},
		},
		"Shutdown meets Shutdown and Close": {
			1, 99_000,
			Configuration{Policies: []Policy{p.quiet}, Scripts: [][]Op{once, once, {OpShutdown}, {OpShutdownImpatient}, {OpClose}}, Ticks: 3},
		},
		"Shutdown meets periodic runs": {
			1, 24_000,
			Configuration{Policies: []Policy{p.periodic}, Scripts: [][]Op{once, {OpDo}, {OpShutdown}}, Ticks: 4},
		},
		"the parent ends": {
			1, 92_000,
			Configuration{Policies: []Policy{p.every}, Scripts: [][]Op{twice, {OpDo}, {OpFlush}, {OpParentEnd}}, Ticks: 3},
		},
		"the parent ends before Close": {
			1, 65_000,
			Configuration{Policies: []Policy{p.retrying}, Scripts: [][]Op{twice, {OpShutdown}, {OpClose}, {OpParentEnd}}, Ticks: 3, Failures: 1},
		},

		"quiet calls for longer": {
			10, 1_200_000,
			Configuration{Policies: []Policy{p.quiet}, Scripts: [][]Op{twice, twice}, Ticks: 6, StaleWakes: 1},
		},
		"periodic runs for longer": {
			10, 900_000,
			Configuration{Policies: []Policy{p.periodic}, Scripts: [][]Op{twice, once, {OpCancel}, {OpClose}}, Ticks: 5, StaleWakes: 1},
		},
		"nine calls within an interval": {
			10, 1_900_000,
			Configuration{Policies: []Policy{p.every}, Scripts: [][]Op{{OpCall, OpCall, OpCall}, {OpCall, OpCall, OpCall}, {OpCall, OpCall, OpCall}}, Ticks: 6},
		},
		"five callers within an interval": {
			10, 470_000,
			Configuration{Policies: []Policy{p.every}, Scripts: [][]Op{once, once, once, once, once}, Ticks: 6, StaleWakes: 1},
		},
		"five quiet calls": {
			10, 2_800_000,
			Configuration{Policies: []Policy{p.quiet}, Scripts: [][]Op{twice, twice, once}, Ticks: 5},
		},
		"four quiet callers": {
			10, 580_000,
			Configuration{Policies: []Policy{p.quietBounded}, Scripts: [][]Op{once, once, once, once}, Ticks: 6},
		},
		"more calls meet Flush, Cancel and Close": {
			10, 760_000,
			Configuration{Policies: []Policy{p.every}, Scripts: [][]Op{twice, twice, {OpFlush}, {OpCancel}, {OpClose}}, Ticks: 5},
		},
		"more quiet calls meet Flush and Cancel": {
			10, 1_200_000,
			Configuration{Policies: []Policy{p.quiet}, Scripts: [][]Op{twice, twice, {OpFlush}, {OpCancel}}, Ticks: 4},
		},
		"policies come and go": {
			10, 1_000_000,
			Configuration{Policies: []Policy{p.quiet, p.every, p.trailing}, Scripts: [][]Op{twice, twice, {OpSetPolicy1, OpSetPolicy2, OpSetPolicy0}}, Ticks: 4},
		},
		"more retries meet calls, Do and Cancel": {
			10, 4_100_000,
			Configuration{Policies: []Policy{p.retrying}, Scripts: [][]Op{twice, {OpDo, OpCall}, {OpCancel}, {OpFlush}}, Ticks: 4, Failures: 2, RetryIn: 1},
		},
		"all meets all": {
			10, 4_800_000,
			Configuration{Policies: []Policy{p.every, p.quiet}, Scripts: [][]Op{twice, {OpCall, OpDo}, {OpSetPolicy1, OpFlush}, {OpCancel, OpClose}}, Ticks: 3, Failures: 1, RetryIn: 1},
		},
		"all meets all, quietly": {
			10, 1_200_000,
			Configuration{Policies: []Policy{p.quiet, p.retrying}, Scripts: [][]Op{twice, {OpCallWithin}, {OpSetPolicy1, OpCancel}, {OpFlush, OpShutdown}}, Ticks: 3, Failures: 1},
		},
		"all meets the parent's end": {
			10, 2_000_000,
			Configuration{Policies: []Policy{p.quietBounded, p.periodic}, Scripts: [][]Op{twice, {OpDo}, {OpSetPolicy1, OpCancel}, {OpFlush}, {OpParentEnd}}, Ticks: 3},
		},
		"the parent ends with all at work": {
			10, 2_000_000,
			Configuration{Policies: []Policy{p.every}, Scripts: [][]Op{twice, {OpDo}, {OpFlush}, {OpShutdown}, {OpParentEnd}}, Ticks: 4, StaleWakes: 1},
		},
	}
}
