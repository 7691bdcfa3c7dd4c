//go:build linux

package fleettest

import (
	"math/rand/v2"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The scenarios in this file need no fault. Those that do are in fault.go.

// Run starts the store and runs scenarios on it as subtests: those with the given numbers, or
// all. It repeats the scenarios that kill a process or the store at a random instant: three
// times, once under -short, or as often as the environment variable FLEET_REPEAT says. Each
// scenario logs how many runs and grants there were.
func Run(t *testing.T, store Store, numbers ...int) {
	t.Helper()
	store.Start(t)
	t.Cleanup(func() { store.Kill(t) })
	const alone = true // it would disturb the others
	for i, scenario := range []struct {
		name  string
		test  func(*world)
		alone bool
	}{
		{"01 a hundred replicas call one idle key at once: one run now", testAtOnce, alone},
		{"02 a burst in the window: one more run", testBurst, false},
		{"03 a call during a remote run: one more, never parallel", testDuringRun, false},
		{"04 kill -9 of the replica that called, before due: another runs it", testKillCaller, false},
		{"05 kill -9 in mid-run: run again after the lease, higher token", testKillHolder, false},
		{"06 a holder stopped past its lease: its finish is stale, its write refused", testStopHolder, false},
		{"07 a reply lost after commit: one grant", testReplyLost, false},
		{"08 a reply late beyond the guard: given back, nothing lost", testReplyLate, false},
		{"09 the store stopped for 2 s: invariants hold, no retry storm", testStoreStopped, alone},
		{"10 the store killed -9: nothing lost", testStoreKilled, alone},
		{"11 the store wiped: at most one extra run, calls restored", testStoreWiped, alone},
		{"12 a replica cut off for three intervals: it never runs, and rejoins with its call", testCutOff, false},
		{"13 a full outage, and runs without a grant", testOutage, alone},
		{"14 clients' clocks an hour apart: no effect", testClientClocks, false},
		{"15 the store's clock steps an hour: no stall, at most one early run", testStoreClock, alone},
		{"16 scripts flushed: no double count", testScriptsFlushed, false},
		{"17 the callback fails, panics, takes longer than its lease: typed outcome", testOutcomes, false},
		{"18 close with work pending or active: no leak, no loss", testClose, false},
		{"19 a crowd of keys called at once: one claim and one run each", testCrowd, alone},
		{"20 the store restarted under a crowd: nothing lost, runs without a grant only meanwhile", testCrowdRestart, alone},
		{"21 the store refuses a crowd: told as that, no run without a grant", testCrowdRefused, alone},
		{"22 orphans of a crowd: those held elsewhere run, whoever called", testOrphans, alone},
		{"23 a crowd stopped past its leases beside another: tokens rise, nothing lost", testCrowdStopped, alone},
		{"24 a Group's keys, one process killed and one stopped: the others run every call, and forget the keys", testGroup, alone},
		{"25 a burst from eight processes with Quiet: one run, when it is over, and few claims", testQuiet, alone},
		{"26 calls without end, one process killed and one stopped: a run by MaxWait, nothing lost", testQuietKill, false},
	} {
		if len(numbers) > 0 && !slices.Contains(numbers, i+1) {
			continue
		}
		t.Run(scenario.name, func(t *testing.T) {
			if !scenario.alone {
				t.Parallel()
			}
			w := newWorld(t, store)
			scenario.test(w)
			w.check()
		})
	}
}

func testAtOnce(w *world) {
	const processes, replicas = 10, 10
	key := w.key()
	w.keys[key].interval = 2 * time.Second // long enough for all claims to reach the store before the second run
	patient := func(o *options) { o.Guard, o.Lease = 500*time.Millisecond, 2*time.Second }
	var opening []func()
	for range processes {
		p := w.process()
		for range replicas {
			_, answer := w.opening(p, key, patient)
			opening = append(opening, func() { require.Empty(w.t, p.await(answer).Text) })
		}
	}
	for _, await := range opening {
		await()
	}
	var calls []func()
	for _, p := range w.processes {
		answer := p.send(command{Do: actCallAll})
		calls = append(calls, func() { w.expect(key, p.await(answer).At) })
	}
	for _, await := range calls {
		await()
	}
	w.awaitIdle()
	// A claim that reaches the store after the first grant may be for a later call: the store
	// cannot know. So there may be a second run, later. And a claim that timed out may reach the
	// store at any time, so that nobody knows how many runs are needed.
	if missed := w.record.find(func(e event) bool { return e.Kind == reported }); len(missed) > 0 {
		w.t.Logf("%d claims were not answered in time", len(missed))
		return
	}
	w.requireNoNeedless(key)
}

func testBurst(w *world) {
	key := w.key()
	first, second := w.opened(key), w.opened(key)
	first.run()
	finish := []func() int64{first.calling(20, 2*time.Millisecond), second.calling(1000, 0)}
	for _, f := range finish {
		f()
	}
	w.opened(key).register()
	w.settle()
	calm()
	w.requireNoNeedless(key)
}

func testDuringRun(w *world) {
	key := w.key()
	first, second := w.opened(key, lasting, behaving(behavior{Hold: true})), w.opened(key, lasting)
	start := w.awaitStart(key, first.call())
	second.register()
	first.call()
	first.call()
	calm() // the window is over, and only the run holds the next one off
	first.release()
	end := w.awaitEnd(start)
	w.settle()
	next := w.awaitStart(key, start.At)
	assert.Greater(w.t, next.At, end.At)
	calm()
	w.requireNoNeedless(key)
}

func testScriptsFlushed(w *world) {
	key := w.key()
	first, second := w.opened(key), w.opened(key)
	w.store.FlushScripts(w.t)
	first.run()
	w.store.FlushScripts(w.t)
	second.register()
	w.store.FlushScripts(w.t)
	first.call()
	w.store.FlushScripts(w.t)
	w.settle()
	calm()
	w.requireNoNeedless(key)
	w.keys[key].most = 0 // more calls follow
	// At random instants.
	for range 5 {
		first.call()
		time.Sleep(rand.N(spacing))
		w.store.FlushScripts(w.t)
	}
}

func testClientClocks(w *world) {
	key := w.key()
	var replicas []*replica
	for _, d := range []time.Duration{0, time.Hour, 2 * time.Hour} { // the second is an hour apart from both
		replicas = append(replicas, w.open(w.aheadIfPossible(d), key))
	}
	w.t.Log("wall clocks are not tested: a process cannot have its own here, and no message contains one")
	for range 2 {
		for _, r := range replicas {
			e := r.tell(command{Do: actDo, Within: patience()})
			assert.Empty(w.t, e.Text)
			w.expect(key, e.At)
		}
	}
}

// aheadIfPossible starts a process whose monotonic clock is d ahead, if the machine allows it.
func (w *world) aheadIfPossible(d time.Duration) *process {
	w.t.Helper()
	if d == 0 {
		return w.process()
	}
	if err := canBeAhead(d); err != nil {
		w.t.Logf("a process cannot have its own monotonic clock here: %v", err)
		return w.process()
	}
	return w.processAhead(d)
}

func testStoreClock(w *world) {
	key := w.key()
	first, second := w.opened(key), w.opened(key)
	first.run()
	clock, ok := w.store.(ClockStepper)
	step := func(d time.Duration) {
		if ok {
			clock.Step(w.t, d)
		}
	}
	if !ok {
		w.t.Logf("nothing can move the clock of %s here: this is the same scenario without steps", w.store.Name())
	}
	w.keys[key].moved = ok
	for _, d := range []time.Duration{-time.Hour, time.Hour, time.Hour, -time.Hour} {
		step(d)
		if ok && d > 0 {
			w.keys[key].extra++ // for the store, the interval is over
		}
		w.awaitStart(key, second.call()) // patience is shorter than the hour
		w.awaitStart(key, first.call())
	}
	calm()
}

func testOutcomes(w *world) {
	for _, outcome := range []struct {
		behavior behavior
		own      errorKind
	}{
		{behavior{Take: interval / 2, Fail: "it failed"}, other},
		{behavior{Take: interval / 2, Panic: "it panicked"}, panicked},
		{behavior{Take: interval / 2}, none},
	} {
		key := w.key()
		first, second := w.opened(key, behaving(outcome.behavior)), w.opened(key, behaving(outcome.behavior))
		// Two calls in the window of a first run share the next one.
		w.awaitEnd(w.awaitStart(key, first.call()))
		waiting := []<-chan event{
			first.send(command{Do: actDo, Within: patience()}), second.send(command{Do: actDo, Within: patience()}),
		}
		remotes := 0
		for i, r := range []*replica{first, second} {
			answer := r.p.await(waiting[i])
			w.expect(key, answer.At)
			if answer.Error != remote {
				assert.Equal(w.t, outcome.own, answer.Error, answer.Text)
				continue
			}
			remotes++
			assert.Contains(w.t, answer.Text, outcome.behavior.Fail+outcome.behavior.Panic)
			assert.Len(w.t, w.record.find(func(e event) bool {
				return e.Kind == started && e.Key == key && e.Token == answer.Token && e.Process != r.p.name && e.At > answer.At
			}), 1, "the run in the error")
		}
		if outcome.own == none {
			assert.Zero(w.t, remotes)
		} else if remotes != 1 {
			w.t.Logf("the machine is slow: runs of other replicas covered %d calls", remotes)
		}
	}
	testOutlived(w)
}

// testOutlived has a callback that takes longer than its lease, which its replica cannot renew.
func testOutlived(w *world) {
	key := w.key()
	line := newProxy(w.t, w.store.Addr())
	holder := w.opened(key, through(line), briefly, behaving(behavior{Take: patience(), Heed: true}))
	answer := holder.send(command{Do: actDo, Within: patience()})
	start := w.awaitStart(key, 0)
	heir := w.opened(key, briefly)
	line.setCut(true)
	end := w.awaitEnd(start)
	assert.Equal(w.t, leaseLost, end.Error, "the cause of its context")
	assert.Equal(w.t, leaseLost, holder.p.await(answer).Error, "Do")
	assert.Greater(w.t, heir.awaitStart(start.At).Token, start.Token)
	holder.release()
	line.setCut(false)
	w.awaitStart(key, holder.call())
}

func testClose(w *world) {
	// Close with a pending call that the store knows about.
	key := w.key()
	stays := w.opened(key)
	stays.run()
	leaver := w.opened(key)
	leaver.register()
	require.Empty(w.t, leaver.tell(command{Do: actClose}).Text)
	leaver.p.quit()
	w.settle()

	// Shutdown with a pending call that the store may not know about.
	leaver = w.opened(key)
	leaver.call()
	assert.Empty(w.t, leaver.tell(command{Do: actShutdown, Within: patience()}).Text)
	leaver.p.quit()
	w.settle()

	// Close during a run that heeds its context: another replica does the work.
	key = w.key()
	slow := behaving(behavior{Take: patience(), Heed: true})
	leaver = w.opened(key, slow)
	start := w.awaitStart(key, leaver.call())
	stays = w.opened(key)
	require.Empty(w.t, leaver.tell(command{Do: actClose}).Text)
	w.awaitEnd(start)
	stays.awaitStart(start.At)
	leaver.p.quit()

	// Shutdown during a run: the run goes on.
	key = w.key()
	leaver = w.opened(key, lasting, behaving(behavior{Take: interval}))
	start = w.awaitStart(key, leaver.call())
	assert.Empty(w.t, leaver.tell(command{Do: actShutdown, Within: patience()}).Text)
	assert.Equal(w.t, none, w.awaitEnd(start).Error, "its context did not end")
	w.opened(key, lasting)
	calm()
	assert.Len(w.t, w.record.runs(key), 1)
	leaver.p.quit()

	// Close during a run and with pending calls: check does that.
	key = w.key()
	stays = w.opened(key)
	leaver = w.opened(key, behaving(behavior{Take: interval}))
	leaver.call()
	stays.call()
}

// Signals for stores.
func stopSignal() os.Signal   { return syscall.SIGSTOP }
func resumeSignal() os.Signal { return syscall.SIGCONT }
