package litmus_test

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

// A memory passes the value from the caller to the callback.
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

// A subject is what the litmus test tests: a Throttler, or the control.
type subject interface {
	Call()
	CallWithin(d time.Duration)
	Flush(ctx context.Context) error
	Stats() throttle.Stats
}

// A starter makes the run start that the call meets.
type starter struct {
	name     string
	interval time.Duration // the policy's Interval, or Quiet
	before   uint64        // runs of a round that come before the one that the call meets
	byFlush  bool          // the pending run waits for a flush

	// arm makes a run pending that starts once the gate is open.
	arm func(l *litmus, round uint64)
}

func starters() []starter {
	return []starter{
		{name: "end of the previous run", interval: time.Nanosecond, before: 1, arm: armBehindRun},
		{name: "timer", interval: 20 * time.Microsecond, before: 1, arm: func(l *litmus, round uint64) {
			l.gate.Store(round) // so that the previous run ends at once
			armBehindRun(l, round)
		}},
		{name: "flush", interval: time.Hour, byFlush: true, arm: func(l *litmus, round uint64) {
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
	l.await(func() bool { return l.read.Load() >= valueBefore(round) }) // now the run waits in its callback for the gate
	l.subject.Call()
}

// The values of a round: one is stored before the run is armed, the other right before the
// call that meets the start.
func valueBefore(round uint64) uint64 { return 2*round - 1 }
func valueOf(round uint64) uint64     { return 2 * round }

// A litmus tests one subject.
type litmus struct {
	t       *testing.T
	starter starter
	memory  memory
	subject subject
	flusher sync.WaitGroup

	gate  atomic.Uint64    // the last round whose first run may return
	runs  atomic.Uint64    // how many have loaded the value
	reads [4]atomic.Uint64 // what the last runs have loaded, by their number modulo 4
	read  atomic.Uint64    // the last of those

	delay    int // before the call of a round, in iterations of a loop
	outcomes outcomes
}

func newLitmus(t *testing.T, starter starter, memory memory) *litmus {
	t.Helper()
	return &litmus{t: t, starter: starter, memory: memory, delay: leastDelay}
}

// outcomes counts the rounds by how they ended.
type outcomes struct {
	coalesced int // the call coalesced, and the run loaded its value
	met       int // the call made a run of its own, though the run that started had loaded its value
	own       int // the call made a run of its own
	lost      int // the call coalesced, but the run loaded the older value
}

func (o *outcomes) add(other outcomes) {
	o.coalesced += other.coalesced
	o.met += other.met
	o.own += other.own
	o.lost += other.lost
}

// run is the subject's callback, with the value that it loaded.
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
			l.t.Error("waited 10 s for nothing")
			return
		}
	}
}

func (l *litmus) flush() {
	if err := l.subject.Flush(context.Background()); err != nil {
		l.t.Errorf("Flush: %v", err)
	}
}

// rest waits until nothing is pending and nothing runs. It asks seldom, because a caller that
// takes the lock all the time keeps the runs from taking it.
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

// play plays rounds until enough reports true. It asks every 64 rounds.
func (l *litmus) play(enough func() bool) {
	l.subject.Call()
	l.rest() // a call at the leading edge starts its run by itself
	for round := uint64(1); ; round++ {
		l.round(round)
		if round%64 == 0 && (enough() || l.t.Failed()) {
			return
		}
	}
}

// spin passes some nanoseconds without doing anything.
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
		// Where other programs compete for the cores, two goroutines seldom run at the
		// same time. They may meet only in this way.
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

// leastDelay is large enough to vary.
const leastDelay = 32

// aim moves the next round's call closer to the edge: later if this round's call came before
// the start, else earlier. Its steps to earlier are larger than those to later, because a
// start that waits for a core says nothing about where the edge is.
func (l *litmus) aim(coalesced bool) {
	if coalesced {
		l.delay += l.delay / 32
	} else {
		l.delay = max(leastDelay, l.delay*3/4)
	}
}
