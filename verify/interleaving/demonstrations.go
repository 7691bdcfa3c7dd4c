package interleaving

// This file holds where each fault shows.

// A Demonstration is a configuration in which a fault breaks a guarantee.
type Demonstration struct {
	Fault  Fault
	Breaks string // the guarantee
	Configuration
}

// Demonstrations returns one or more for every fault.
func Demonstrations() map[string]Demonstration {
	p := newPolicies()
	once, twice := []Op{OpCall}, []Op{OpCall, OpCall}
	return map[string]Demonstration{
		"a call stores the time instead of swapping it in": {
			StoresTime, "G5",
			Configuration{Policies: []Policy{p.quiet}, Scripts: [][]Op{twice, once}, Ticks: 5},
		},
		"a call stores the count instead of swapping it in": {
			StoresCount, "WithCallCount",
			Configuration{Policies: []Policy{p.every}, Scripts: [][]Op{twice, twice}, Ticks: 3, Counting: true},
		},
		"a transition leaves the word to quiet calls while it judges": {
			KeepsWord, "G5",
			Configuration{Policies: []Policy{p.quiet}, Scripts: [][]Op{twice, twice}, Ticks: 6},
		},
		"the word is cleared after the go statement": {
			ClearsAfterGo, "G3",
			Configuration{Policies: []Policy{p.every}, Scripts: [][]Op{twice, twice}, Ticks: 3},
		},
		"the word is opened once the mutex is free": {
			OpensUnlocked, "G3",
			Configuration{Policies: []Policy{p.every}, Scripts: [][]Op{twice, twice}, Ticks: 3},
		},
		"settle does not set an alarm that has fired again": {
			NeverRearms, "G3",
			Configuration{Policies: []Policy{p.quiet}, Scripts: [][]Op{twice}, Ticks: 5},
		},
		"an alarm is left set for nothing": {
			LeavesAlarm, "G6",
			Configuration{Policies: []Policy{p.every}, Scripts: [][]Op{twice, {OpCancel}}, Ticks: 3},
		},
		"Cancel stops the alarm of the periodic run": {
			CancelStopsAlarm, "G5",
			Configuration{Policies: []Policy{p.periodic}, Scripts: [][]Op{twice, {OpCancel}}, Ticks: 4},
		},
		"a run starts beside the active one": {
			StartsBesideRun, "G1",
			Configuration{Policies: []Policy{p.unbounded}, Scripts: [][]Op{once, once}, Ticks: 1},
		},
		"a run's end does not look at what is due": {
			EndSettlesNothing, "G3",
			Configuration{Policies: []Policy{p.every}, Scripts: [][]Op{once, once}, Ticks: 3},
		},
		"a timer is trusted for Interval": {
			TrustsTimer, "G2",
			Configuration{Policies: []Policy{p.every}, Scripts: [][]Op{twice, once, {OpCancel}, {OpFlush}}, Ticks: 5},
		},
		"a timer is trusted for Quiet": {
			TrustsTimer, "G5",
			Configuration{Policies: []Policy{p.quiet}, Scripts: [][]Op{twice}, Ticks: 5},
		},
		"a run enters its callback though the throttler is closed": {
			EntersClosed, "G7",
			Configuration{Policies: []Policy{p.every}, Scripts: [][]Op{once, {OpClose}}, Ticks: 1},
		},
		"a run's goroutine does not ask for the parent": {
			IgnoresParent, "G7",
			Configuration{Policies: []Policy{p.every}, Scripts: [][]Op{once, {OpParentEnd}}, Ticks: 1},
		},
		"Close leaves what is pending": {
			CloseDropsNothing, "G7",
			Configuration{Policies: []Policy{p.every}, Scripts: [][]Op{twice, {OpClose}}, Ticks: 3},
		},
		"Cancel tells nobody": {
			CancelTellsNobody, "answer",
			Configuration{Policies: []Policy{p.every}, Scripts: [][]Op{{OpDo, OpDo}, {OpCancel}}, Ticks: 3},
		},
		"Flush waits for the active run alone": {
			FlushJoinsRun, "Flush",
			Configuration{Policies: []Policy{p.every}, Scripts: [][]Op{twice, {OpFlush}}, Ticks: 3},
		},
		"a run that fails is repeated while Shutdown drains": {
			DrainRetries, "G7",
			Configuration{Policies: []Policy{p.retrying}, Scripts: [][]Op{once, {OpShutdown}}, Ticks: 4, Failures: 1},
		},
		"Shutdown looks only at what was pending": {
			ShutdownForgetsRun, "G7",
			Configuration{Policies: []Policy{p.every}, Scripts: [][]Op{twice, {OpShutdown}, {OpCancel}}, Ticks: 3},
		},
		"a start keeps pending what it covers": {
			StartKeepsPending, "G4",
			Configuration{Policies: []Policy{p.every}, Scripts: [][]Op{once}, Ticks: 3},
		},
		"SetPolicy does not set the alarm": {
			SetPolicySettlesNothing, "G5",
			Configuration{Policies: []Policy{p.every, p.periodic}, Scripts: [][]Op{{OpSetPolicy1}}, Ticks: 3},
		},
	}
}
