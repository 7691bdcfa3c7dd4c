//go:build linux

package fleettest

import (
	"time"

	"github.com/stretchr/testify/assert"
)

// The scenarios in this file have policies with Quiet.

// A quiet is much longer than a busy machine interrupts the calls.
const quiet = 10 * interval

// debounced sets Quiet and MaxWait.
func debounced(quiet, maxWait time.Duration) func(*options) {
	return func(o *options) { o.Quiet, o.MaxWait = quiet, maxWait }
}

func testQuiet(w *world) {
	const processes, calls = 8, 1000
	key := w.key()
	var finish []func() int64
	for range processes {
		r := w.opened(key, debounced(quiet, 0))
		finish = append(finish, r.calling(calls, time.Millisecond))
	}
	called := int64(0)
	for _, f := range finish {
		called = max(called, f())
	}
	w.settle()
	w.awaitIdle()
	runs := w.record.runs(key)
	if last := runs[len(runs)-1]; assert.Len(w.t, runs, 1) {
		late := time.Duration(last.At-called) * time.Microsecond
		assert.GreaterOrEqual(w.t, late, quiet, "the run came too soon after the last call")
		w.t.Logf("the run came %v after the last call", late.Round(time.Millisecond))
	}
	claims := len(w.record.find(func(e event) bool { return e.Kind == claimed && e.Key == key }))
	w.t.Logf("%d claims for %d calls", claims, processes*calls)
	assert.LessOrEqual(w.t, claims, processes*calls/100, "claims")
}

func testQuietKill(w *world) {
	w.repeat(3, func(int) {
		key := w.key()
		limited := debounced(3*interval, 5*interval)
		dies, pauses, stays := w.opened(key, limited), w.opened(key, limited), w.opened(key, limited)
		_ = dies.send(command{Do: actCall, Times: 1_000_000, Pace: interval / 30})
		first := w.awaitStart(key, dies.register())
		finish := []func() int64{pauses.calling(300, interval/30), stays.calling(300, interval/30)}
		second := w.awaitStart(key, first.At)
		w.t.Logf("a run while calls go on, %v after the last one", time.Duration(second.At-first.At)*time.Microsecond)
		w.kill(dies.p)
		pauses.p.stop()
		time.Sleep(2 * lease)
		pauses.p.resume()
		for _, f := range finish {
			f()
		}
	})
}
