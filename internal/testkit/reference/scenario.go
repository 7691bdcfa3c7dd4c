package reference

// This file is what a scenario consists of, and what it must not contain: races
// that the contract leaves open.

import (
	"time"

	"github.com/throttle-go/throttle"
)

// A Scenario is what is done to a throttler, and what its callback does.
type Scenario struct {
	Policy   throttle.Policy
	Parent   bool // the throttler has a parent context
	Counting bool // it counts calls
	Ending   Ending
	Scripts  []Script // of the first runs, see AddScript; later ones return nil at once
	Steps    []Step   // see AddStep
}

// Script is what run number n does.
func (s *Scenario) Script(n int) Script {
	if n < len(s.Scripts) {
		return s.Scripts[n]
	}
	return Script{}
}

// AddScript says what the next run does, once it is known whether there is a
// parent context. A run that its parent's end stops and the throttler, which
// learns of that end meanwhile, race for who is first: such a run does nothing
// afterwards.
func (s *Scenario) AddScript(script Script) {
	if s.Parent && script.HeedsContext {
		script.Late = ActNone
	}
	s.Scripts = append(s.Scripts, script)
}

// AddStep says what is done next. The context of one who waits is made to end at
// an instant of its own, where nothing else happens: whoever gets his answer when
// his context ends may see either.
func (s *Scenario) AddStep(step Step) {
	if step.Op.Waits() && step.Within > 0 {
		step.Within += time.Millisecond/2 + time.Duration(len(s.Steps)+1)*time.Microsecond
	}
	s.Steps = append(s.Steps, step)
}

// A Step is a wait and then an operation.
type Step struct {
	Wait   time.Duration
	Aim    Aim             // what to wait for instead; Wait is then added, to come a little earlier
	Op     Operation       // what to do then
	Within time.Duration   // for CallWithin, and how long others wait: 0 is for ever
	Late   bool            // the context has already ended
	Policy throttle.Policy // for SetPolicy
}

// LongestWait bounds the wait for what an aim is at. Who draws waits should keep to
// it too.
const LongestWait = time.Second

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
)

const operations = int(OpEndParent) + 1 // how many there are

// Waits reports whether op is a method that waits, with a context.
func (op Operation) Waits() bool { return op == OpDo || op == OpFlush || op == OpShutdown }

func (op Operation) String() string {
	return [operations]string{
		"nothing", "Call", "CallWithin", "Do", "Flush", "Cancel", "SetPolicy", "SetPolicy(Policy())",
		"Close", "Shutdown", "the parent context ends",
	}[op]
}

// An Aim is an instant that is more telling than a random one.
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

// An Ending is how a scenario is left.
type Ending int

// The endings.
const (
	EndWithClose Ending = iota
	EndWithShutdown
	EndIdle // drop what is pending and forget the throttler
)

const endings = int(EndIdle) + 1
