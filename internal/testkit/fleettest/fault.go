//go:build linux

package fleettest

import (
	"math/rand/v2"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// In the scenarios of this file a process, the store or a message fails.

func testKillCaller(w *world) {
	w.repeat(3, func(int) {
		w.untilLongEnough(interval, func(interval time.Duration) bool { return killsCaller(w, interval) })
	})
}

// killsCaller kills a process that has called, and waits for the run. It reports whether another
// process made that run.
func killsCaller(w *world, interval time.Duration) bool {
	key := w.key()
	w.keys[key].interval = interval
	w.opened(key)
	first, caller := w.opened(key), w.opened(key)
	first.run()
	called := caller.register()
	time.Sleep(rand.N(interval / 4)) // the run is due later
	w.kill(caller.p)
	return w.awaitStart(key, called).Process != caller.p.name
}

func testKillHolder(w *world) {
	w.repeat(3, func(turn int) {
		key := w.key()
		// Kill it in the middle of a run; every second time, near the end of a run, which may then
		// be finished, so that nobody has to do anything.
		take := patience()
		if turn%2 == 1 {
			take = 20 * time.Millisecond
		}
		holder := w.opened(key, briefly, behaving(behavior{Take: take, Written: w.resource.addr()}))
		start := w.awaitStart(key, holder.call())
		heir := w.opened(key, briefly, behaving(behavior{Written: w.resource.addr()}))
		if turn%2 == 0 {
			time.Sleep(rand.N(lease))
		} else {
			time.Sleep(rand.N(2 * take))
		}
		w.kill(holder.p)
		if turn%2 == 1 {
			w.awaitStart(key, heir.call())
			return
		}
		next := heir.awaitStart(start.At)
		assert.Greater(w.t, next.Token, start.Token)
		assert.False(w.t, w.awaitEnd(next).Refused)
	})
}

func testStopHolder(w *world) {
	key := w.key()
	writing := behavior{Hold: true, Written: w.resource.addr()}
	holder := w.opened(key, briefly, behaving(writing))
	start := w.awaitStart(key, holder.call())
	holder.p.stop()
	writing.Early = true
	heir := w.opened(key, lasting, behaving(writing))
	next := heir.awaitStart(start.At)
	assert.Greater(w.t, next.Token, start.Token)
	require.True(w.t, eventually(func() bool { return w.resource.last(key) == next.Token }))
	holder.p.resume() // during the other run
	holder.release()
	assert.True(w.t, w.awaitEnd(start).Refused, "the stopped run's write")
	holder.awaitError(leaseLost) // its finish was stale
	called := holder.call()      // it takes part again, and must wait for the other run
	calm()
	heir.release()
	end := w.awaitEnd(next)
	assert.False(w.t, end.Refused)
	assert.Greater(w.t, w.awaitStart(key, called).At, end.At, "the holder's stale finish ended the other lease")
	assert.Empty(w.t, w.record.find(func(e event) bool { return e.Throttler == heir.name && e.Error == leaseLost }),
		"the holder's stale finish ended the other lease")
}

func testReplyLost(w *world) {
	w.repeat(1, func(int) {
		key := w.key()
		line := newProxy(w.t, w.store.Addr())
		wide := func(o *options) { o.Guard, o.Lease = interval, 4*interval } // long enough for a re-send
		caller := w.opened(key, through(line), wide)
		caller.run()
		time.Sleep(3 * interval) // the store grants the next claim at once
		line.swallowReply(key)
		w.awaitStart(key, caller.call())
		_, lost := line.counts()
		require.Equal(w.t, 1, lost, "lost replies")
		calm()
		grants := 0
		for _, g := range w.store.Grants(w.t) {
			if g.Key == key {
				grants++
			}
		}
		if gaveBack := w.record.find(func(e event) bool { return e.Throttler == caller.name && e.Error == late }); len(gaveBack) == 0 {
			assert.Equal(w.t, 2, grants, "grants, including the one before")
		}
		assert.Len(w.t, w.record.runs(key), 2)
	})
}

func testReplyLate(w *world) {
	w.repeat(1, func(int) {
		key := w.key()
		line := newProxy(w.t, w.store.Addr())
		caller := w.opened(key, through(line))
		caller.run()
		time.Sleep(2 * spacing)
		line.setDelay(2 * guard)
		called := caller.call()
		caller.awaitError(late)
		line.setDelay(0)
		w.awaitStart(key, called)
	})
}

func testStoreStopped(w *world) {
	key := w.key()
	lines := []*proxy{newProxy(w.t, w.store.Addr()), newProxy(w.t, w.store.Addr())}
	var finish []func() int64
	for _, line := range lines {
		finish = append(finish, w.opened(key, through(line)).calling(60, 50*time.Millisecond))
	}
	w.awaitStart(key, 0)
	w.store.Signal(w.t, stopSignal())
	time.Sleep(100 * time.Millisecond) // for requests that are under way
	var before []int
	for _, line := range lines {
		requests, _ := line.counts()
		before = append(before, requests)
	}
	time.Sleep(2 * time.Second)
	for i, line := range lines {
		requests, _ := line.counts()
		assert.Less(w.t, requests-before[i], 60, "requests and connections in 2 s")
		w.t.Logf("%d requests and connections in 2 s", requests-before[i])
	}
	w.store.Signal(w.t, resumeSignal())
	for _, f := range finish {
		f()
	}
}

func testStoreKilled(w *world) {
	w.repeat(3, func(turn int) {
		key := w.key()
		behavior := behavior{}
		if turn%2 == 1 {
			behavior.Take = 2 * interval // it cannot reach the store to finish
		}
		first := w.opened(key, behaving(behavior))
		w.awaitStart(key, first.call())
		called := w.opened(key).register()
		time.Sleep(rand.N(interval))
		w.store.Kill(w.t)
		w.kills++
		time.Sleep(rand.N(interval))
		w.store.Start(w.t)
		w.awaitStart(key, called)
	})
}

func testStoreWiped(w *world) {
	w.repeat(1, func(int) {
		key := w.key()
		w.keys[key].extra = 1
		first, second := w.opened(key), w.opened(key)
		first.run()
		called := second.register()
		w.store.Wipe(w.t)
		w.awaitStart(key, called)
		w.awaitStart(key, first.call())
	})
}

func testCutOff(w *world) {
	w.repeat(3, func(int) {
		key := w.key()
		line := newProxy(w.t, w.store.Addr())
		away, stays := w.opened(key, through(line)), w.opened(key)
		w.awaitEnd(w.awaitStart(key, stays.call()))
		cut := now()
		line.setCut(true)
		away.call()
		finish := stays.calling(15, interval/5)
		finish()
		healed := now()
		line.setCut(false)
		assert.Empty(w.t, w.record.find(func(e event) bool {
			return e.Kind == started && e.Throttler == away.name && e.At > cut && e.At < healed
		}), "it ran while it was cut off")
		e := away.tell(command{Do: actDo, Within: patience()})
		assert.Empty(w.t, e.Text)
		w.expect(key, max(e.At, healed)) // the call that it made while it was cut off needs a run after this, too
	})
}

func testOutage(w *world) {
	key := w.key()
	alone := func(o *options) { o.Local = true }
	first, second := w.opened(key, alone), w.opened(key, alone)
	first.run()
	w.store.Kill(w.t)
	finish := []func() int64{first.calling(30, interval/5), second.calling(30, interval/5)}
	for _, r := range []*replica{first, second} {
		w.record.await(w.t, "a second run without a grant at "+r.name, func(e event) bool {
			return e.Kind == started && e.Throttler == r.name && e.Token == 0 && w.isSecondLocal(e)
		})
	}
	w.store.Start(w.t)
	for _, f := range finish {
		f()
	}
	// A replica's runs have no grant until it finds out that the store is back.
	back := now()
	for end := time.Now().Add(patience()); time.Now().Before(end); time.Sleep(interval) {
		first.call()
		if len(w.record.find(func(e event) bool { return e.Kind == started && e.Token != 0 && e.At > back })) > 0 {
			return
		}
	}
	require.FailNow(w.t, "no run has a grant")
}

// isSecondLocal reports whether the replica had a run without a grant before e.
func (w *world) isSecondLocal(e event) bool {
	return len(w.record.find(func(other event) bool {
		return other.Kind == started && other.Throttler == e.Throttler && other.Token == 0 && other.At < e.At
	})) > 0
}
