// Package browser looks at the page of throttledebug in a real browser, Chromium or
// Chrome: what it shows, how it keeps up, and that nothing it shows can harm it.
package browser_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// This file opens a tab of a browser, and notes what a page in it must not do.

const (
	lifetime = 30 * time.Second // of a browser, so that no test hangs
	patience = 10 * time.Second // with a page that is to change
	glance   = 20 * time.Millisecond
)

// A tab is the one tab of a browser with a profile of its own.
type tab struct {
	ctx context.Context // chromedp finds the tab by it

	mu sync.Mutex // guards the fields below

	// +checklocks:mu
	host string // which alone may be asked
	// +checklocks:mu
	misdeeds []string // what a page did that none may do
	// +checklocks:mu
	failures []string // requests that went wrong
}

// open starts a browser. Where there is none the test is skipped, but not in continuous
// integration, which has to have one.
func open(t *testing.T) *tab {
	t.Helper()
	opened := &tab{}
	ctx, cancel := context.WithTimeout(context.Background(), lifetime)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, flags(t)...)
	t.Cleanup(cancel)
	opened.ctx, cancel = chromedp.NewContext(ctx, chromedp.WithListener(opened.listen))
	t.Cleanup(cancel)

	err := chromedp.Do(opened.ctx)
	if errors.Is(err, exec.ErrNotFound) && os.Getenv("CI") != "true" {
		t.Skip("this test needs Chromium or Chrome:", err)
	}
	require.NoError(t, err)
	t.Cleanup(func() {
		// chromedp waits for the browser to go, so that its profile can be deleted.
		assert.NoError(t, chromedp.Cancel(opened.ctx))
	})
	return opened
}

// flags are for a browser that asks nothing of the network but this machine.
func flags(t *testing.T) []chromedp.ExecAllocatorOption {
	t.Helper()
	all := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"),
	)
	if os.Geteuid() == 0 {
		// Chromium's sandbox does not work for root, as which containers run tests.
		all = append(all, chromedp.NoSandbox)
	}
	return all
}

// noted returns what the page has done so far that it must not.
func (o *tab) noted() (misdeeds, failures []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.misdeeds), slices.Clone(o.failures)
}

// behaves has the test fail at its end if a page of the tab has misbehaved.
func (o *tab) behaves(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		misdeeds, failures := o.noted()
		assert.Empty(t, misdeeds, "what the page must not do")
		assert.Empty(t, failures, "requests that went wrong")
	})
}

// listen notes misdeeds. The browser tells of what a page does before it answers a later
// command, so none is missed that came before a test's last look.
func (o *tab) listen(event any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch event := event.(type) {
	case *runtime.EventExceptionThrown:
		text := event.ExceptionDetails.Text
		if thrown := event.ExceptionDetails.Exception; thrown != nil {
			text += " " + thrown.Description
		}
		o.misdeeds = append(o.misdeeds, "exception: "+text)
	case *runtime.EventConsoleAPICalled:
		said := []string{"console." + string(event.Type) + ":"}
		for _, value := range event.Args {
			said = append(said, string(value.Value)+value.Description)
		}
		o.misdeeds = append(o.misdeeds, strings.Join(said, " "))
	case *page.EventJavascriptDialogOpening:
		o.misdeeds = append(o.misdeeds, "dialog: "+event.Message)
	case *network.EventRequestWillBeSent:
		asked, err := url.Parse(event.Request.URL)
		if err != nil || strings.HasPrefix(asked.Scheme, "http") && asked.Host != o.host {
			o.misdeeds = append(o.misdeeds, "request: "+event.Request.URL)
		}
	case *log.EventEntryAdded:
		// Among these are the violations of the content security policy.
		if event.Entry.Source == log.EntrySourceNetwork {
			o.failures = append(o.failures, event.Entry.URL+": "+event.Entry.Text)
		} else {
			o.misdeeds = append(o.misdeeds, fmt.Sprintf("%s: %s", event.Entry.Source, event.Entry.Text))
		}
	}
}

// visit opens the page at address, whose host alone may be asked from then on.
func (o *tab) visit(t *testing.T, address string) {
	t.Helper()
	parsed, err := url.Parse(address)
	require.NoError(t, err)
	o.mu.Lock()
	o.host = parsed.Host
	o.mu.Unlock()
	require.NoError(t, chromedp.Do(o.ctx, chromedp.Navigate(address)))
}

// evaluate returns the value of a JavaScript expression in the page, whose content
// security policy does not bind it. The values are put into the expression as JSON.
func evaluate[T any](t require.TestingT, in *tab, expression string, values ...any) T {
	if len(values) > 0 {
		quoted := make([]any, len(values))
		for i, value := range values {
			encoded, err := json.Marshal(value)
			require.NoError(t, err)
			quoted[i] = encoded
		}
		expression = fmt.Sprintf(expression, quoted...)
	}
	value, err := chromedp.Run(in.ctx, chromedp.Evaluate[T](expression))
	require.NoError(t, err, expression)
	return value
}

// eventually waits until all that look asserts is so.
func eventually(t *testing.T, look func(t *assert.CollectT)) {
	t.Helper()
	require.EventuallyWithT(t, look, patience, glance)
}

// call sends a command to the tab.
func call[P, R any](t *testing.T, to *tab, command cdp.Command[P, R], params P) R {
	t.Helper()
	result, err := chromedp.Call(to.ctx, command, params)
	require.NoError(t, err)
	return result
}

// serve serves until the end of the test, where every request must have ended: those
// of tabs that were opened after it end with their tab.
func serve(t *testing.T, handler http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(func() {
		closed := make(chan struct{})
		go func() {
			server.Close()
			close(closed)
		}()
		select {
		case <-closed:
		case <-time.After(patience):
			t.Error("a request goes on after its tab was closed")
		}
	})
	return server
}
