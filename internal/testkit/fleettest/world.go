//go:build linux

package fleettest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// This file holds what every scenario works with.

// What replicas are made with, if a scenario does not say otherwise. Nothing depends on
// how fast the machine is: if a reply takes longer than the guard, a run comes later.
const (
	interval = 300 * time.Millisecond
	guard    = 60 * time.Millisecond
	spacing  = interval + guard
	lease    = time.Second
)

// A world is what one scenario works with.
type world struct {
	t        *testing.T
	store    Store
	record   *record
	resource *resource

	processes []*process
	replicas  []*replica
	keys      map[string]*expectation
	kills     int
}

// An expectation is what is expected of a key.
type expectation struct {
	called   int64         // when the last call was made that must not be lost
	interval time.Duration // that of the policy
	extra    int           // how many runs may start sooner than that after another
	most     int           // how many runs there may be; 0 for any number
	// A grant is not judged by the store's clock, which was moved.
	moved bool
}

func newWorld(t *testing.T, store Store) *world {
	t.Helper()
	return &world{
		t:        t,
		store:    store,
		record:   newRecord(),
		resource: newResource(t),
		keys:     make(map[string]*expectation),
	}
}

// repeatVariable names the environment variable that says how often scenarios are
// repeated in which processes or the store are killed, at a random time.
const repeatVariable = "FLEET_REPEAT"

// repeat does what a scenario says again and again, each time with processes of its own.
func (w *world) repeat(times int, do func(turn int)) {
	w.t.Helper()
	if text := os.Getenv(repeatVariable); text != "" {
		n, err := strconv.Atoi(text)
		require.NoError(w.t, err, repeatVariable)
		times = n
	}
	for turn := range times {
		do(turn)
		w.end()
	}
}

// end waits until no call is left without a run, I4, ends all processes and requires that
// nothing is left of them, I6.
func (w *world) end() {
	w.t.Helper()
	w.settle()
	for _, p := range w.processes {
		if !p.isOver() {
			p.quit()
		}
	}
}

// process starts a process.
func (w *world) process() *process {
	w.t.Helper()
	return w.processAhead(0)
}

// processAhead starts a process whose clock is ahead.
func (w *world) processAhead(d time.Duration) *process {
	w.t.Helper()
	p := &process{
		t:       w.t,
		name:    fmt.Sprintf("process %d", len(w.processes)+1),
		record:  w.record,
		ahead:   d,
		ended:   make(chan struct{}),
		answers: make(map[int]chan event),
	}
	p.start()
	w.processes = append(w.processes, p)
	return p
}

// key returns a new key.
func (w *world) key() string {
	key := fmt.Sprintf("key-%016x", rand.Uint64())
	w.keys[key] = &expectation{interval: interval}
	return key
}

// A replica is a throttler in a process.
type replica struct {
	w    *world
	p    *process
	name string
	key  string
}

// open makes a replica of key in p.
func (w *world) open(p *process, key string, change ...func(*options)) *replica {
	w.t.Helper()
	r, answer := w.opening(p, key, change...)
	require.Empty(w.t, p.await(answer).Text)
	return r
}

// opening is open that does not wait until it is done.
func (w *world) opening(p *process, key string, change ...func(*options)) (r *replica, answer <-chan event) {
	w.t.Helper()
	r = &replica{w, p, fmt.Sprintf("replica %d", len(w.replicas)+1), key}
	w.replicas = append(w.replicas, r)
	o := options{Address: w.store.Addr(), Key: key, Interval: w.keys[key].interval, Guard: guard, Lease: lease}
	for _, f := range change {
		f(&o)
	}
	return r, p.send(command{Do: actOpen, Throttler: r.name, Options: &o})
}

// opened makes a process with one replica.
func (w *world) opened(key string, change ...func(*options)) *replica {
	w.t.Helper()
	return w.open(w.process(), key, change...)
}

// through makes replicas reach the store through a proxy.
func through(p *proxy) func(*options) { return func(o *options) { o.Address = p.addr() } }

// behaving makes callbacks do as said.
func behaving(b behavior) func(*options) { return func(o *options) { o.Behavior = b } }

// briefly makes leases short.
func briefly(o *options) { o.Lease = lease / 2 }

