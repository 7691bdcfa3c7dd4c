package interleaving

// This file holds the faults: each breaks one thing that the library's design
// rests on, and does what some plausible code would do instead.

// A Fault is what is wrong with the model.
type Fault uint8

// The faults.
const (
	NoFault Fault = iota

	// A call stores its reading of the clock, or its count, into the word instead
	// of swapping it in for the word it has seen.
	StoresTime
	StoresCount

	// A transition takes over what the word says, but leaves the word to the calls
	// while it judges.
	KeepsWord

	// As KeepsWord, and the word changes only after the mutex is free again: a run
	// that the transition started may be under way by then.
	ClearsAfterGo

	// A transition opens the word once it has freed the mutex.
	OpensUnlocked

	// settle leaves the alarm as it is if it is set, though it has fired.
	NeverRearms

	// settle leaves the alarm where it is if nothing is due any more.
	LeavesAlarm

	// Cancel stops the alarm for good, whatever else it was set for.
	CancelStopsAlarm

	// settle starts what is due though a run is active.
	StartsBesideRun

	// The end of a run opens the word and frees the mutex, but does not look at
	// what has become due meanwhile.
	EndSettlesNothing

	// A timer that fires starts what is pending without a look at the clock.
	TrustsTimer

	// A run enters its callback without a look at the phase.
	EntersClosed

	// A run's goroutine does not ask whether the parent context has ended.
	IgnoresParent

	// Close leaves what is pending.
	CloseDropsNothing

	// Cancel does not tell those who wait for what it drops.
	CancelTellsNobody

	// Flush waits for the active run, though a call is pending that it does not
	// cover.
	FlushJoinsRun

	// A run that fails while Shutdown drains is repeated.
	DrainRetries

	// Shutdown closes once what was pending is over, without a look at what runs.
	ShutdownForgetsRun

	// A start keeps what it covers pending.
	StartKeepsPending

	// SetPolicy changes the policy alone: the alarm stays where the old policy
	// wanted it.
	SetPolicySettlesNothing

	FaultCount
)

func (f Fault) String() string {
	return [FaultCount]string{
		NoFault:                 "NoFault",
		StoresTime:              "StoresTime",
		StoresCount:             "StoresCount",
		KeepsWord:               "KeepsWord",
		ClearsAfterGo:           "ClearsAfterGo",
		OpensUnlocked:           "OpensUnlocked",
		NeverRearms:             "NeverRearms",
		LeavesAlarm:             "LeavesAlarm",
		CancelStopsAlarm:        "CancelStopsAlarm",
		StartsBesideRun:         "StartsBesideRun",
		EndSettlesNothing:       "EndSettlesNothing",
		TrustsTimer:             "TrustsTimer",
		EntersClosed:            "EntersClosed",
		IgnoresParent:           "IgnoresParent",
		CloseDropsNothing:       "CloseDropsNothing",
		CancelTellsNobody:       "CancelTellsNobody",
		FlushJoinsRun:           "FlushJoinsRun",
		DrainRetries:            "DrainRetries",
		ShutdownForgetsRun:      "ShutdownForgetsRun",
		StartKeepsPending:       "StartKeepsPending",
		SetPolicySettlesNothing: "SetPolicySettlesNothing",
	}[f]
}
