package browser_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/throttledebug"
)

// This file holds what the page shows of throttles, and that it keeps up with them.

// A field says where the page shows something of the part with an index.
const (
	name   = "h2"
	policy = "[data-field=policy]"
	state  = ".status [data-field=state]"
	next   = ".status [data-field=next]"
	runs   = "[data-field=runs]"
	fault  = "[data-field=error]"
)

// throttler returns one that is closed when the test ends.
func throttler(t *testing.T, p throttle.Policy, fn func(context.Context) error, options ...throttle.Option) *throttle.Throttler {
	t.Helper()
	// A failure without a handler would be logged.
	options = append(options, throttle.WithErrorHandler(func(error) {}))
	made, err := throttle.New(p, fn, options...)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, made.Close()) })
	return made
}

// group returns one of whose keys each is named, and runs once.
func group(t *testing.T, p throttle.Policy, fn func(context.Context, string) error, keys ...string) *throttle.Group[string] {
	t.Helper()
	made, err := throttle.NewGroup(p, fn,
		throttle.WithName("tenants"), throttle.WithErrorHandler(func(error) {}))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, made.Close()) })
	for _, key := range keys {
		require.NoError(t, made.Call(key))
	}
	return made
}

func succeed(context.Context) error { return nil }

// visiting returns a tab with the page of what the options say, which has to behave.
func visiting(t *testing.T, options ...throttledebug.Option) (*tab, *httptest.Server) {
	t.Helper()
	server := serve(t, throttledebug.Handler(options...))
	shown := open(t)
	shown.behaves(t)
	shown.visit(t, server.URL)
	return shown, server
}

// field returns the text of a field of the part with that index.
func field(t require.TestingT, in *tab, part int, where string) string {
	return evaluate[string](t, in, `document.querySelector("#part-" + %s + " " + %s)?.textContent ?? "not there"`, part, where)
}

// shows waits until a field is that.
func (o *tab) shows(t *testing.T, part int, where, want string) {
	t.Helper()
	eventually(t, func(t *assert.CollectT) { assert.Equal(t, want, field(t, o, part, where)) })
}

// stays returns a function that tells whether the page is still the document that it
// was.
func (o *tab) stays(t *testing.T) (still func() bool) {
	t.Helper()
	evaluate[chromedp.Void](t, o, `void (window.stays = true)`)
	return func() bool { return evaluate[bool](t, o, `window.stays === true`) }
}

func TestPageShowsEachThrottle(t *testing.T) {
	t.Parallel()
	reload := throttler(t, throttle.Every(5*time.Second), succeed, throttle.WithName("reload"))
	tenants := group(t, throttle.Debounce(time.Hour, 0), func(context.Context, string) error { return nil }, "one", "other")
	batches, err := throttle.NewCoalescer(throttle.Every(time.Minute), throttle.Latest[int],
		func(context.Context, int) error { return nil }, throttle.WithName("batches"))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, batches.Close()) })
	unnamed := throttler(t, throttle.Every(time.Second), succeed)

	shown, _ := visiting(t, throttledebug.Throttler(reload), throttledebug.Group(tenants),
		throttledebug.Coalescer(batches), throttledebug.Throttler(unnamed))
	for part, want := range []struct{ name, kind, policy, state string }{
		{"reload", "throttler", "at most every 5s", "idle"},
		{"tenants", "group", "after 1h without calls", "waiting"},
		{"batches", "coalescer", "at most every 1m", "idle"},
		{"no name", "throttler", "at most every 1s", "idle"},
	} {
		assert.Equal(t, want.name, field(t, shown, part, name))
		assert.Contains(t, field(t, shown, part, policy), want.policy)
		assert.Equal(t, want.state, field(t, shown, part, state))
		assert.Equal(t, want.kind, evaluate[string](t, shown, `document.getElementById("part-" + %s).dataset.kind`, part))
	}
	assert.Equal(t, 4, evaluate[int](t, shown, `document.querySelectorAll("main > section").length`))
	assert.Equal(t, []string{"one", "other"}, rows(t, shown))
}

func TestPageKeepsUpWithoutReload(t *testing.T) {
	t.Parallel()
	reload := throttler(t, throttle.Policy{Interval: time.Hour, Burst: 2}, succeed)
	shown, _ := visiting(t, throttledebug.Throttler(reload))
	still := shown.stays(t)

	shown.shows(t, 0, runs, "0")
	reload.Call()
	shown.shows(t, 0, runs, "1")
	reload.Call()
	shown.shows(t, 0, runs, "2")
	reload.Call()
	shown.shows(t, 0, state, "waiting")
	assert.Regexp(t, `^next run due in 59 min \d+ s$`, field(t, shown, 0, next))
	assert.True(t, still())
}

