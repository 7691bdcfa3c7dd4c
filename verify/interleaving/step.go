package interleaving

import "fmt"

// This file holds the kinds of steps, and who takes them.

// A Step is a kind of step.
type Step uint8

// The steps: first those of callers, then those of a run, the timer, the parent
// context and the clock.
const (
	Load           Step = iota // of the word, in coalesce
	ReadClock                  // in coalesce
	CompareAndSwap             // in coalesce
	Call                       // of one that has to lock, up to its settle, as are those that follow
	CallWithin
	Do
	Flush
	Cancel
	SetPolicy
	Close
	Drain
	AwaitActive // activeOutcome
	CloseDrained
	GiveUp  // Shutdown's context ends
	Publish // the end of a transition: the word is stored, the mutex is free
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
	Advance // of the clock, to the alarm, when nothing else can move
	StepCount
)

func (s Step) String() string {
	return [StepCount]string{
		Load: "load", ReadClock: "read clock", CompareAndSwap: "compare and swap",
		Call: "call", CallWithin: "call within", Do: "do", Flush: "flush", Cancel: "cancel",
		SetPolicy: "set policy", Close: "close", Drain: "drain", AwaitActive: "await active run",
		CloseDrained: "close after drain", GiveUp: "give up", Publish: "publish word",
		CheckParent: "check parent", CloseByRun: "close for parent", Enter: "enter",
		Undo: "undo", Decide: "decide", End: "end", Fire: "fire", FireStale: "fire for nothing",
		Wake: "wake", EndParent: "parent ends", CloseByParent: "close for parent",
		Tick: "tick", Advance: "advance",
	}[s]
}

// An actor is who takes a step: a process, by its index, or one of these.
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
		return "mutex's holder"
	default:
		return fmt.Sprintf("process %d", int(a)+1)
	}
}
