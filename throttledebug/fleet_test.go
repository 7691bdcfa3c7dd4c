package throttledebug_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
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

// newFleetGroup returns a Group of a fleet that is closed at the end of the test. It discards
// the errors of its runs.
func newFleetGroup(t *testing.T, p throttle.Policy, fn func(context.Context, string) error, options ...fleet.Option) *fleet.Group {
	t.Helper()
	group, err := fleet.NewGroup(fleet.NewMemory(), p, fn, append(options, fleet.WithErrorHandler(func(error) {}))...)
	require.NoError(t, err)
	t.Cleanup(func() { group.Close() })
	synctest.Wait() // until the process has read the store's clock
	return group
}

// The page shows the policy, and when a key is due if nobody calls any more.
func TestFleetGroup_quiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := throttle.Debounce(time.Minute, time.Hour)
		group := newFleetGroup(t, p, func(context.Context, string) error { return nil })
		require.NoError(t, group.Call("acme"))
		synctest.Wait()
		got := lookAt(t, throttledebug.FleetGroup(group))
		assert.Equal(t, p.String(), got.Policy)
		require.Len(t, got.Keys.First, 1)
		assert.Equal(t, throttledebug.Waiting, got.Keys.First[0].State)
		assert.Equal(t, time.Now().Add(time.Minute+15*time.Second).UTC(), got.Keys.First[0].Next)
	})
}

func TestFleetGroup_Life(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var recorder throttledebug.Recorder
		group := newFleetGroup(t, throttle.Every(time.Hour), func(_ context.Context, key string) error {
			time.Sleep(100 * ms)
			if key == "key-10" {
				return errFailed
			}
			return nil
		}, fleet.WithName("tenants"), fleet.WithObserver(recorder.Observe))
		show := []throttledebug.Option{throttledebug.FleetGroup(group), throttledebug.Runs(&recorder)}
		now := func() throttledebug.Throttle {
			t.Helper()
			synctest.Wait()
			return lookAt(t, show...)
		}

		want := throttledebug.Throttle{
			Kind: "fleet group", Name: "tenants", Policy: "at most once per 1h0m0s",
			Status: throttledebug.Status{State: throttledebug.Idle}, Counts: &throttledebug.Counts{},
			Keys: &throttledebug.Keys{First: []throttledebug.Key{}},
		}
		assert.Equal(t, want, now())

		running := func() throttledebug.Status {
			return throttledebug.Status{State: throttledebug.Running, LastStart: time.Now().UTC()}
		}
		require.NoError(t, group.Call("key-2"))
		first := running()
		time.Sleep(ms) // so that the run that fails is the last one
		require.NoError(t, group.Call("key-10"))
		want.Status = running()
		want.Runs, want.Calls, want.Counts.Granted = 2, 2, 2
		want.Keys = &throttledebug.Keys{Held: 2, Matching: 2, First: []throttledebug.Key{{Key: "key-2", Status: first}, {Key: "key-10", Status: want.Status}}}
		assert.Equal(t, want, now())

		time.Sleep(time.Second)
		got := now()
		assert.Equal(t, throttledebug.Idle, got.State)
		assert.EqualValues(t, 1, got.Failures)
		assert.Equal(t, "key-10", got.Failure.Key)
		assert.Len(t, got.Recent, 2)
		assert.Zero(t, got.Keys.Held)

		require.NoError(t, group.Call("key-2"))
		got = now()
		assert.Equal(t, throttledebug.Waiting, got.State)
		assert.Equal(t, &throttledebug.Counts{Granted: 2, Deferred: 1}, got.Counts)
		assert.WithinDuration(t, time.Now().Add(time.Hour), got.Next, time.Minute, "when it asks the store")
		waiting := throttledebug.Status{State: throttledebug.Waiting, Next: got.Next}
		assert.Equal(t, []throttledebug.Key{{Key: "key-2", Status: waiting}}, got.Keys.First)
		page := html(t, show...)
		for _, part := range []string{
			`<section id="part-0" class="waiting failing keyed" data-kind="fleet group">`,
			`<p class="status"><span class="state" data-field="state">waiting</span> <span data-field="next">asks the store <time `,
			`<dd data-field="claims">granted: 2, deferred: 1, served: 0</dd>`,
			`>search 1 keys</label>`,
			`<li data-key="key-2" class="waiting"><span class="name" dir="auto">key-2</span> ` +
				`<span class="state" data-field="state">waiting</span> <span data-field="next">asks the store <time `,
		} {
			assert.Contains(t, page, part)
		}

		require.NoError(t, group.Close())
		assert.Equal(t, throttledebug.Closed, now().State)
	})
}

