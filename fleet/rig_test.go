package fleet_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
)

const key = "index"

// A link is an engine as one process sees it: it has its own Base, and a connection to a
// shared store on which messages can be lost or late.
type link struct {
	fleet.Base

	store *fleet.Memory

	claims, finishes, renewals atomic.Int64

	mu   sync.Mutex                 // guards the fields below
	sent map[string][]time.Duration // when claims were sent, by their identifiers
	// Called before and after an operation. An error that they return is the operation's.
	before, after func(ctx context.Context, op string) error
}

var errCut = fleet.Unreachable(errors.New("link is cut"))

// on replaces what is called before and after operations.
func (l *link) on(before, after func(ctx context.Context, op string) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.before, l.after = before, after
}

// cut loses all messages from now on.
func (l *link) cut() {
	l.on(func(context.Context, string) error { return errCut }, nil)
}

func (l *link) heal() { l.on(nil, nil) }

func (l *link) pass(ctx context.Context, op string, do func() error) error {
	l.mu.Lock()
	before, after := l.before, l.after
	l.mu.Unlock()
	if before != nil {
		if err := before(ctx, op); err != nil {
			return err
		}
	}
	if err := do(); err != nil {
		return err
	}
	if after != nil {
		return after(ctx, op)
	}
	return nil
}

func (l *link) Claim(ctx context.Context, key string, c machine.Claim) (r machine.Reply, err error) {
	l.claims.Add(1)
	l.mu.Lock()
	l.sent[c.ID] = append(l.sent[c.ID], time.Duration(time.Now().UnixNano()))
	l.mu.Unlock()
	err = l.pass(ctx, "claim", func() (err error) {
		r, err = l.store.Claim(ctx, key, c)
		return err
	})
	return r, err
}

func (l *link) Finish(ctx context.Context, key string, f machine.Finish) (r machine.Finished, err error) {
	l.finishes.Add(1)
	err = l.pass(ctx, "finish", func() (err error) {
		r, err = l.store.Finish(ctx, key, f)
		return err
	})
	return r, err
}

func (l *link) Renew(ctx context.Context, key string, token int64) (held bool, err error) {
	l.renewals.Add(1)
	err = l.pass(ctx, "renew", func() (err error) {
		held, err = l.store.Renew(ctx, key, token)
		return err
	})
	return held, err
}

func (l *link) Due(ctx context.Context, held []string) (d machine.Due, err error) {
	err = l.pass(ctx, "due", func() (err error) {
		d, err = l.store.Due(ctx, held)
		return err
	})
	return d, err
}

func (l *link) Inspect(ctx context.Context, key string) (machine.State, error) {
	return l.store.Inspect(ctx, key)
}

func (l *link) Forget(ctx context.Context, key string) error { return l.store.Forget(ctx, key) }
func (l *link) Part(key string) int                          { return l.store.Part(key) }

func (l *link) Listen(ctx context.Context, wake func(machine.Wake)) error {
	err := l.store.Listen(ctx, func(w machine.Wake) {
		_ = l.pass(ctx, "listen", func() error { wake(w); return nil })
	})
	_ = l.pass(ctx, "unlisten", func() error { return nil })
	return err
}

// A start is an entry of the callback.
type start struct {
	member int
	at     time.Duration // since the rig was built
	token  int64
}

// A rig is a fleet in a bubble of fake time, on an engine in memory.
type rig struct {
	*testing.T

	store *fleet.Memory
	begin time.Time
	all   []member
	teams []team

	mu       sync.Mutex
	starts   []start
	active   int
	reported []error
}

// A member is a replica.
type member struct {
	*fleet.Throttler

	link *link
}

// inFleet runs f in a bubble of fake time, and then closes the members. It fails if a
// goroutine is left, because the bubble does not end then.
func inFleet(t *testing.T, f func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{T: t, store: fleet.NewMemory(), begin: time.Now()}
		f(r)
		for _, m := range r.all {
			require.NoError(t, m.Close())
		}
		for _, m := range r.teams {
			require.NoError(t, m.Close())
		}
		r.sleep(time.Minute) // messages that are out end
	})
}

// newLink returns a link to the store.
func (r *rig) newLink() *link { return &link{store: r.store, sent: map[string][]time.Duration{}} }

// state returns the stored state of the key.
func (r *rig) state() machine.State {
	r.Helper()
	state, err := r.store.Inspect(r.Context(), key)
	require.NoError(r, err)
	return state
}

func (r *rig) now() time.Duration { return time.Since(r.begin) }

// sleep lets time pass, and waits until everything that is due by then is done.
func (r *rig) sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// members adds n replicas with callback fn, each on a link of its own.
func (r *rig) members(n int, p throttle.Policy, fn func(context.Context) error, opts ...fleet.Option) []member {
	r.Helper()
	var all []member
	for i := range n {
		l := r.newLink()
		opts := append([]fleet.Option{fleet.WithErrorHandler(r.record)}, opts...)
		th, err := fleet.New(l, key, p, r.watched(i, fn), opts...)
		require.NoError(r, err)
		all = append(all, member{th, l})
	}
	r.all = append(r.all, all...)
	return all
}

// member adds one replica.
func (r *rig) member(p throttle.Policy, fn func(context.Context) error, opts ...fleet.Option) member {
	r.Helper()
	return r.members(1, p, fn, opts...)[0]
}

// watched returns a callback that records its start and calls fn, which may be nil. It fails
// the test if runs overlap.
func (r *rig) watched(member int, fn func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		token, _ := fleet.Token(ctx)
		r.mu.Lock()
		r.starts = append(r.starts, start{member, r.now(), token})
		r.active++
		overlap := r.active > 1
		r.mu.Unlock()
		if overlap && r.stillActive() > 1 {
			r.Error("runs overlap")
		}
		defer func() {
			r.mu.Lock()
			r.active--
			r.mu.Unlock()
		}()
		if fn == nil {
			return nil
		}
		return fn(ctx)
	}
}

// stillActive returns how many runs are active a moment later. One whose lease has ended at
// this very instant has been told, but may not have returned yet.
func (r *rig) stillActive() int {
	time.Sleep(time.Nanosecond)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.active
}

// record is the members' error handler.
func (r *rig) record(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reported = append(r.reported, err)
}

// errors returns the errors that the handlers received since its last call.
func (r *rig) errors() []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	reported := r.reported
	r.reported = nil
	return reported
}

// runs returns the starts of all runs.
func (r *rig) runs() []start {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]start(nil), r.starts...)
}

// times returns when the runs started.
func (r *rig) times() []time.Duration {
	var all []time.Duration
	for _, s := range r.runs() {
		all = append(all, s.at)
	}
	return all
}

// closeAll closes members before the end of the test.
func closeAll(members []member) {
	for _, m := range members {
		_ = m.Close()
	}
}

// endedContext returns a context that has ended.
func endedContext() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// shortLease returns options for a guard of 100 ms and a lease of 3 s.
func shortLease() []fleet.Option {
	return []fleet.Option{fleet.WithGuard(100 * time.Millisecond), fleet.WithLease(3 * time.Second)}
}
