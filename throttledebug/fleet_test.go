package throttledebug_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
	"github.com/throttle-go/throttle/throttledebug"
)

// newReplica returns a throttler of a fleet that is closed at the end of the test. It
// discards the errors of its runs.
func newReplica(t *testing.T, engine fleet.Engine, p throttle.Policy, fn func(context.Context) error, options ...fleet.Option) *fleet.Throttler {
	t.Helper()
	replica, err := fleet.New(engine, "search-index", p, fn, append(options, fleet.WithErrorHandler(func(error) {}))...)
	require.NoError(t, err)
	t.Cleanup(func() { replica.Close() })
	return replica
}

// A fakeEngine is an engine with a given Health.
type fakeEngine fleet.Health

func (f *fakeEngine) Health() fleet.Health { return fleet.Health(*f) }

func TestFleet_Life(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var recorder throttledebug.Recorder
		engine := fleet.NewMemory()
		fn := func(context.Context) error {
			time.Sleep(100 * ms)
			return errFailed
		}
		first := newReplica(t, engine, throttle.Every(time.Hour), fn, fleet.WithName("index"), fleet.WithObserver(recorder.Observe))
		second := newReplica(t, engine, throttle.Every(time.Hour), fn)
		show := []throttledebug.Option{throttledebug.Fleet(first), throttledebug.Fleet(second), throttledebug.Runs(&recorder)}
		now := func() [2]throttledebug.Throttle {
			t.Helper()
			synctest.Wait()
			page := look(t, "", show...)
			require.Len(t, page.Throttles, 2)
			return [2]throttledebug.Throttle(page.Throttles)
		}

		want := throttledebug.Throttle{
			Kind: "fleet throttler", Name: "index", Policy: "at most once per 1h0m0s",
			Status: throttledebug.Status{State: throttledebug.Idle}, Counts: &throttledebug.Counts{},
		}
		assert.Equal(t, want, now()[0])

		first.Call()
		began := time.Now().UTC()
		want.Status = throttledebug.Status{State: throttledebug.Running, LastStart: began}
		want.Runs, want.Calls, want.Counts.Granted = 1, 1, 1
		assert.Equal(t, want, now()[0])

		time.Sleep(time.Second)
		got := now()[0]
		assert.Equal(t, throttledebug.Idle, got.State)
		assert.EqualValues(t, 1, got.Failures)
		assert.Equal(t, "failed", got.Failure.Message)
		assert.Len(t, got.Recent, 1)

		second.Call()
		got = now()[1]
		assert.Equal(t, "search-index", got.Name)
		assert.Equal(t, throttledebug.Waiting, got.State)
		assert.Equal(t, &throttledebug.Counts{Deferred: 1}, got.Counts)
		assert.WithinDuration(t, began.Add(time.Hour), got.Next, time.Minute, "when it asks the store")
		page := html(t, show...)
		assert.Contains(t, page, `<section id="part-1" class="waiting" data-kind="fleet throttler">`)
		assert.Contains(t, page, `<dd data-field="claims">granted: 0, deferred: 1, served: 0</dd>`)
		assert.Contains(t, page, `<span data-field="next">asks the store <time `)
		for _, text := range []string{"failed messages", "late grants", "local runs", "lost leases"} {
			assert.Equal(t, 2, strings.Count(page, `<div hidden><dt>`+text+`</dt>`), text)
		}

		require.NoError(t, second.Close())
		assert.Equal(t, throttledebug.Closed, now()[1].State)
	})
}

// While the store cannot be reached, a replica may run on its own.
func TestFleet_Unreachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := &faulty{Memory: fleet.NewMemory(), err: fleet.Unreachable(errors.New("cable cut"))}
		replica := newReplica(t, engine, throttle.Every(time.Hour), func(context.Context) error { return nil }, fleet.RunLocal())
		show := []throttledebug.Option{throttledebug.Fleet(replica), throttledebug.Engine("redis", engine)}
		require.NoError(t, replica.Do(t.Context()))
		page := look(t, "", show...)
		assert.EqualValues(t, 1, page.Throttles[0].Counts.LocalRuns)
		assert.EqualValues(t, 2, page.Throttles[0].Counts.Failed, "the first could be chance")
		require.Len(t, page.Engines, 1)
		assert.Contains(t, page.Engines[0].Unreachable, "cable cut")

		shown := html(t, show...)
		assert.Contains(t, shown, `<div><dt>failed messages</dt><dd data-field="failed">2</dd></div>`)
		assert.Contains(t, shown, `<div><dt>local runs</dt><dd data-field="local">1</dd></div>`)
		assert.Contains(t, shown, `<section id="engine-0" class="unreachable" data-kind="engine">`)
		assert.Regexp(t, `<p class="message" dir="auto">[^<]*cable cut</p>`, shown)
	})
}

