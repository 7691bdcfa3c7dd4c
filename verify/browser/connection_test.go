package browser_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/throttledebug"
)

// says waits until the page reports that state of its connection.
func (o *tab) says(t *testing.T, want string) {
	t.Helper()
	eventually(t, func(t *assert.CollectT) {
		assert.Equal(t, want, evaluate[string](t, o, `document.getElementById("status").textContent`))
	})
}

// The page survives a restart of its server without a reload.
func TestPage_ServerRestart(t *testing.T) {
	t.Parallel()
	reload := throttler(t, throttle.Every(time.Hour), succeed)
	handler := throttledebug.Handler(throttledebug.Throttler(reload))
	first, second := httptest.NewServer(handler), httptest.NewUnstartedServer(handler)
	t.Cleanup(first.Close)
	t.Cleanup(second.Close)
	shown := open(t) // closed before its servers, because they wait for it
	shown.visit(t, first.URL)
	still := shown.stays(t)
	shown.says(t, "live")

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, first.Config.Shutdown(ctx), "the page must not delay Shutdown")
	shown.says(t, "no connection: the page is out of date")
	reload.Call()

	require.NoError(t, second.Listener.Close())
	var err error
	second.Listener, err = net.Listen("tcp", first.Listener.Addr().String())
	require.NoError(t, err)
	second.Start()
	shown.says(t, "live")
	shown.shows(t, 0, runs, "1")
	assert.True(t, still())
	misdeeds, _ := shown.noted() // failed requests are expected
	assert.Empty(t, misdeeds)
}

// The page has one stream while its tab is visible, and none otherwise.
func TestPage_Streams(t *testing.T) {
	t.Parallel()
	reload := throttler(t, throttle.Every(time.Hour), succeed)
	handler := throttledebug.Handler(throttledebug.Throttler(reload))
	var streams atomic.Int64
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("format") == "events" {
			streams.Add(1)
			defer streams.Add(-1)
		}
		handler.ServeHTTP(w, r)
	}))
	are := func(want int64) {
		t.Helper()
		eventually(t, func(t *assert.CollectT) { assert.Equal(t, want, streams.Load()) })
	}

	shown := open(t)
	shown.visit(t, server.URL)
	shown.says(t, "live")
	are(1)
	shown.visit(t, server.URL) // again
	shown.says(t, "live")
	are(1)

	// A headless browser never hides its tabs, so pretend.
	hide := func(hidden bool) {
		evaluate[chromedp.Void](t, shown, `{
			Object.defineProperty(document, "hidden", {value: %s, configurable: true});
			document.dispatchEvent(new Event("visibilitychange"));
		}`, hidden)
	}
	hide(true)
	are(0)
	hide(false)
	are(1)

	// The browser stays open when one of its tabs is closed.
	neighbour, cancel := chromedp.NewContext(shown.ctx)
	defer cancel()
	require.NoError(t, chromedp.Do(neighbour, chromedp.Navigate(server.URL)))
	are(2)
	cancel()
	are(1)
	shown.visit(t, "about:blank")
	are(0)
}

func TestPage_WithoutScript(t *testing.T) {
	t.Parallel()
	reload := throttler(t, throttle.Debounce(time.Hour, 0), succeed, throttle.WithName("reload"))
	tenants := group(t, throttle.Every(time.Hour), func(context.Context, string) error { return nil }, "one", "other")
	server := serve(t, throttledebug.Handler(
		throttledebug.Throttler(reload), throttledebug.Group(tenants), throttledebug.Actions()))
	shown := open(t)
	shown.behaves(t)
	call(t, shown, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	shown.visit(t, server.URL)

	assert.Equal(t, "reload", field(t, shown, 0, name))
	assert.Equal(t, "idle", field(t, shown, 0, state))
	assert.Regexp(t, `^as of \d\d:\d\d:\d\d\.\d{3} UTC$`, evaluate[string](t, shown, `document.getElementById("status").textContent`))
	reload.Call()
	shown.shows(t, 0, state, "waiting") // the page reloads by itself
	assert.Regexp(t, `^next run due \d\d:\d\d:\d\d\.\d{3} UTC$`, field(t, shown, 0, next))

	_, err := chromedp.RunResponse(shown.ctx, chromedp.SendKeys(chromedp.CSS("input[type=search]"), "THE\r"))
	require.NoError(t, err)
	assert.Equal(t, []string{"other"}, rows(t, shown))
	_, err = chromedp.RunResponse(shown.ctx, chromedp.Click(chromedp.CSS("#part-0 .actions button[value=flush]")))
	require.NoError(t, err)
	assert.Equal(t, "1", field(t, shown, 0, runs))
	assert.Equal(t, []string{"other"}, rows(t, shown), "the search text stays")
}
