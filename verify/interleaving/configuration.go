package interleaving

import "slices"

// A Configuration bounds a search.
type Configuration struct {
	Policies   []Policy // the first applies at first
	Scripts    [][]Op   // one for each process, at most five; equal ones next to each other
	Ticks      int8     // that may pass at any time; after them the clock moves only if nothing else can, to the alarm of a pending run
	Failures   uint8    // how many runs may fail, or return RetryIn
	RetryIn    int8     // the delay that RetryIn asks for; 0 if no run returns RetryIn
	StaleWakes uint8    // how many timers may fire without a reason
	Counting   bool     // WithCallCount
}

// An Op is a call of a method, or the end of the parent context.
type Op uint8

// The operations.
const (
	OpCall       Op = iota
	OpCallWithin    // a tick
	OpDo
	OpFlush
	OpCancel
	OpSetPolicy0 // the first of the Configuration's policies
	OpSetPolicy1
	OpSetPolicy2
	OpClose
	OpShutdown
	OpShutdownImpatient // its context may end at any time
	OpParentEnd
	OpPause
	OpResume
)

// alike returns the ranges of processes with equal scripts.
func (c *Configuration) alike() (ranges [][2]int) {
	for first := 0; first < len(c.Scripts); {
		end := first + 1
		for end < len(c.Scripts) && slices.Equal(c.Scripts[first], c.Scripts[end]) {
			end++
		}
		ranges = append(ranges, [2]int{first, end})
		first = end
	}
	return ranges
}

// A model is a configuration with a fault.
type model struct {
	Configuration
	fault  Fault
	ranges [][2]int // of processes with equal scripts
	quiet  bool     // a policy has Quiet, so the time of the last call matters
}

func newModel(c Configuration, f Fault) *model {
	quiet := slices.ContainsFunc(c.Policies, func(p Policy) bool { return p.Quiet > 0 })
	return &model{Configuration: c, fault: f, ranges: c.alike(), quiet: quiet}
}

// first returns the state in which New leaves a Throttler.
func (m *model) first() state {
	v := move{model: m, state: newState(&m.Configuration)}
	v.settle(v.lock())
	v.transitions, v.word = [2]transition{}, v.transitions[0].next
	return v.state
}
