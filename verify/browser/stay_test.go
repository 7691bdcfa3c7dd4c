package browser_test

import (
	"context"
	"fmt"
	"io/fs"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/throttledebug"
)

// Updates must not disturb what the reader does with the page.

// busy returns a part that changes with every update.
func busy(t *testing.T) throttledebug.Option {
	t.Helper()
	return throttledebug.Throttler(throttler(t, throttle.Policy{MaxInterval: 50 * time.Millisecond}, succeed))
}

// updated waits until the page has been updated twice.
func (o *tab) updated(t *testing.T, part int) {
	t.Helper()
	for range 2 {
		was := field(t, o, part, runs)
		eventually(t, func(t *assert.CollectT) { assert.NotEqual(t, was, field(t, o, part, runs)) })
	}
}

// unfold opens the details with that summary and returns the open texts of the part.
func (o *tab) unfold(t *testing.T, part int, summary string) string {
	t.Helper()
	require.NoError(t, chromedp.Do(o.ctx, chromedp.Click(chromedp.JSPath(fmt.Sprintf(
		`[...document.querySelectorAll("#part-%d summary")].find(s => s.textContent === %q)`, part, summary)))))
	return o.unfolded(t, part)
}

// unfolded returns the visible texts in the open details of the part.
func (o *tab) unfolded(t *testing.T, part int) string {
	t.Helper()
	return evaluate[string](t, o, `[...document.querySelectorAll("#part-" + %s + " details[open] > :not(summary)")]
		.filter(e => e.checkVisibility()).map(e => e.textContent).join()`, part)
}

func TestPage_DetailsStayOpen(t *testing.T) {
	t.Parallel()
	wrapped := throttler(t, throttle.Every(time.Millisecond), func(context.Context) error {
		return fmt.Errorf("load: %w", &fs.PathError{Op: "open", Path: "tenants.conf", Err: fs.ErrNotExist})
	})
	var failures atomic.Int64
	panicking := throttler(t, throttle.Every(time.Millisecond), func(context.Context) error {
		panic(fmt.Sprintf("no map, for the %dth time", failures.Add(1)))
	})
	wrapped.Call()
	panicking.Call()
	shown, _ := visiting(t, throttledebug.Throttler(wrapped), throttledebug.Throttler(panicking), busy(t))

	shown.shows(t, 0, fault+" .message", "load: open tenants.conf: file does not exist")
	shown.shows(t, 0, fault+" .type", "*fmt.wrapError")
	assert.Empty(t, shown.unfolded(t, 0), "closed at first")
	cause := shown.unfold(t, 0, "caused by")
	assert.Contains(t, cause, "open tenants.conf: file does not exist *fs.PathError")
	assert.Contains(t, cause, "file does not exist *errors.errorString")
	stack := shown.unfold(t, 1, "stack")
	assert.Contains(t, stack, "TestPage_DetailsStayOpen")

	shown.updated(t, 2)
	assert.Equal(t, cause, shown.unfolded(t, 0))
	assert.Equal(t, stack, shown.unfolded(t, 1))
	panicking.Call()
	eventually(t, func(t *assert.CollectT) { assert.Contains(t, field(t, shown, 1, fault+" .message"), "2th time") })
	assert.Contains(t, shown.unfolded(t, 1), "TestPage_DetailsStayOpen")
}

func TestPage_InputAndSelectionStay(t *testing.T) {
	t.Parallel()
	tenants := group(t, throttle.Every(time.Hour), func(context.Context, string) error { return nil }, "one", "other")
	shown, _ := visiting(t, throttledebug.Group(tenants), busy(t))

	require.NoError(t, chromedp.Do(shown.ctx, chromedp.SendKeys(searchBox, "otherwise")))
	evaluate[chromedp.Void](t, shown, `void document.activeElement.setSelectionRange(2, 5)`)
	shown.updated(t, 1)
	shown.shows(t, 0, "[data-field=matching]", "0 found")
	assert.Equal(t, "otherwise 2 5", evaluate[string](t, shown,
		`(({value, selectionStart, selectionEnd}) => [value, selectionStart, selectionEnd].join(" "))(document.activeElement)`))

	evaluate[chromedp.Void](t, shown, `void getSelection().selectAllChildren(document.querySelector("#part-0 h2"))`)
	shown.updated(t, 1)
	assert.Equal(t, "tenants", evaluate[string](t, shown, `getSelection().toString()`))
}

// A focused button must stay with its key when rows come and go.
func TestPage_FocusStays(t *testing.T) {
	t.Parallel()
	// Under this policy the Group drops a key as soon as it is cancelled.
	policy := throttle.Policy{Interval: time.Hour, Edges: throttle.Trailing}
	tenants := group(t, policy, func(context.Context, string) error { return nil }, "one", "other")
	shown, _ := visiting(t, throttledebug.Group(tenants), busy(t), throttledebug.Actions())
	evaluate[chromedp.Void](t, shown, `document.querySelector("[data-key=other] button[value=cancel]").focus()`)
	stays := func(among ...string) {
		t.Helper()
		eventually(t, func(t *assert.CollectT) { assert.Equal(t, among, rows(t, shown)) })
		assert.Equal(t, "cancel other", evaluate[string](t, shown, `(({value, form}) => [value, form?.key.value].join(" "))(document.activeElement)`))
	}

	shown.updated(t, 1)
	stays("one", "other")
	require.NoError(t, tenants.Call("new"))
	stays("new", "one", "other")
	tenants.Cancel("one")
	stays("new", "other")

	require.NoError(t, chromedp.Do(shown.ctx, chromedp.KeyEvent("\r")))
	eventually(t, func(t *assert.CollectT) { assert.Equal(t, []string{"new"}, rows(t, shown)) })
}
