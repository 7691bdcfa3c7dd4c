package browser_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/throttledebug"
)

// Selectors of the fields of a part.
const (
	name   = "h2"
	policy = "[data-field=policy]"
	state  = ".status [data-field=state]"
	next   = ".status [data-field=next]"
	runs   = "[data-field=runs]"
	fault  = "[data-field=error]"
)

// throttler returns a Throttler that is closed at the end of the test.
func throttler(t *testing.T, p throttle.Policy, fn func(context.Context) error, options ...throttle.Option) *throttle.Throttler {
	t.Helper()
	// Without a handler, failures would be logged.
	options = append(options, throttle.WithErrorHandler(func(error) {}))
	made, err := throttle.New(p, fn, options...)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, made.Close()) })
	return made
}

// group returns a Group with one call for each key. It is closed at the end of the test.
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

// visiting returns a tab with the page for these options. The page must behave.
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

// shows waits until a field shows want.
func (o *tab) shows(t *testing.T, part int, where, want string) {
	t.Helper()
	eventually(t, func(t *assert.CollectT) { assert.Equal(t, want, field(t, o, part, where)) })
}

// left returns the time to the next run that the page shows for its first part.
func left(t require.TestingT, in *tab) time.Duration {
	text := field(t, in, 0, next)
	shown, counts := strings.CutPrefix(text, "next run due in ")
	require.True(t, counts, text)
	d, err := time.ParseDuration(strings.NewReplacer(" min", "m", " ", "").Replace(shown))
	require.NoError(t, err)
	return d
}

// stays returns a function that reports whether the tab still has the same document.
func (o *tab) stays(t *testing.T) (still func() bool) {
	t.Helper()
	evaluate[chromedp.Void](t, o, `void (window.stays = true)`)
	return func() bool { return evaluate[bool](t, o, `window.stays === true`) }
}

func TestPage(t *testing.T) {
	t.Parallel()
	reload := throttler(t, throttle.Every(5*time.Second), succeed, throttle.WithName("reload"))
	tenants := group(t, throttle.Debounce(time.Hour, 0), func(context.Context, string) error { return nil }, "one", "other")
	batches, err := throttle.NewCoalescer(throttle.Every(time.Minute), throttle.Latest[int](),
		func(context.Context, int) error { return nil }, throttle.WithName("batches"))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, batches.Close()) })
	unnamed := throttler(t, throttle.Every(time.Second), succeed)

	shown, _ := visiting(t, throttledebug.Throttler(reload), throttledebug.Group(tenants),
		throttledebug.Coalescer(batches), throttledebug.Throttler(unnamed))
	for part, want := range []struct{ name, kind, policy, state string }{
		{"reload", "throttler", "at most once per 5s", "idle"},
		{"tenants", "group", "after 1h0m0s of quiet", "waiting"},
		{"batches", "coalescer", "at most once per 1m0s", "idle"},
		{"no name", "throttler", "at most once per 1s", "idle"},
	} {
		assert.Equal(t, want.name, field(t, shown, part, name))
		assert.Contains(t, field(t, shown, part, policy), want.policy)
		assert.Equal(t, want.state, field(t, shown, part, state))
		assert.Equal(t, want.kind, evaluate[string](t, shown, `document.getElementById("part-" + %s).dataset.kind`, part))
	}
	assert.Equal(t, 4, evaluate[int](t, shown, `document.querySelectorAll(".cards > section").length`))
	assert.Equal(t, []string{"one", "other"}, rows(t, shown))
}

func TestPage_UpdatesWithoutReload(t *testing.T) {
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
	assert.Regexp(t, `^next run due in 5\d min \d+ s$`, field(t, shown, 0, next))
	assert.True(t, still())
}

func TestPage_Values(t *testing.T) {
	t.Parallel()
	rows, err := throttle.NewKeyedCoalescer(throttle.Debounce(time.Hour, 0), throttle.Batch[int](),
		func(context.Context, string, []int) error { return nil }, throttle.WithName("rows"))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, rows.Close()) })
	shown, _ := visiting(t, throttledebug.Keyed(rows), throttledebug.Actions())
	values, ofKey := "[data-field=values]", "[data-key=acme] [data-field=waiting]"

	shown.shows(t, 0, values, "0")
	require.NoError(t, rows.Call("acme", 1))
	require.NoError(t, rows.Call("acme", 2))
	shown.shows(t, 0, values, "2, batches: 1")
	assert.Equal(t, "values: 2, batches: 1", field(t, shown, 0, ofKey))
	require.NoError(t, chromedp.Do(shown.ctx, chromedp.Click(chromedp.CSS(`[data-key=acme] button[value=flush]`))))
	shown.shows(t, 0, values, "0")
	shown.shows(t, 0, runs, "1")
	assert.Empty(t, field(t, shown, 0, ofKey))
}

func TestPage_States(t *testing.T) {
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
	assert.False(t, evaluate[bool](t, shown, `document.querySelector("[data-field=took]").checkVisibility()`), "no run has finished")
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

func TestCountdown_WithoutEvents(t *testing.T) {
	t.Parallel()
	reload := throttler(t, throttle.Debounce(time.Minute, 0), succeed)
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
	reload.Call() // now that the browser runs, which may take a while to start
	shown.visit(t, server.URL)

	eventually(t, func(t *assert.CollectT) {
		assert.Regexp(t, `^next run due in \d+\.\d s$`, field(t, shown, 0, next))
	})
	for range 3 {
		was := left(t, shown)
		eventually(t, func(t *assert.CollectT) { assert.Less(t, left(t, shown), was) })
	}
}

// The countdown is right even if the clock of the browser is wrong.
func TestCountdown_WrongClock(t *testing.T) {
	t.Parallel()
	const interval = 30 * time.Minute
	reload := throttler(t, throttle.Every(interval), succeed)
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
		// The page may be late, and so show more than is left, but it never shows less.
		least := time.Until(reload.Stats().Next).Truncate(time.Second)
		assert.LessOrEqual(t, left(t, shown), interval)
		assert.GreaterOrEqual(t, left(t, shown), least)
	})
}

// The strip shows runs as they come. With this policy it is so long that no run leaves it
// during the test.
func TestStrip(t *testing.T) {
	t.Parallel()
	var recorder throttledebug.Recorder
	outcomes := make(chan error, 1)
	reload := throttler(t, throttle.Policy{Interval: time.Hour, Burst: 3},
		func(context.Context) error { return <-outcomes },
		throttle.WithName("reload"), throttle.WithObserver(recorder.Observe))
	shown, _ := visiting(t, throttledebug.Throttler(reload), throttledebug.Runs(&recorder))
	drawn := func(t require.TestingT) [2]int {
		return evaluate[[2]int](t, shown, `[".run", ".run.failed"].map(is =>
			[...document.querySelectorAll("#part-0 svg.timeline " + is)].filter(run => run.getBoundingClientRect().height > 0).length)`)
	}

	assert.Equal(t, [2]int{0, 0}, drawn(t))
	for i, outcome := range []error{nil, errors.New("refused"), nil} {
		outcomes <- outcome
		reload.Call()
		failed := min(i, 1)
		eventually(t, func(t *assert.CollectT) { assert.Equal(t, [2]int{i + 1, failed}, drawn(t)) })
	}
}
