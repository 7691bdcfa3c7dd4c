package interleaving

import "fmt"

// A Step is a kind of step.
type Step uint8

// The steps: first those of callers, then those of a run, the timer, the parent
// context and the clock.
const (
	Load           Step = iota // of the word, in coalesce
	ReadClock                  // in coalesce
	CompareAndSwap             // in coalesce
	Call                       // of a call that has to lock, up to its settle; likewise the next ones
	CallWithin
	Do
	Flush
	Cancel
	SetPolicy
	Pause
	Resume
	Close
	Drain
	AwaitActive // activeOutcome
	CloseDrained
	GiveUp  // Shutdown's context ends
	Publish // the end of a transition: it stores the word and unlocks the mutex
	CheckParent
	CloseByRun
	Enter
	Undo // enter, in a closed Throttler
	Decide
	End
	Fire // of a timer
	FireStale
	Wake
	EndParent
	CloseByParent
	Tick
	Advance // of the clock to the alarm, if nothing else can move
	StepCount
)

func (s Step) String() string {
	return [StepCount]string{
		Load: "load", ReadClock: "read clock", CompareAndSwap: "compare and swap",
		Call: "call", CallWithin: "call within", Do: "do", Flush: "flush", Cancel: "cancel",
		SetPolicy: "set policy", Pause: "pause", Resume: "resume", Close: "close", Drain: "drain", AwaitActive: "await active run",
		CloseDrained: "close after drain", GiveUp: "give up", Publish: "publish word",
		CheckParent: "check parent", CloseByRun: "close for parent", Enter: "enter",
		Undo: "undo", Decide: "decide", End: "end", Fire: "fire", FireStale: "fire without reason",
		Wake: "wake", EndParent: "parent ends", CloseByParent: "close for parent",
		Tick: "tick", Advance: "advance",
	}[s]
}

// An actor takes a step: it is a process, given by its index, or one of these.
type actor int8

const (
	theRun actor = -1 - iota
	theTimer
	theParent
	theClock
	aTransition
)

func (a actor) String() string {
	switch a {
	case theRun:
		return "run"
	case theTimer:
		return "timer"
	case theParent:
		return "parent"
	case theClock:
		return "clock"
	case aTransition:
		return "mutex holder"
	default:
		return fmt.Sprintf("process %d", int(a)+1)
	}
}
