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

// This file holds what Run does, and the scenarios in which all goes well.

// Run starts the store and runs scenarios on it, as subtests: all, or those whose numbers are
// given. Those in which processes or the store are killed are repeated at random instants,
// three times, or as often as the environment variable FLEET_REPEAT says. Each reports what
// it counted.
func Run(t *testing.T, store Store, numbers ...int) {
	t.Helper()
	store.Start(t)
	t.Cleanup(func() { store.Kill(t) })
	const alone = true // as it disturbs the others
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
		{"17 the callback fails, panics, outlives its lease: typed outcome", testOutcomes, false},
		{"18 close with work pending or active: no leak, no loss", testClose, false},
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
	w.keys[key].interval = 2 * time.Second // so that all claims reach the store before the second run
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
	// A claim that reaches the store after the first grant may be for a later call, for all
	// that the store knows: that is one more run, and it is not now. One that was not answered
	// in time may come later still.
	if missed := w.record.find(func(e event) bool { return e.Kind == reported }); len(missed) > 0 {
		w.t.Logf("%d claims were not answered in time", len(missed))
		return
	}
	w.keys[key].most = 2
}

func testBurst(w *world) {
	key := w.key()
	first, second := w.opened(key), w.opened(key)
	start := first.run()
	finish := []func() int64{first.calling(20, 2*time.Millisecond), second.calling(1000, 0)}
	last := max(finish[0](), finish[1]())
	last = max(last, w.opened(key).register())
	inTime := last < start.At+interval.Microseconds()
	w.settle()
	calm()
	if inTime { // the machine was fast enough for all calls to be in the window
		assert.Len(w.t, w.record.runs(key), 2)
		w.keys[key].most = 2
	} else {
		w.t.Log("the burst took longer than the window")
	}
}

func testDuringRun(w *world) {
	key := w.key()
	slow := behaving(behavior{Take: 2 * interval})
	first, second := w.opened(key, slow), w.opened(key, slow)
	start := w.awaitStart(key, first.call())
	second.register()
	first.call()
	called := first.call()
	end := w.awaitEnd(start)
	w.settle()
	next := w.awaitStart(key, start.At)
	assert.Greater(w.t, next.At, end.At)
	calm()
	if called < end.At {
		assert.Len(w.t, w.record.runs(key), 2)
		w.keys[key].most = 2
	}
}

func testScriptsFlushed(w *world) {
	key := w.key()
	first, second := w.opened(key), w.opened(key)
	w.store.FlushScripts(w.t)
	start := first.run()
	w.store.FlushScripts(w.t)
	second.register()
	w.store.FlushScripts(w.t)
	called := first.call()
	w.store.FlushScripts(w.t)
	w.settle()
	calm()
	if called < start.At+interval.Microseconds() {
		assert.Len(w.t, w.record.runs(key), 2)
	}
	// And at random.
	for range 5 {
		first.call()
		time.Sleep(rand.N(spacing))
		w.store.FlushScripts(w.t)
	}
}

func testClientClocks(w *world) {
	key := w.key()
	var replicas []*replica
	for _, d := range []time.Duration{0, time.Hour, 2 * time.Hour} { // an hour behind, and ahead of, the second
		replicas = append(replicas, w.open(w.aheadIfPossible(d), key))
	}
	w.t.Log("a process cannot have a wall clock of its own here; no message tells one")
	for range 2 {
		for _, r := range replicas {
			e := r.tell(command{Do: actDo, Within: patience()})
			assert.Empty(w.t, e.Text)
			w.expect(key, e.At)
		}
	}
}

// aheadIfPossible starts a process whose monotonic clock is ahead, if the machine can do so.
func (w *world) aheadIfPossible(d time.Duration) *process {
	w.t.Helper()
	if d == 0 {
		return w.process()
	}
	if err := canBeAhead(d); err != nil {
		w.t.Logf("a process cannot have a monotonic clock of its own here: %v", err)
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
		w.t.Logf("the clock of %s cannot be moved here: the same is done without", w.store.Name())
	}
	w.keys[key].moved = ok
	for _, d := range []time.Duration{-time.Hour, time.Hour, time.Hour, -time.Hour} {
		step(d)
		if ok && d > 0 {
			w.keys[key].extra++ // it is due, as far as the store knows
		}
		w.awaitStart(key, second.call()) // long before the hour is over
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
		// Within the window of a first run both calls join one that is due.
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
			}), 1, "the run that its error tells of")
		}
		if outcome.own == none {
			assert.Zero(w.t, remotes)
		} else if remotes != 1 {
			w.t.Logf("the machine was so slow that %d calls had a run elsewhere", remotes)
		}
	}
	testOutlived(w)
}

// testOutlived has a callback that goes on past its lease, which the store cannot be reached
// to prolong.
func testOutlived(w *world) {
	key := w.key()
	line := newProxy(w.t, w.store.Addr())
	holder := w.opened(key, through(line), briefly, behaving(behavior{Take: patience(), Heed: true}))
	heir := w.opened(key, briefly)
	answer := holder.send(command{Do: actDo, Within: patience()})
	start := w.awaitStart(key, 0)
	require.Equal(w.t, holder.name, start.Throttler)
	line.setCut(true)
	end := w.awaitEnd(start)
	assert.Equal(w.t, leaseLost, end.Error, "the cause of its context")
	assert.Equal(w.t, leaseLost, holder.p.await(answer).Error, "Do")
	next := w.awaitStart(key, start.At)
	assert.Equal(w.t, heir.name, next.Throttler)
	assert.Greater(w.t, next.Token, start.Token)
	holder.tell(command{Do: actBehave, Behavior: &behavior{}})
	line.setCut(false)
	w.awaitStart(key, holder.call())
}

func testClose(w *world) {
	// Closed as a call is pending that the store knows of.
	key := w.key()
	stays := w.opened(key)
	stays.run()
	leaver := w.opened(key)
	leaver.register()
	require.Empty(w.t, leaver.tell(command{Do: actClose}).Text)
	leaver.p.quit()
	w.settle()

	// Shut down as a call is pending that the store may not know of.
	leaver = w.opened(key)
	leaver.call()
	assert.Empty(w.t, leaver.tell(command{Do: actShutdown, Within: patience()}).Text)
	leaver.p.quit()
	w.settle()

	// Closed in a run that heeds its context: another replica does the work.
	key = w.key()
	slow := behaving(behavior{Take: patience(), Heed: true})
	leaver = w.opened(key, slow)
	start := w.awaitStart(key, leaver.call())
	stays = w.opened(key)
	require.Empty(w.t, leaver.tell(command{Do: actClose}).Text)
	w.awaitEnd(start)
	assert.Equal(w.t, stays.name, w.awaitStart(key, start.At).Throttler)
	leaver.p.quit()

	// Shut down in a run: it goes on.
	key = w.key()
	leaver = w.opened(key, behaving(behavior{Take: interval}))
	start = w.awaitStart(key, leaver.call())
	assert.Empty(w.t, leaver.tell(command{Do: actShutdown, Within: patience()}).Text)
	assert.Equal(w.t, none, w.awaitEnd(start).Error, "its context did not end")
	stays = w.opened(key)
	calm()
	assert.Len(w.t, w.record.runs(key), 1)
	leaver.p.quit()

	// And closed with all of that at once, see check.
	leaver = w.opened(key, behaving(behavior{Take: interval}))
	leaver.call()
	stays.call()
}

// signals for stores.
func stopSignal() os.Signal   { return syscall.SIGSTOP }
func resumeSignal() os.Signal { return syscall.SIGCONT }
