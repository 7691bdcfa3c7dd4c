package throttle

import "time"

// This file opens to tests what cannot be seen from outside: the pure arithmetic of
// due.go, the room of a heap, stale timers, and who takes the lock. That of groups
// is in group_export_test.go.

// A Step changes a history under a policy.
type Step func(h *history, p Policy)

// Called is a call at the given time, while no run is active.
func Called(at time.Duration) Step { return CalledWithin(at, noLimit) }

// CalledWithin is a call at the given time that must not wait longer than within.
func CalledWithin(at, within time.Duration) Step {
	return func(h *history, p Policy) { h.call(&p, instant(at), within, false) }
}

// CalledDuringRun is a call at the given time, while a run is active.
func CalledDuringRun(at time.Duration) Step {
	return func(h *history, p Policy) { h.call(&p, instant(at), noLimit, true) }
}

// Started is a run's start at the given time.
func Started(at time.Duration) Step {
	return func(h *history, p Policy) {
		h.drop()
		h.enter(&p, instant(at))
	}
}

// Succeeded is a run's end at the given time.
func Succeeded(at time.Duration) Step {
	return func(h *history, p Policy) { h.finish(&p, instant(at), verdict{}, false, 0) }
}

// Failed is a run's end at the given time; random draws the jitter.
func Failed(at time.Duration, random float64) Step {
	return func(h *history, p Policy) { h.finish(&p, instant(at), verdict{failed: true}, false, random) }
}

// Flushed makes what is pending due at the given time.
func Flushed(at time.Duration) Step {
	return func(h *history, _ Policy) { h.flushNow(instant(at)) }
}

// Never is the time of what is not due, and Always that of what was over before
// anything happened.
const (
	Never  = time.Duration(never)
	Always = time.Duration(beginning)
)

// Due returns when the next run is due after the steps, and why.
func Due(p Policy, steps ...Step) (time.Duration, Cause) {
	at, cause := after(p, steps).due(&p)
	return time.Duration(at), cause
}

// Rests returns since when the steps decide nothing any more.
func Rests(p Policy, steps ...Step) time.Duration {
	return time.Duration(after(p, steps).forgettable(&p))
}

func after(p Policy, steps []Step) *history {
	h := newHistory(0)
	for _, step := range steps {
		step(&h, p)
	}
	return &h
}

// HeapRoom returns for how many elements there is room in a heap to which some were
// added and from which some were removed again.
func HeapRoom(added, removed int) int {
	var h heapOf[*place]
	for range added {
		h.add(new(place))
	}
	for range removed {
		h.remove(0)
	}
	return cap(h)
}

// Locked calls do with the lock held.
func (t *Throttler) Locked(do func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	do()
}

// Wake does what a timer does that fires now, be it due, stale, or stopped too
// late.
func (t *Throttler) Wake() { t.wake() }