func TestPageShowsStatesAsTheyCome(t *testing.T) {
	t.Parallel()
	finish := make(chan struct{})
	reload := throttler(t, throttle.Every(time.Hour), func(ctx context.Context) error {
		select {
		case <-finish:
		case <-ctx.Done():
		}
		return nil
	})
	shown, _ := visiting(t, throttledebug.Throttler(reload))
	still := shown.stays(t)

	shown.shows(t, 0, state, "idle")
	assert.Empty(t, field(t, shown, 0, next))
	reload.Call()
	shown.shows(t, 0, state, "running")
	assert.False(t, evaluate[bool](t, shown, `document.querySelector("[data-field=took]").checkVisibility()`), "none has finished")
	reload.Call()
	eventually(t, func(t *assert.CollectT) { assert.Contains(t, field(t, shown, 0, next), "at the earliest, in") })
	finish <- struct{}{}
	shown.shows(t, 0, state, "waiting")
	assert.True(t, evaluate[bool](t, shown, `document.querySelector("[data-field=took]").checkVisibility()`))
	reload.Cancel()
	shown.shows(t, 0, state, "idle")
	require.NoError(t, reload.Close())
	shown.shows(t, 0, state, "closed")
	assert.True(t, still())
}

func TestCountdownRunsWithoutEvents(t *testing.T) {
	t.Parallel()
	reload := throttler(t, throttle.Debounce(time.Minute, 0), succeed)
	reload.Call()
	handler := throttledebug.Handler(throttledebug.Throttler(reload))
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("format") == "events" {
			<-r.Context().Done()
			return
		}
		handler.ServeHTTP(w, r)
	}))
	shown := open(t)
	shown.behaves(t)
	shown.visit(t, server.URL)

	const countdown = `^next run due in (\d\d\.\d) s$`
	eventually(t, func(t *assert.CollectT) { assert.Regexp(t, countdown, field(t, shown, 0, next)) })
	for range 3 {
		was := field(t, shown, 0, next)
		eventually(t, func(t *assert.CollectT) { assert.Less(t, field(t, shown, 0, next), was) })
	}
	assert.Regexp(t, countdown, field(t, shown, 0, next))
}

func TestCountdownIsRightOnABrowserWhoseClockIsWrong(t *testing.T) {
	t.Parallel()
	reload := throttler(t, throttle.Every(30*time.Second), succeed)
	reload.Call()
	reload.Call()
	server := serve(t, throttledebug.Handler(throttledebug.Throttler(reload)))
	shown := open(t)
	shown.behaves(t)
	call(t, shown, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{
		Source: `{ const right = Date.now; Date.now = () => right() + 3600e3 }`,
	})
	shown.visit(t, server.URL)

	eventually(t, func(t *assert.CollectT) {
		assert.Equal(t, "live", evaluate[string](t, shown, `document.getElementById("status").textContent`))
		assert.Regexp(t, `^next run due in 2\d\.\d s$`, field(t, shown, 0, next))
	})
}

func TestStripShowsRunsAsTheyCome(t *testing.T) {
	t.Parallel()
	var recorder throttledebug.Recorder
	outcomes := make(chan error, 1)
	reload := throttler(t, throttle.Every(time.Millisecond), func(context.Context) error { return <-outcomes },
		throttle.WithName("reload"), throttle.WithObserver(recorder.Observe))
	shown, _ := visiting(t, throttledebug.Throttler(reload), throttledebug.Runs(&recorder))
	drawn := func(t require.TestingT) [2]int {
		return evaluate[[2]int](t, shown, `[".run", ".run.failed"].map(is =>
			[...document.querySelectorAll("#part-0 svg.timeline " + is)].filter(run => run.getBoundingClientRect().width > 0).length)`)
	}

	assert.Equal(t, [2]int{0, 0}, drawn(t))
	for i, outcome := range []error{nil, errors.New("refused"), nil} {
		outcomes <- outcome
		reload.Call()
		failed := min(i, 1)
		eventually(t, func(t *assert.CollectT) { assert.Equal(t, [2]int{i + 1, failed}, drawn(t)) })
	}
}
