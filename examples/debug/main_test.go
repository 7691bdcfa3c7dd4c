package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/throttledebug"
)

func TestDemonstration(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"-duration", "500ms"}, &out), out.String())
	for _, pattern := range []string{
		`^9 throttles at http://127\.0\.0\.1:\d+/debug/throttle\n\n`,
		`\n +closed +1 runs +0 failed  import\n`,
		`\n +closed +[1-9]\d* runs +\d+ failed  journal\n`,
		`\n +closed +[1-9]\d* runs +\d+ failed  refresh\n$`,
	} {
		assert.Regexp(t, pattern, out.String())
	}
}

// A program runs while a test reads its page.
type program struct {
	url       string
	interrupt func()
	ended     chan error
}

func start(t *testing.T, args ...string) program {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	reader, writer := io.Pipe()
	p := program{interrupt: cancel, ended: make(chan error, 1)}
	go func() {
		err := run(ctx, args, writer)
		p.ended <- err
		writer.CloseWithError(err)
	}()
	lines := bufio.NewReader(reader)
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	_, p.url, _ = strings.Cut(strings.TrimSpace(line), " throttles at ")
	go io.Copy(io.Discard, lines) //nolint:errcheck // nobody reads the rest
	return p
}

// end interrupts p, like Ctrl-C.
func (p program) end(t *testing.T) {
	t.Helper()
	p.interrupt()
	select {
	case err := <-p.ended:
		require.NoError(t, err)
	case <-time.After(2 * patience):
		require.Fail(t, "an interrupt does not end the program")
	}
}

// get returns the body at address, and the path after redirects.
func get(t *testing.T, address string) (body io.Reader, path string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	t.Cleanup(func() { response.Body.Close() })
	require.Equal(t, http.StatusOK, response.StatusCode)
	return response.Body, response.Request.URL.Path
}

func (p program) post(t *testing.T, form url.Values) (status int) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url, strings.NewReader(form.Encode()))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := http.DefaultTransport.RoundTrip(request) // follows no redirection
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return response.StatusCode
}

func TestPage_Throttles(t *testing.T) {
	t.Parallel()
	p := start(t, "-tenants", "3")
	page, err := read(t.Context(), p.url)
	require.NoError(t, err)
	kinds := make(map[string]string)
	for _, throttle := range page.Throttles {
		kinds[throttle.Name] = throttle.Kind
	}
	assert.Equal(t, map[string]string{
		"reload": "throttler", "index": "throttler", "health": "throttler", "preview": "throttler", "feed": "throttler",
		"summary": "throttler", "import": "throttler", "journal": "coalescer", "refresh": "group",
	}, kinds)

	body, landed := get(t, strings.TrimSuffix(p.url, path)) // the root
	assert.Equal(t, path, landed)
	html, err := io.ReadAll(body)
	require.NoError(t, err)
	assert.Contains(t, string(html), "reload")
	p.end(t)
}

// The page shows recent runs and the keys of the group.
func TestPage_RunsAndTenants(t *testing.T) {
	t.Parallel()
	p := start(t, "-tenants", "1")
	require.Eventually(t, func() bool {
		page, err := read(t.Context(), p.url)
		if err != nil {
			return false
		}
		for _, throttle := range page.Throttles {
			if throttle.Keys != nil {
				return throttle.Keys.Held == 1 && throttle.Keys.First[0].Key == "tenant-0" && len(throttle.Recent) > 0
			}
		}
		return false
	}, patience, 20*time.Millisecond)
	p.end(t)
}

// In ten minutes everything happens that the page can show.
func TestWork_Drive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWork()
		defer w.close()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		w.drive(ctx, 8)
		tenants := slices.Sorted(w.refresh.Keys())
		require.NoError(t, w.shutdown(t.Context()))

		// The group may just have forgotten tenants that seldom ask.
		assert.Contains(t, tenants, "tenant-0")
		for _, tenant := range tenants {
			assert.Regexp(t, `^tenant-[0-7]$`, tenant)
		}
		assert.Positive(t, w.reload.Stats().Failures, "reload fails")
		assert.Positive(t, w.index.Stats().Runs, "index runs")
		assert.Positive(t, w.health.Stats().Panics, "health panics")
		assert.Positive(t, w.preview.Stats().Dropped, "preview drops calls")
		assert.Positive(t, w.feed.Stats().Runs, "feed runs")
		assert.Zero(t, w.feed.Stats().Failures, "RetryIn is no failure")
		assert.Positive(t, w.summary.Stats().Calls, "summary counts calls")
		assert.EqualValues(t, 1, w.imported.Stats().Runs, "import runs once")
		assert.Positive(t, w.journal.Stats().Failures, "journal fails")
		assert.Positive(t, w.refresh.Stats().Failures, "tenant-7 fails")
		assert.Less(t, w.refresh.Stats().Failures, w.refresh.Stats().Runs, "the others do not")
	})
}

func TestWork_Drive_OneTenant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWork()
		defer w.close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		w.drive(ctx, 1)
		assert.Equal(t, []string{"tenant-0"}, slices.Collect(w.refresh.Keys()))
	})
}

func TestPage_Actions(t *testing.T) {
	t.Parallel()
	p, armed := start(t), start(t, "-actions")
	form := url.Values{"part": {"0"}, "action": {"cancel"}}
	assert.Equal(t, http.StatusMethodNotAllowed, p.post(t, form))
	assert.Equal(t, http.StatusSeeOther, armed.post(t, form))
	armed.interrupt() // so that both end at the same time
	p.end(t)
	armed.end(t)
}

// A page that stays open, as in a browser, does not delay the end.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	p := start(t)
	body, _ := get(t, p.url+"?format=events")
	events := bufio.NewReader(body)
	_, err := events.ReadString('\n')
	require.NoError(t, err)
	p.end(t)
	_, err = io.Copy(io.Discard, events)
	require.NoError(t, err)
}

func TestWork_Check(t *testing.T) {
	w := newWork()
	defer w.close()
	w.reload.Call()
	w.imported.Call()
	require.NoError(t, w.imported.Shutdown(t.Context()))
	require.NoError(t, w.shutdown(t.Context()))
	s, err := serve("127.0.0.1:0", w.page(false))
	require.NoError(t, err)
	right, err := read(t.Context(), s.url)
	require.NoError(t, err)
	require.NoError(t, s.shutdown(t.Context()))
	require.NoError(t, w.check(right))

	for name, spoil := range map[string]func(*throttledebug.Page){
		"runs of reload":        func(p *throttledebug.Page) { p.Throttles[0].Runs++ },
		"does not show refresh": func(p *throttledebug.Page) { p.Throttles = p.Throttles[:len(p.Throttles)-1] },
		"too many":              func(p *throttledebug.Page) { p.Throttles = append(p.Throttles, p.Throttles[0]) },
		`"other" too many`:      func(p *throttledebug.Page) { p.Throttles[0].Name = "other" },
		"index as idle":         func(p *throttledebug.Page) { p.Throttles[1].State = throttledebug.Idle },
	} {
		t.Run(name, func(t *testing.T) {
			page := right
			page.Throttles = slices.Clone(right.Throttles)
			spoil(&page)
			assert.ErrorContains(t, w.check(page), name)
		})
	}
}