func TestFleet_LateAndLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := &faulty{Memory: fleet.NewMemory()}
		engine.delay.Store(int64(2 * time.Second)) // more than the guard
		replica := newReplica(t, engine, throttle.Every(time.Minute), func(context.Context) error {
			time.Sleep(time.Second)
			return nil
		})
		show := throttledebug.Fleet(replica)
		synctest.Wait() // until the process has read the store's clock
		replica.Call()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		engine.delay.Store(0)
		assert.Contains(t, html(t, show), `<div><dt>late grants</dt><dd data-field="late">1</dd></div>`)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		replica.Call()
		synctest.Wait()
		engine.Wipe()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		assert.Contains(t, html(t, show), `<div><dt>lost leases</dt><dd data-field="lost">1</dd></div>`)
	})
}

// A faulty engine answers claims late, or not at all.
type faulty struct {
	*fleet.Memory

	delay atomic.Int64 // a time.Duration
	err   error
}

func (f *faulty) Claim(ctx context.Context, key string, c machine.Claim) (machine.Reply, error) {
	reply, err := f.Memory.Claim(ctx, key, c)
	time.Sleep(time.Duration(f.delay.Load()))
	if f.err != nil {
		return machine.Reply{}, f.err
	}
	return reply, err
}

func TestFleet_Actions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		replica := newReplica(t, fleet.NewMemory(), throttle.Every(time.Hour), func(context.Context) error { runs++; return nil })
		handler := throttledebug.Handler(throttledebug.Fleet(replica), throttledebug.Actions())
		require.NoError(t, replica.Do(t.Context()))
		replica.Call()
		synctest.Wait()
		assert.Contains(t, get(t, handler, "").Body.String(),
			`<form method="post"><input type="hidden" name="part" value="0"><button name="action" value="cancel">cancel</button></form>`)
		act := func(action string) int { return post(handler, url.Values{"part": {"0"}, "action": {action}}, nil).Code }
		assert.Equal(t, http.StatusBadRequest, act("flush"))
		assert.True(t, replica.Stats().Pending)
		assert.Equal(t, http.StatusSeeOther, act("cancel"))
		assert.False(t, replica.Stats().Pending)
		assert.Equal(t, 1, runs)
	})
}

func TestEngine(t *testing.T) {
	const hostile = `<img src=x>` + "\xff"
	show := []throttledebug.Option{
		throttledebug.Engine("redis", &fakeEngine{Throttlers: 7, InFlight: 16, Waiting: 5, DueKeys: 3, OldestDue: 1500 * ms}),
		throttledebug.Engine("", fleet.NewMemory()),
		throttledebug.Engine(hostile, &fakeEngine{Unreachable: errors.New(hostile + strings.Repeat("W", 2000))}),
		throttledebug.Engine("none", nil),
		throttledebug.Engine("none", (*fleet.Memory)(nil)),
		throttledebug.Fleet(nil),
	}
	shown := strings.ToValidUTF8(hostile, "\uFFFD")
	long := shown + strings.Repeat("W", 1024-len(shown)) + "…"
	page := look(t, "", show...)
	assert.Empty(t, page.Throttles)
	assert.Equal(t, []throttledebug.Health{
		{Name: "redis", Throttlers: 7, InFlight: 16, Waiting: 5, DueKeys: 3, OldestDue: 1.5},
		{},
		{Name: shown, Unreachable: long},
	}, page.Engines)

	text := html(t, show...)
	for _, part := range []string{
		`<section id="engine-0" class="reachable" data-kind="engine">`,
		`<dd data-field="throttlers">7</dd>`,
		`<dd data-field="in-flight">16, waiting: 5</dd>`,
		`<dd data-field="due">3, the oldest for 1.5s</dd>`,
		`<dd data-field="in-flight">0</dd>`,
		`<dd data-field="due">0</dd>`,
		`<i>no name</i>`,
		`<span class="state" data-field="state">unreachable</span>`,
	} {
		assert.Contains(t, text, part)
	}
	assert.NotContains(t, text, "<img")
	assert.NotContains(t, text, "nothing to show")
}
