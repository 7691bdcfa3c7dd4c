package interleaving_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/verify/interleaving"
)

// A demonstration is a configuration in which a fault breaks a guarantee.
type demonstration struct {
	fault  interleaving.Fault
	breaks string // the guarantee
	interleaving.Configuration
}

// TestSearch_Faults checks that the search is not blind: it finds the broken guarantee for
// each thing that the design rests on.
func TestSearch_Faults(t *testing.T) {
	var shown [interleaving.FaultCount]bool
	for name, d := range demonstrations() {
		shown[d.fault] = true
		t.Run(name, func(t *testing.T) {
			require.Nil(t, interleaving.Search(d.Configuration, interleaving.NoFault).Breach, "without the fault")
			found := interleaving.Search(d.Configuration, d.fault)
			require.NotNil(t, found.Breach, "%d states", found.States)
			t.Log(found.Breach)
			assert.Equal(t, d.breaks, found.Breach.Guarantee)
		})
	}
	for fault := interleaving.NoFault + 1; fault < interleaving.FaultCount; fault++ {
		assert.True(t, shown[fault], "no demonstration of %s", fault)
	}
}

// demonstrations returns at least one demonstration for each fault.
func demonstrations() map[string]demonstration {
	p := newPolicies()
	once, twice := []op{opCall}, []op{opCall, opCall}
	return map[string]demonstration{
		"a call stores the time instead of swapping it in": {
			interleaving.StoresTime, "G5",
			configuration{Policies: []policy{p.quiet}, Scripts: [][]op{twice, once}, Ticks: 5},
		},
		"a call stores the count instead of swapping it in": {
			interleaving.StoresCount, "WithCallCount",
			configuration{Policies: []policy{p.every}, Scripts: [][]op{twice, twice}, Ticks: 3, Counting: true},
		},
		"a transition lets quiet calls use the word while it decides": {
			interleaving.KeepsWord, "G5",
			configuration{Policies: []policy{p.quiet}, Scripts: [][]op{twice, twice}, Ticks: 6},
		},
		"the word is cleared after the go statement": {
			interleaving.ClearsAfterGo, "G3",
			configuration{Policies: []policy{p.every}, Scripts: [][]op{twice, twice}, Ticks: 3},
		},
		"the word is opened after the unlock": {
			interleaving.OpensUnlocked, "G3",
			configuration{Policies: []policy{p.every}, Scripts: [][]op{twice, twice}, Ticks: 3},
		},
		"settle does not set an alarm that has fired again": {
			interleaving.NeverRearms, "G3",
			configuration{Policies: []policy{p.quiet}, Scripts: [][]op{twice}, Ticks: 5},
		},
		"an alarm stays set for nothing": {
			interleaving.LeavesAlarm, "G6",
			configuration{Policies: []policy{p.every}, Scripts: [][]op{twice, {opCancel}}, Ticks: 3},
		},
		"Cancel stops the alarm of the periodic run": {
			interleaving.CancelStopsAlarm, "G5",
			configuration{Policies: []policy{p.periodic}, Scripts: [][]op{twice, {opCancel}}, Ticks: 4},
		},
		"a run starts beside the active one": {
			interleaving.StartsBesideRun, "G1",
			configuration{Policies: []policy{p.unbounded}, Scripts: [][]op{once, once}, Ticks: 1},
		},
		"the end of a run does not check what is due": {
			interleaving.EndSettlesNothing, "G3",
			configuration{Policies: []policy{p.every}, Scripts: [][]op{once, once}, Ticks: 3},
		},
		"Interval trusts the timer": {
			interleaving.TrustsTimer, "G2",
			configuration{Policies: []policy{p.every}, Scripts: [][]op{twice, once, {opCancel}, {opFlush}}, Ticks: 5},
		},
		"Quiet trusts the timer": {
			interleaving.TrustsTimer, "G5",
			configuration{Policies: []policy{p.quiet}, Scripts: [][]op{twice}, Ticks: 5},
		},
		"a run enters its callback in a closed throttler": {
			interleaving.EntersClosed, "G7",
			configuration{Policies: []policy{p.every}, Scripts: [][]op{once, {opClose}}, Ticks: 1},
		},
		"a run ignores the end of the parent": {
			interleaving.IgnoresParent, "G7",
			configuration{Policies: []policy{p.every}, Scripts: [][]op{once, {opParentEnd}}, Ticks: 1},
		},
		"Close drops nothing": {
			interleaving.CloseDropsNothing, "G7",
			configuration{Policies: []policy{p.every}, Scripts: [][]op{twice, {opClose}}, Ticks: 3},
		},
		"Cancel answers nobody": {
			interleaving.CancelTellsNobody, "answer",
			configuration{Policies: []policy{p.every}, Scripts: [][]op{{opDo, opDo}, {opCancel}}, Ticks: 3},
		},
		"Flush waits only for the active run": {
			interleaving.FlushJoinsRun, "Flush",
			configuration{Policies: []policy{p.every}, Scripts: [][]op{twice, {opFlush}}, Ticks: 3},
		},
		"a failed run is retried while Shutdown drains": {
			interleaving.DrainRetries, "G7",
			configuration{Policies: []policy{p.retrying}, Scripts: [][]op{once, {opShutdown}}, Ticks: 4, Failures: 1},
		},
		"Shutdown waits only for the pending run": {
			interleaving.ShutdownForgetsRun, "G7",
			configuration{Policies: []policy{p.every}, Scripts: [][]op{twice, {opShutdown}, {opCancel}}, Ticks: 3},
		},
		"a start leaves its calls pending": {
			interleaving.StartKeepsPending, "G4",
			configuration{Policies: []policy{p.every}, Scripts: [][]op{once}, Ticks: 3},
		},
		"a run starts during a pause": {
			interleaving.SettleIgnoresPause, "Pause",
			configuration{Policies: []policy{p.every}, Scripts: [][]op{once, {opPause, opResume}}, Ticks: 1},
		},
		"Resume starts nothing": {
			interleaving.ResumeSettlesNothing, "G3",
			configuration{Policies: []policy{p.every}, Scripts: [][]op{once, {opPause, opResume}}, Ticks: 1},
		},
		"Shutdown waits for a pause to end": {
			interleaving.PausedShutdownWaits, "G3",
			configuration{Policies: []policy{p.every}, Scripts: [][]op{once, {opPause, opShutdown}}, Ticks: 1},
		},
		"a pause lets Shutdown wait": {
			interleaving.PauseLetsShutdownWait, "G3",
			configuration{Policies: []policy{p.every}, Scripts: [][]op{twice, {opShutdown}, {opPause}}, Ticks: 1},
		},
		"SetPolicy does not set the alarm": {
			interleaving.SetPolicySettlesNothing, "G5",
			configuration{Policies: []policy{p.every, p.periodic}, Scripts: [][]op{{opSetPolicy1}}, Ticks: 3},
		},
	}
}
