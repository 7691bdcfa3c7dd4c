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

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The settings of replicas, unless a scenario changes them. A slow machine changes no result:
// if a reply takes longer than the guard, the run only comes later.
const (
	interval = 300 * time.Millisecond
	guard    = 60 * time.Millisecond
	spacing  = interval + guard
	lease    = time.Second
)

// A world holds the store, the processes and the expectations of one scenario.
type world struct {
	t        *testing.T
	store    Store
	record   *record
	resource *resource

	processes []*process
	replicas  []*replica
	herds     []*herd
	keys      map[string]*expectation
	kills     int
	paused    int // how many runs of crowds may start early, because a process was paused
}

// An expectation says what must hold for a key.
type expectation struct {
	called   int64         // when the last call was made that must not be lost
	interval time.Duration // of the policy
	extra    int           // how many runs may start too early, or during another one's lease
	most     int           // how many runs there may be; 0 for any number
	moved    bool          // the store's clock was moved, so it cannot tell how far grants are apart
}

func newWorld(t *testing.T, store Store) *world {
	t.Helper()
	w := &world{
		t:        t,
		store:    store,
		record:   newRecord(),
		resource: newResource(t),
		keys:     make(map[string]*expectation),
	}
	t.Cleanup(w.explain) // once all processes are over
	return w
}

// repeatVariable names the environment variable that says how often to repeat the scenarios
// that kill a process or the store at a random instant.
const repeatVariable = "FLEET_REPEAT"

// repeat calls do a number of times, once under -short, each time with new processes.
func (w *world) repeat(times int, do func(turn int)) {
	w.t.Helper()
	if text := os.Getenv(repeatVariable); text != "" {
		n, err := strconv.Atoi(text)
		require.NoError(w.t, err, repeatVariable)
		times = n
	} else if testing.Short() {
		times = 1
	}
	for turn := range times {
		do(turn)
		w.end()
	}
}

// untilLongEnough calls try with longer and longer intervals, until try reports true. A false means
// that the runs came before the test could kill their caller: this machine is too slow for the interval.
func (w *world) untilLongEnough(interval time.Duration, try func(interval time.Duration) bool) {
	w.t.Helper()
	for ; !try(interval); interval *= 2 {
		w.t.Logf("the calls ran before their caller was killed: an interval of %v is too short for this machine", interval)
		require.Less(w.t, interval, patience())
	}
}

// end waits until every call has had its run (I4), ends all processes, and requires that they
// leave no goroutine (I6).
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

// processAhead starts a process whose clock is d ahead.
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

// open creates a replica of key in p.
func (w *world) open(p *process, key string, change ...func(*options)) *replica {
	w.t.Helper()
	r, answer := w.opening(p, key, change...)
	require.Empty(w.t, p.await(answer).Text)
	return r
}

// opening is like open, but does not wait until the replica is ready.
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

// opened starts a process with one replica.
func (w *world) opened(key string, change ...func(*options)) *replica {
	w.t.Helper()
	return w.open(w.process(), key, change...)
}

// through puts a proxy between a replica and the store.
func through(p *proxy) func(*options) { return func(o *options) { o.Address = p.addr() } }

// behaving sets what the callback does.
func behaving(b behavior) func(*options) { return func(o *options) { o.Behavior = b } }

// briefly makes the lease short, so that it soon ends if nobody prolongs it.
func briefly(o *options) { o.Lease = lease / 2 }

// lasting makes the lease so long that it does not end even if the machine is busy.
func lasting(o *options) { o.Lease = patience() }

// tell sends a command and returns the answer.
func (r *replica) tell(c command) event {
	r.w.t.Helper()
	return r.p.await(r.send(c))
}

// send sends a command and returns the channel that will hold the answer.
func (r *replica) send(c command) <-chan event {
	r.w.t.Helper()
	c.Throttler = r.name
	return r.p.send(c)
}

// call makes a call that must not be lost, and returns its instant.
func (r *replica) call() int64 {
	r.w.t.Helper()
	e := r.tell(command{Do: actCall, Times: 1})
	require.Empty(r.w.t, e.Text)
	r.w.expect(r.key, e.At)
	return e.At
}