func (r *replica) tell(c command) event {
	r.w.t.Helper()
	c.Throttler = r.name
	e := r.p.tell(c)
	return e
}

// send is tell that does not wait.
func (r *replica) send(c command) <-chan event {
	r.w.t.Helper()
	c.Throttler = r.name
	return r.p.send(c)
}

// call calls, and returns when. The call must not be lost.
func (r *replica) call() int64 {
	r.w.t.Helper()
	e := r.tell(command{Do: actCall, Times: 1})
	require.Empty(r.w.t, e.Text)
	r.w.expect(r.key, e.At)
	return e.At
}

// calling calls, times, with pace between; finish waits for the last of them, which must
// not be lost.
func (r *replica) calling(times int, pace time.Duration) (finish func() (at int64)) {
	r.w.t.Helper()
	answer := r.send(command{Do: actCall, Times: times, Pace: pace})
	return func() int64 {
		r.w.t.Helper()
		e := r.p.await(answer)
		require.Empty(r.w.t, e.Text)
		r.w.expect(r.key, e.At)
		return e.At
	}
}

// register calls, and returns once the store knows of that.
func (r *replica) register() (at int64) {
	r.w.t.Helper()
	e := r.tell(command{Do: actRegister})
	require.Empty(r.w.t, e.Text)
	r.w.expect(r.key, e.At)
	return e.At
}

// expect says that a call was made that must not be lost.
func (w *world) expect(key string, called int64) {
	w.keys[key].called = max(w.keys[key].called, called)
}

// awaitStart returns the first run of key that starts after an instant.
func (w *world) awaitStart(key string, after int64) event {
	w.t.Helper()
	return w.record.await(w.t, fmt.Sprintf("a run of %s after %d", key, after), func(e event) bool {
		return e.Kind == started && e.Key == key && e.At > after
	})
}

// awaitEnd waits until the run has ended that start tells of.
func (w *world) awaitEnd(start event) event {
	w.t.Helper()
	return w.record.await(w.t, fmt.Sprintf("the end of run %d", start.Token), func(e event) bool {
		return e.Kind == ended && e.Process == start.Process && e.Throttler == start.Throttler &&
			e.Token == start.Token && e.At >= start.At
	})
}

// awaitError waits until the replica's error handler is called with such an error.
func (r *replica) awaitError(kind errorKind) {
	r.w.t.Helper()
	r.w.record.await(r.w.t, fmt.Sprintf("error %q at %s", kind, r.name), func(e event) bool {
		return e.Kind == reported && e.Throttler == r.name && e.Error == kind
	})
}

// run makes the replica's first call, and waits until its run has ended. The window after
// it is then open.
func (r *replica) run() (start event) {
	r.w.t.Helper()
	start = r.w.awaitStart(r.key, r.call())
	r.w.awaitEnd(start)
	return start
}

// kill kills a process.
func (w *world) kill(p *process) {
	w.kills++
	p.kill()
}

// settle waits until no call is left without a run that started after it.
func (w *world) settle() {
	w.t.Helper()
	for key, expected := range w.keys {
		if expected.called > 0 {
			w.awaitStart(key, expected.called)
		}
	}
}

// awaitIdle waits until no replica has a call that is not known to be covered, or a run.
func (w *world) awaitIdle() {
	w.t.Helper()
	for _, r := range w.replicas {
		require.True(w.t, eventually(func() bool {
			s := r.tell(command{Do: actStats}).Stats
			return !s.Pending && !s.Running
		}), "%s has calls", r.name)
	}
}

// calm waits until runs that should not be would have come.
func calm() { time.Sleep(2 * spacing) }

// told returns the events, one a line.
func told(events []event) string {
	var text strings.Builder
	for _, e := range events {
		if e.Kind == answered && e.Text == "" {
			continue
		}
		fmt.Fprintf(&text, "%d %s: %s: %s of %s, token %d", e.At, e.Process, e.Throttler, e.Kind, e.Key, e.Token)
		if e.Text != "" || e.Error != none {
			fmt.Fprintf(&text, ", %s %s", e.Error, e.Text)
		}
		text.WriteByte('\n')
	}
	return text.String()
}
