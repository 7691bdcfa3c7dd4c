// Package browser tests the page of throttledebug and the playground in a real browser,
// Chromium or Chrome: what they show, how they keep up with changes, and that no text on them
// can do harm.
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
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// These bounds only keep a broken test from hanging. On a busy machine a browser may take
// ten seconds to start.
const (
	lifetime = 3 * time.Minute // of a tab
	patience = time.Minute     // until the page shows a change
	glance   = 20 * time.Millisecond
)

// A browser is one that the tests share: to start one takes seconds.
type browser struct {
	once    sync.Once
	profile string          // its folder
	ctx     context.Context // identifies the browser for chromedp
	err     error           // why there is none
}

var shared browser

func TestMain(m *testing.M) {
	code := m.Run()
	if err := shared.close(); err != nil {
		fmt.Fprintln(os.Stderr, "browser:", err)
		code = 1
	}
	os.Exit(code)
}

// start starts the browser, unless it runs already.
func (b *browser) start() {
	b.once.Do(func() {
		if b.profile, b.err = os.MkdirTemp("", "browser"); b.err != nil {
			return
		}
		ctx, _ := chromedp.NewExecAllocator(context.Background(), flags(b.profile)...)
		b.ctx, _ = chromedp.NewContext(ctx)
		b.err = chromedp.Do(b.ctx)
	})
}

// close waits until the browser has exited, and deletes its profile.
func (b *browser) close() error {
	if b.profile == "" {
		return nil
	}
	var failed error
	if b.err == nil {
		failed = chromedp.Cancel(b.ctx)
	}
	return errors.Join(failed, os.RemoveAll(b.profile))
}

// flags returns options for a browser that sends requests only to this machine.
func flags(profile string) []chromedp.ExecAllocatorOption {
	all := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.UserDataDir(profile),
		chromedp.WSURLReadTimeout(lifetime),
		chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"),
	)
	if os.Geteuid() == 0 {
		// Chromium's sandbox does not work for root, and containers run tests as root.
		all = append(all, chromedp.NoSandbox)
	}
	return all
}

// A tab has its own window, cookies and storage.
type tab struct {
	ctx context.Context // identifies the tab for chromedp

	mu sync.Mutex // guards the fields below

	// +checklocks:mu
	host string // the only host to which the page may send requests
	// +checklocks:mu
	misdeeds []string // forbidden things that a page did
	// +checklocks:mu
	failures []string // requests that failed
}

// open opens a tab. If there is no browser, it skips the test; with CI=true it fails the test,
// because continuous integration must have a browser.
func open(t *testing.T) *tab {
	t.Helper()
	shared.start()
	if errors.Is(shared.err, exec.ErrNotFound) && os.Getenv("CI") != "true" {
		t.Skip("this test needs Chromium or Chrome:", shared.err)
	}
	require.NoError(t, shared.err)
	opened := &tab{}
	ctx, cancel := context.WithTimeout(shared.ctx, lifetime)
	t.Cleanup(cancel)
	opened.ctx, cancel = chromedp.NewContext(ctx, chromedp.WithNewBrowserContext(), chromedp.WithListener(opened.listen))
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Do(opened.ctx))
	t.Cleanup(func() { assert.NoError(t, chromedp.Cancel(opened.ctx)) }) // it waits until the tab is closed
	// Only one window has the focus. Let each tab believe that it does.
	call(t, opened, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	return opened
}

// noted returns the misdeeds and failed requests so far.
func (o *tab) noted() (misdeeds, failures []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.misdeeds), slices.Clone(o.failures)
}

// behaves makes the test fail at its end if a page in the tab has misbehaved.
func (o *tab) behaves(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		misdeeds, failures := o.noted()
		assert.Empty(t, misdeeds, "misdeeds of the page")
		assert.Empty(t, failures, "failed requests")
	})
}

// listen notes misdeeds. The browser reports what a page does before it answers a later
// command, so listen sees everything that happened before the last command of a test.
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
		// These include violations of the content security policy.
		if event.Entry.Source == log.EntrySourceNetwork {
			o.failures = append(o.failures, event.Entry.URL+": "+event.Entry.Text)
		} else {
			o.misdeeds = append(o.misdeeds, fmt.Sprintf("%s: %s", event.Entry.Source, event.Entry.Text))
		}
	}
}

// visit opens the page at address. From then on, its host is the only one to which the page
// may send requests.
func (o *tab) visit(t *testing.T, address string) {
	t.Helper()
	parsed, err := url.Parse(address)
	require.NoError(t, err)
	o.mu.Lock()
	o.host = parsed.Host
	o.mu.Unlock()
	require.NoError(t, chromedp.Do(o.ctx, chromedp.Navigate(address)))
}

// evaluate returns the value of a JavaScript expression in the page. The page's content
// security policy does not apply to it. Each %s in the expression becomes a value as JSON.
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

// eventually waits until look makes no failed assertion.
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

// serve starts a server until the end of the test. By then every request must have ended.
// Open tabs after it, so that they are closed before it.
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