// calling starts to make a number of calls, with a pause between them. finish waits for the
// last one, which must not be lost, and returns its instant.
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

// register makes a call that must not be lost, waits until the store knows about it, and
// returns the call's instant.
func (r *replica) register() (at int64) {
	r.w.t.Helper()
	e := r.tell(command{Do: actRegister})
	require.Empty(r.w.t, e.Text)
	r.w.expect(r.key, e.At)
	return e.At
}

// expect records a call that must not be lost.
func (w *world) expect(key string, called int64) {
	w.keys[key].called = max(w.keys[key].called, called)
}

// awaitStart waits for a run of key that starts after an instant, and returns the first one.
func (w *world) awaitStart(key string, after int64) event {
	w.t.Helper()
	return w.record.await(w.t, fmt.Sprintf("a run of %s after %d", key, after), func(e event) bool {
		return e.Kind == started && e.Key == key && e.At > after
	})
}

// awaitEnd waits for the end of the run that began with start.
func (w *world) awaitEnd(start event) event {
	w.t.Helper()
	return w.record.await(w.t, fmt.Sprintf("the end of run %d", start.Token), func(e event) bool {
		return e.Kind == ended && e.Process == start.Process && e.Throttler == start.Throttler &&
			e.Token == start.Token && e.At >= start.At
	})
}

// awaitError waits until the replica's error handler gets an error of that kind.
func (r *replica) awaitError(kind errorKind) {
	r.w.t.Helper()
	r.w.record.await(r.w.t, fmt.Sprintf("error %q at %s", kind, r.name), func(e event) bool {
		return e.Kind == reported && e.Throttler == r.name && e.Error == kind
	})
}

// awaitStart waits for a run of the replica that starts after an instant.
func (r *replica) awaitStart(after int64) event {
	r.w.t.Helper()
	return r.w.record.await(r.w.t, fmt.Sprintf("a run of %s after %d", r.name, after), func(e event) bool {
		return e.Kind == started && e.Throttler == r.name && e.At > after
	})
}

// needed returns how many runs of key its calls can need: one, and one more for each grant
// that the store may have made before it heard about the last call.
func (w *world) needed(key string) int {
	heard := w.keys[key].called
	for _, e := range w.record.find(func(e event) bool { return e.Kind == claimed && e.Key == key }) {
		heard = max(heard, e.Call)
	}
	needed := 1
	for _, r := range w.record.runs(key) {
		if r.claim.Sent < heard {
			needed++
		}
	}
	return needed
}

// requireNoNeedless requires that key has had no more runs than its calls need.
func (w *world) requireNoNeedless(key string) {
	w.t.Helper()
	needed := w.needed(key)
	assert.LessOrEqual(w.t, len(w.record.runs(key)), needed, "runs of %s", key)
	w.keys[key].most = needed
}

// release ends a callback that holds, and lets the next ones return at once.
func (r *replica) release() {
	r.w.t.Helper()
	require.Empty(r.w.t, r.tell(command{Do: actBehave, Behavior: &behavior{}}).Text)
}

// run makes the replica's first call, and waits until its run has ended. The window of that
// run has then begun.
func (r *replica) run() {
	r.w.t.Helper()
	r.w.awaitEnd(r.w.awaitStart(r.key, r.call()))
}

// kill kills a process.
func (w *world) kill(p *process) {
	w.kills++
	p.kill()
}

// settle waits until a run has started after every call that must not be lost.
func (w *world) settle() {
	w.t.Helper()
	for key, expected := range w.keys {
		if expected.called > 0 {
			w.awaitStart(key, expected.called)
		}
	}
}

// awaitIdle waits until every replica knows that its calls are covered, and has no run.
func (w *world) awaitIdle() {
	w.t.Helper()
	for _, r := range w.replicas {
		require.True(w.t, eventually(func() bool {
			s := r.tell(command{Do: actStats}).Stats
			return !s.Pending && !s.Running
		}), "%s is not idle", r.name)
	}
}

// calm waits long enough for a run to show that should not come.
func calm() { time.Sleep(2 * spacing) }

// list formats events, one per line.
func list(events []event) string {
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
