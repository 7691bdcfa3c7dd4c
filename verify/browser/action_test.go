package browser_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
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

// click clicks the button for action on the part with that index.
func (o *tab) click(t *testing.T, part int, action string) {
	t.Helper()
	require.NoError(t, chromedp.Do(o.ctx, chromedp.Click(chromedp.CSS(fmt.Sprintf("#part-%d .actions button[value=%s]", part, action)))))
}

// waiting returns a throttler with a call that waits for an hour.
func waiting(t *testing.T, fn func(context.Context) error) *throttle.Throttler {
	t.Helper()
	made := throttler(t, throttle.Debounce(time.Hour, 0), fn)
	made.Call()
	return made
}

// Without Actions the page has no buttons.
func TestActions_Off(t *testing.T) {
	t.Parallel()
	tenants := group(t, throttle.Every(time.Hour), func(context.Context, string) error { return nil }, "one")
	shown, _ := visiting(t, throttledebug.Throttler(waiting(t, succeed)), throttledebug.Group(tenants))
	shown.shows(t, 1, runs, "1")
	assert.Zero(t, evaluate[int](t, shown, `document.querySelectorAll("button, form[method=post]").length`))
}

func TestActions_Click(t *testing.T) {
	t.Parallel()
	flushed, canceled := waiting(t, succeed), waiting(t, succeed)
	shown, _ := visiting(t, throttledebug.Throttler(flushed), throttledebug.Throttler(canceled), throttledebug.Actions())
	still := shown.stays(t)
	shown.shows(t, 0, state, "waiting")
	shown.shows(t, 1, state, "waiting")

	shown.click(t, 0, "flush")
	shown.shows(t, 0, state, "idle")
	shown.shows(t, 0, runs, "1")
	assert.Equal(t, "waiting", field(t, shown, 1, state))
	shown.click(t, 1, "cancel")
	shown.shows(t, 1, state, "idle")
	assert.Equal(t, "0", field(t, shown, 1, runs))
	assert.False(t, canceled.Stats().Pending)
	assert.True(t, still())
}

func TestActions_ClickOnKey(t *testing.T) {
	t.Parallel()
	ran := make(chan string, 2)
	tenants := group(t, throttle.Debounce(time.Hour, 0), func(_ context.Context, key string) error {
		ran <- key
		return nil
	}, "one", "other", "third")
	shown, _ := visiting(t, throttledebug.Group(tenants), throttledebug.Actions())
	require.NoError(t, chromedp.Do(shown.ctx, chromedp.Click(chromedp.CSS(`[data-key=other] button[value=flush]`))))
	shown.shows(t, 0, runs, "1")
	assert.Equal(t, "other", <-ran)
	require.NoError(t, chromedp.Do(shown.ctx, chromedp.Click(chromedp.CSS(`[data-key=third] button[value=cancel]`))))
	eventually(t, func(t *assert.CollectT) {
		stats, _ := tenants.KeyStats("third")
		assert.False(t, stats.Pending)
	})
	stats, _ := tenants.KeyStats("one")
	assert.True(t, stats.Pending)
}

// The page shows the error of an action in a dialog.
func TestActions_Error(t *testing.T) {
	t.Parallel()
	failing := waiting(t, func(context.Context) error { return errors.New("refused <b>by</b> the callback") })
	server := serve(t, throttledebug.Handler(throttledebug.Throttler(failing), throttledebug.Actions()))
	shown := open(t)
	shown.visit(t, server.URL)
	dialogs := chromedp.Events(shown.ctx, page.JavascriptDialogOpening)
	shown.click(t, 0, "flush")
	for dialog, err := range dialogs {
		require.NoError(t, err)
		assert.Contains(t, dialog.Message, "refused <b>by</b> the callback")
		break
	}
	call(t, shown, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: true})
	shown.shows(t, 0, "[data-field=failures]", "1")
}

func TestActions_CrossOrigin(t *testing.T) {
	t.Parallel()
	pending := waiting(t, succeed)
	// forger serves at /forged a page with a form for the URL in the query.
	forger := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, err := fmt.Fprintf(w, `<!doctype html><form method="post" action="%s">
			<input name="part" value="0"><button name="action" value="flush">win</button></form>`, r.URL.RawQuery)
		assert.NoError(t, err)
	})
	pages := http.NewServeMux()
	pages.Handle("/", throttledebug.Handler(throttledebug.Throttler(pending), throttledebug.Actions()))
	pages.Handle("/forged", forger)
	target, other := serve(t, pages), serve(t, forger)
	shown := open(t)

	for _, from := range []struct {
		name, origin string
		refused      bool
	}{
		{"another port", other.URL, true},
		{"another host", strings.Replace(other.URL, "127.0.0.1", "localhost", 1), true},
		{"the same origin", target.URL, false},
	} {
		shown.visit(t, from.origin+"/forged?"+target.URL)
		answer, err := chromedp.RunResponse(shown.ctx, chromedp.Click(chromedp.CSS("button")))
		require.NoError(t, err, from.name)
		if from.refused {
			assert.EqualValues(t, http.StatusForbidden, answer.Status, from.name)
			assert.Zero(t, pending.Stats().Runs, from.name)
		} else {
			// Without this case the other two would prove nothing.
			assert.EqualValues(t, http.StatusOK, answer.Status, from.name)
			assert.EqualValues(t, 1, pending.Stats().Runs, from.name)
		}
	}
}

// If another site could show the page in a frame, it could make users click its buttons
// unawares.
func TestActions_Frame(t *testing.T) {
	t.Parallel()
	target := serve(t, throttledebug.Handler(throttledebug.Actions()))
	other := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, err := fmt.Fprintf(w, `<!doctype html><iframe src="%s"></iframe>`, target.URL)
		assert.NoError(t, err)
	}))
	shown := open(t)
	shown.visit(t, other.URL)
	eventually(t, func(t *assert.CollectT) {
		misdeeds, _ := shown.noted()
		assert.Contains(t, strings.Join(misdeeds, "\n"), "frame-ancestors")
	})
}
