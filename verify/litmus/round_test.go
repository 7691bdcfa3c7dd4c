package litmus_test

// This file holds a round of the litmus test: how one call is made to meet one start.

import (
	"context"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/throttle-go/throttle"
)

// A memory is where the value is handed over.
type memory interface {
	store(value uint64)
	load() uint64
}

type atomicMemory struct{ value atomic.Uint64 }

func (m *atomicMemory) store(value uint64) { m.value.Store(value) }
func (m *atomicMemory) load() uint64       { return m.value.Load() }

type lockedMemory struct {
	mu sync.Mutex // guards the fields below

	// +checklocks:mu
	value uint64
}

func (m *lockedMemory) store(value uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.value = value
}

func (m *lockedMemory) load() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.value
}

func memories() map[string]memory {
	return map[string]memory{"atomic": &atomicMemory{}, "locked": &lockedMemory{}}
}

// A subject is what the litmus test is made with: a Throttler, or the control.
type subject interface {
	Call()
	CallWithin(d time.Duration)
	Flush(ctx context.Context) error
	Stats() throttle.Stats
}

// A starter is what makes the run start that the call meets.
type starter struct {
	name     string
	interval time.Duration // the policy's Interval, or Quiet
	before   uint64        // runs of a round that come before the one that is met
	byFlush  bool          // what is pending waits for a flush

	// arm makes a run pending, which will start once the gate is open.
	arm func(l *litmus, round uint64)
}

func starters() []starter {
	return []starter{
		{name: "the end of the run before", interval: time.Nanosecond, before: 1, arm: armBehindRun},
		{name: "the timer", interval: 20 * time.Microsecond, before: 1, arm: func(l *litmus, round uint64) {
			l.gate.Store(round) // for the run before, that it ends at once
			armBehindRun(l, round)
		}},
		{name: "a flush", interval: time.Hour, byFlush: true, arm: func(l *litmus, round uint64) {
			l.subject.Call()
			l.flusher.Go(func() {
				l.await(func() bool { return l.gate.Load() >= round })
				l.flush()
			})
		}},
	}
}

// armBehindRun starts a run, and makes another pending.
func armBehindRun(l *litmus, round uint64) {
	l.subject.CallWithin(0)
	l.await(func() bool { return l.read.Load() >= valueBefore(round) }) // and the run waits in the callback for the gate
	l.subject.Call()
}

// The values of a round: what is stored before the run is armed, and what is stored
// right before the call that meets its start.
func valueBefore(round uint64) uint64 { return 2*round - 1 }
func valueOf(round uint64) uint64     { return 2 * round }

// A litmus is one subject under test.
type litmus struct {
	t       *testing.T
	starter starter
	memory  memory
	subject subject
	flusher sync.WaitGroup

	gate  atomic.Uint64    // the last round whose first run may return
	runs  atomic.Uint64    // that have loaded the value
	reads [4]atomic.Uint64 // what the last runs have loaded, by number
	read  atomic.Uint64    // the last of that

	delay    int // before the call of a round, in turns of a loop
	outcomes outcomes
}

func newLitmus(t *testing.T, starter starter, memory memory) *litmus {
	t.Helper()
	return &litmus{t: t, starter: starter, memory: memory, delay: leastDelay}
}

// outcomes are how many rounds ended how.
type outcomes struct {
	coalesced int // the call coalesced, and the run has loaded its value
	met       int // the call made a run of its own, though the run that started has loaded its value
	own       int // the call made a run of its own
	lost      int // the call coalesced, but the run has loaded the value before
}

func (o *outcomes) add(other outcomes) {
	o.coalesced += other.coalesced
	o.met += other.met
	o.own += other.own
	o.lost += other.lost
}

// run is what a subject's callback does with the value that it has loaded.
func (l *litmus) run(value uint64) {
	number := l.runs.Load() + 1
	l.reads[number%uint64(len(l.reads))].Store(value)
	l.read.Store(value)
	l.runs.Store(number)
	l.await(func() bool { return valueOf(l.gate.Load()) >= value })
}

// await waits, without sleeping, until done reports true.
func (l *litmus) await(done func() bool) {
	deadline := time.Now().Add(10 * time.Second)
	for turns := 1; !done(); turns++ {
		if turns%64 == 0 {
			runtime.Gosched()
		}
		if turns%4096 == 0 && time.Now().After(deadline) {
			l.t.Error("waited in vain")
			return
		}
	}
}

func (l *litmus) flush() {
	if err := l.subject.Flush(context.Background()); err != nil {
		l.t.Errorf("Flush: %v", err)
	}
}

// rest waits until nothing is pending and nothing runs. It asks seldom: who takes
// the lock without end keeps the runs from taking it.
func (l *litmus) rest() {
	l.flusher.Wait()
	if l.starter.byFlush {
		l.flush()
	}
	l.await(func() bool {
		spin(1000)
		stats := l.subject.Stats()
		return !stats.Pending && !stats.Running
	})
}

// play plays rounds until enough, which it asks now and then, reports true.
func (l *litmus) play(enough func() bool) {
	l.subject.Call()
	l.rest() // a call at the leading edge needs nobody to start its run
	for round := uint64(1); ; round++ {
		l.round(round)
		if round%64 == 0 && (enough() || l.t.Failed()) {
			return
		}
	}
}

// spin goes some nanoseconds without doing anything.
func spin(turns int) {
	for range turns {
	}
}

// round makes one call meet one start.
func (l *litmus) round(round uint64) {
	before := l.runs.Load() + l.starter.before
	l.memory.store(valueBefore(round))
	l.starter.arm(l, round)

	l.gate.Store(round)
	yields := round%8 == 0
	if yields {
		// Where others compete for the cores, two goroutines seldom run at once,
		// and may only meet so.
		for range rand.IntN(4) {
			runtime.Gosched()
		}
	} else {
		spin(l.delay*3/4 + rand.IntN(l.delay/2))
	}
	l.memory.store(valueOf(round))
	l.subject.Call()

	l.rest()
	coalesced := l.runs.Load() == before+1
	started := l.reads[(before+1)%uint64(len(l.reads))].Load() == valueOf(round)
	switch {
	case l.read.Load() != valueOf(round):
		l.outcomes.lost++
	case coalesced:
		l.outcomes.coalesced++
	case started:
		l.outcomes.met++
	default:
		l.outcomes.own++
	}
	if !yields {
		l.aim(coalesced)
	}
}

// leastDelay leaves room to vary it.
const leastDelay = 32

// aim brings the next round's call closer to the edge: later if this one's came
// before the start, else earlier. It goes back faster than forth, since a start that
// waits for a core says nothing about where the edge is.
func (l *litmus) aim(coalesced bool) {
	if coalesced {
		l.delay += l.delay / 32
	} else {
		l.delay = max(leastDelay, l.delay*3/4)
	}
}
