package reference

import (
	"time"

	"github.com/throttle-go/throttle"
)

// A Scenario is what happens to a throttler, and what its callback does. It must not
// contain races that the contract leaves open: see addScript and addStep.
type Scenario struct {
	Policy   throttle.Policy
	Parent   bool // the throttler has a parent context
	Counting bool // it counts calls
	Paused   bool // it is built paused
	Ending   Ending
	Scripts  []Script // of the first runs, see addScript; later ones return nil at once
	Steps    []Step   // see addStep
}

// Script is what run number n does.
func (s *Scenario) Script(n int) Script {
	if n < len(s.Scripts) {
		return s.Scripts[n]
	}
	return Script{}
}

// addScript adds the script of the next run. Set Parent before. If the parent's end stops a
// run, the run and the throttler race to notice it: such a run must do nothing more.
func (s *Scenario) addScript(script Script) {
	if s.Parent && script.HeedsContext {
		script.Late = ActNone
	}
	s.Scripts = append(s.Scripts, script)
}

// addStep adds a step. It moves the end of a waiter's context to an instant at which nothing
// else happens: a waiter whose answer comes when its context ends may return either.
func (s *Scenario) addStep(step Step) {
	if step.Op.Waits() && step.Within > 0 {
		step.Within += time.Millisecond/2 + time.Duration(len(s.Steps)+1)*time.Microsecond
	}
	s.Steps = append(s.Steps, step)
}

// A Step is a wait and then an operation.
type Step struct {
	Wait   time.Duration
	Aim    Aim             // what to wait for instead; then Wait is added, which may be -1
	Op     Operation       // what to do then
	Within time.Duration   // for CallWithin; and how long other methods wait, 0 for no bound
	Late   bool            // the context has already ended
	Policy throttle.Policy // for SetPolicy
}

// longestWait bounds every wait.
const longestWait = time.Second

// An Operation is what a step does.
type Operation int

// The operations.
const (
	OpNothing Operation = iota
	OpCall
	OpCallWithin
	OpDo
	OpFlush
	OpCancel
	OpSetPolicy
	OpSetSamePolicy
	OpClose
	OpShutdown
	OpEndParent
	OpPause
	OpResume
	OpWait
)

const operations = int(OpWait) + 1 // how many there are

// Waits reports whether op is a method that waits, with a context.
func (op Operation) Waits() bool {
	return op == OpDo || op == OpFlush || op == OpShutdown || op == OpWait
}

func (op Operation) String() string {
	return [operations]string{
		"nothing", "Call", "CallWithin", "Do", "Flush", "Cancel", "SetPolicy", "SetPolicy(Policy())",
		"Close", "Shutdown", "the parent context ends", "Pause", "Resume", "Wait",
	}[op]
}

// An Aim is an instant at which something changes.
type Aim int

// The aims.
const (
	AimNowhere Aim = iota
	AimDue         // when the next run is due
	AimPermit      // when the window ends
	AimRunEnd      // when the active run ends
	AimQuiet       // when the last call is Quiet ago
)

const aims = int(AimQuiet) + 1

// An Ending is how a scenario ends.
type Ending int

// The endings.
const (
	EndWithClose Ending = iota
	EndWithShutdown
	EndIdle // drop what is pending and forget the throttler
)

const endings = int(EndIdle) + 1