func TestFleetGroup_Lanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var recorder throttledebug.Recorder
		group := newFleetGroup(t, throttle.Every(time.Second), func(context.Context, string) error {
			time.Sleep(500 * ms)
			return nil
		}, fleet.WithObserver(recorder.Observe))
		for _, key := range []string{"idle", "running", "waiting"} {
			require.NoError(t, group.Call(key))
		}
		time.Sleep(5 * time.Second)
		require.NoError(t, group.Call("waiting"))
		time.Sleep(600 * ms)
		require.NoError(t, group.Call("waiting"))
		require.NoError(t, group.Call("running"))
		time.Sleep(200 * ms)
		synctest.Wait()
		page := html(t, throttledebug.FleetGroup(group), throttledebug.Runs(&recorder))
		stats, _ := group.KeyStats("waiting")
		due := fmt.Sprintf("due %.2f", time.Until(stats.Next).Seconds())
		time.Sleep(2 * time.Second) // until all runs have ended
		synctest.Wait()

		for _, key := range []string{"idle", "running", "waiting"} {
			assert.Contains(t, page, `<li data-lane="`+key+`" class="`+key+`">`)
		}
		drawn := strips(t, page)
		require.Len(t, drawn, 4)
		first := "run -5.80..-5.30"
		assert.Equal(t, []string{first}, drawn[1].of("run", "due"))
		assert.Equal(t, []string{first, "run active -0.20..0.00"}, drawn[2].of("run", "due"))
		assert.Equal(t, []string{due, first, "run -0.80..-0.30"}, drawn[3].of("run", "due"))
	})
}

func TestFleetGroup_Search(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		group := newFleetGroup(t, throttle.Every(time.Hour), func(ctx context.Context, _ string) error {
			<-ctx.Done()
			return nil
		})
		for i := range 120 {
			require.NoError(t, group.Call("Tenant "+strconv.Itoa(i)))
		}
		synctest.Wait()
		keys := look(t, "&q0=tenant+1", throttledebug.FleetGroup(group)).Throttles[0].Keys
		assert.Equal(t, 120, keys.Held)
		assert.Equal(t, 31, keys.Matching)
		require.Len(t, keys.First, 31)
		assert.Equal(t, "Tenant 10", keys.First[1].Key)
		assert.Len(t, look(t, "", throttledebug.FleetGroup(group)).Throttles[0].Keys.First, 50)
	})
}

func TestFleetGroup_Actions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		group := newFleetGroup(t, throttle.Every(time.Hour), func(context.Context, string) error {
			time.Sleep(time.Minute)
			return nil
		})
		handler := throttledebug.Handler(throttledebug.FleetGroup(group), throttledebug.Actions())
		buttons := func() int {
			synctest.Wait()
			return strings.Count(get(t, handler, "").Body.String(), `<form method="post">`)
		}
		act := func(action, key string) int {
			return post(handler, url.Values{"part": {"0"}, "action": {action}, "key": {key}}, nil).Code
		}
		require.NoError(t, group.Do(t.Context(), "b"))
		require.NoError(t, group.Call("a"))
		assert.Zero(t, buttons(), "a run is active, but nothing is pending")
		require.NoError(t, group.Call("b"))
		assert.Equal(t, 1, buttons(), "only b is pending")
		assert.Contains(t, get(t, handler, "").Body.String(), `<form method="post"><input type="hidden" name="part" value="0">`+
			`<input type="hidden" name="key" value="b"><button name="action" value="cancel">cancel</button></form>`)

		assert.Equal(t, http.StatusBadRequest, act("flush", "b"))
		assert.Equal(t, http.StatusNotFound, act("cancel", "c"))
		require.NoError(t, group.Call("a"))
		assert.Equal(t, 2, buttons(), "a is pending, too, while its run is active")
		assert.Equal(t, http.StatusSeeOther, act("cancel", "b"))
		assert.False(t, group.Cancel("b"))
		assert.Equal(t, 1, buttons())
		assert.True(t, group.Cancel("a"))
		time.Sleep(time.Minute) // until a's run has ended
		assert.Zero(t, buttons())
		assert.EqualValues(t, 2, group.Stats().Runs)
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
		throttledebug.FleetGroup(nil),
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
