package interleaving

// A Fault breaks one thing that the library's design rests on: the model does what some
// plausible code would do instead.
type Fault uint8

// The faults.
const (
	NoFault Fault = iota

	// A call stores its reading of the clock, or its count, in the word, instead of
	// comparing the word with the one that it saw and swapping.
	StoresTime
	StoresCount

	// A transition takes over what the word says, but leaves the word to the calls
	// while it judges.
	KeepsWord

	// Like KeepsWord, and the word changes only after the unlock. A run that the
	// transition started may be active by then.
	ClearsAfterGo

	// A transition opens the word after it has unlocked the mutex.
	OpensUnlocked

	// settle does not set an alarm again that is set but has fired.
	NeverRearms

	// settle does not stop the alarm if nothing is due any more.
	LeavesAlarm

	// Cancel stops the alarm even if a periodic run needs it.
	CancelStopsAlarm

	// settle starts a due run although another run is active.
	StartsBesideRun

	// The end of a run opens the word and unlocks the mutex, but does not check whether
	// another run has become due.
	EndSettlesNothing

	// A timer that fires starts the pending run without a look at the clock.
	TrustsTimer

	// A run enters its callback without a look at the phase.
	EntersClosed

	// A run's goroutine does not ask whether the parent context has ended.
	IgnoresParent

	// Close does not drop pending calls.
	CloseDropsNothing

	// Cancel does not answer the waiters whose calls it drops.
	CancelTellsNobody

	// Flush waits for the active run, although that does not cover a pending call.
	FlushJoinsRun

	// A run that fails while Shutdown drains is retried.
	DrainRetries

	// Shutdown closes once the pending run is over, without a look at the active run.
	ShutdownForgetsRun

	// A start leaves the calls that it covers pending.
	StartKeepsPending

	// SetPolicy changes the policy, but leaves the alarm where the old policy put it.
	SetPolicySettlesNothing

	// settle starts a due run although the Throttler is paused.
	SettleIgnoresPause

	// Resume ends the pause, but leaves what came due meanwhile to the next transition.
	ResumeSettlesNothing

	// Shutdown of a paused Throttler waits for what is pending.
	PausedShutdownWaits

	// Pause leaves pending what a Shutdown that drains waits for.
	PauseLetsShutdownWait

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
		SettleIgnoresPause:      "SettleIgnoresPause",
		ResumeSettlesNothing:    "ResumeSettlesNothing",
		PausedShutdownWaits:     "PausedShutdownWaits",
		PauseLetsShutdownWait:   "PauseLetsShutdownWait",
	}[f]
}
