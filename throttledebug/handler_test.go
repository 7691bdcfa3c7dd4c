package throttledebug_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/throttledebug"
)

func TestHandler_Methods(t *testing.T) {
	reload := newThrottler(t, throttle.Debounce(time.Hour, 0), func() {})
	reload.Call()
	for allow, handler := range map[string]http.Handler{
		"GET, HEAD":       throttledebug.Handler(throttledebug.Throttler(reload)),
		"GET, HEAD, POST": throttledebug.Handler(throttledebug.Throttler(reload), throttledebug.Actions()),
	} {
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions, "get"} {
			if strings.Contains(allow, method) {
				continue
			}
			answer := httptest.NewRecorder()
			request := httptest.NewRequest(method, "/", strings.NewReader("part=0&action=cancel"))
			request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			handler.ServeHTTP(answer, request)
			assert.Equal(t, http.StatusMethodNotAllowed, answer.Code, method)
			assert.Equal(t, allow, answer.Header().Get("Allow"))
		}
	}
	assert.True(t, reload.Stats().Pending)
	assert.NotContains(t, html(t, throttledebug.Throttler(reload)), "<button name=")
	assert.NotContains(t, html(t, throttledebug.Throttler(reload)), `method="post"`)
}

func TestHandler_Formats(t *testing.T) {
	server := httptest.NewServer(throttledebug.Handler())
	defer server.Close()
	for format, kind := range map[string]string{"": "text/html; charset=utf-8", "json": "application/json"} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			request, err := http.NewRequestWithContext(t.Context(), method, server.URL+"/any/path?format="+format, http.NoBody)
			require.NoError(t, err)
			response, err := http.DefaultClient.Do(request)
			require.NoError(t, err)
			assert.Equal(t, method == http.MethodHead, body(t, response) == "")
			assert.Equal(t, http.StatusOK, response.StatusCode)
			assert.Equal(t, kind, response.Header.Get("Content-Type"))
			assert.Equal(t, "no-store", response.Header.Get("Cache-Control"))
			assert.Equal(t, "nosniff", response.Header.Get("X-Content-Type-Options"))
		}
	}
	response, err := http.Get(server.URL + "?format=xml")
	require.NoError(t, err)
	assert.Contains(t, body(t, response), "format must be")
	assert.Equal(t, http.StatusBadRequest, response.StatusCode)
}

// The page may load nothing, and runs only its own script.
func TestHandler_ContentSecurityPolicy(t *testing.T) {
	answer := get(t, throttledebug.Handler(), "")
	policy := answer.Header().Get("Content-Security-Policy")
	for _, kind := range []string{"style", "script"} {
		found := regexp.MustCompile(`(?s)<`+kind+`>(.*?)</`+kind+`>`).FindAllStringSubmatch(answer.Body.String(), -1)
		require.Len(t, found, 1)
		sum := sha256.Sum256([]byte(found[0][1]))
		assert.Contains(t, policy+";", kind+"-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"';")
	}
	for _, directive := range []string{"default-src 'none'", "connect-src 'self'", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"} {
		assert.Contains(t, policy+";", directive+";")
	}
	assert.NotContains(t, policy, "unsafe")
	assert.Equal(t, "same-origin", answer.Header().Get("Referrer-Policy"))
	assert.NotRegexp(t, `(?i)(src|href|action)="(/|http)`, answer.Body.String())
}

func TestGroup_Search(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		group := newGroup[string](t, throttle.Every(time.Hour))
		begin := time.Now().UTC()
		for _, key := range []string{"Bob", "alice", "carol", "bobby"} {
			require.NoError(t, group.Do(t.Context(), key))
		}
		require.NoError(t, group.Call("Bob"))
		synctest.Wait()
		show := throttledebug.Group(group)
		keys := func(query string) *throttledebug.Keys {
			return look(t, "&q0="+url.QueryEscape(query), show).Throttles[0].Keys
		}
		idle := throttledebug.Status{State: throttledebug.Idle, LastStart: begin}
		waiting := throttledebug.Status{State: throttledebug.Waiting, LastStart: begin, Next: begin.Add(time.Hour)}
		assert.Equal(t, &throttledebug.Keys{Held: 4, Matching: 4, First: []throttledebug.Key{
			{Key: "Bob", Status: waiting}, {Key: "alice", Status: idle}, {Key: "bobby", Status: idle}, {Key: "carol", Status: idle},
		}}, keys(""))
		assert.Equal(t, &throttledebug.Keys{Held: 4, Query: "bOb", Matching: 2, First: []throttledebug.Key{
			{Key: "Bob", Status: waiting}, {Key: "bobby", Status: idle},
		}}, keys("bOb"))
		assert.Equal(t, &throttledebug.Keys{Held: 4, Query: "dave", First: []throttledebug.Key{}}, keys("dave"))
		assert.Equal(t, "\uFFFD", keys("\xff").Query)
		other := look(t, "&q1=bob", show, show)
		assert.Equal(t, 4, other.Throttles[0].Keys.Matching)
		assert.Equal(t, 2, other.Throttles[1].Keys.Matching)

		page := get(t, throttledebug.Handler(show), "?q0=bob").Body.String()
		assert.Contains(t, page, `<label for="q0">search 4 keys</label>`)
		assert.Contains(t, page, `name="q0" value="bob" form="search"`)
		assert.Contains(t, page, `<p data-field="matching">2 found</p>`)
		assert.Contains(t, page, `<li data-key="Bob" class="waiting">`)
	})
}

func TestGroup_ManyKeys(t *testing.T) {
	group := newGroup[int](t, throttle.Every(time.Hour))
	for key := range 120 {
		require.NoError(t, group.Do(t.Context(), 199-key))
	}
	show := throttledebug.Group(group)
	keys := look(t, "&q0=1", show).Throttles[0].Keys
	assert.Equal(t, 102, keys.Matching) // 100 to 199, 81 and 91
	require.Len(t, keys.First, 50)
	assert.Equal(t, "81", keys.First[0].Key)
	assert.Equal(t, "91", keys.First[1].Key)
	assert.Equal(t, "147", keys.First[49].Key)
	assert.Contains(t, get(t, throttledebug.Handler(show), "?q0=1").Body.String(), `<p data-field="matching">102 found, the first 50 are shown</p>`)
	assert.Contains(t, html(t, show), `<p data-field="matching">the first 50 are shown</p>`)
}

func TestKeyed_Keys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rows := newKeyed(t, throttle.Policy{Quiet: time.Hour, MaxCalls: 2, MaxWait: time.Hour},
			func(context.Context, string, []int) error { return nil }, throttle.WithMaxPending(4))
		rows.Pause()
		for i, key := range []string{"acme", "acme", "acme", "globex", "initech"} {
			err := rows.Call(key, i)
			assert.Equal(t, key == "initech", errors.Is(err, throttle.ErrFull), err)
		}
		got := lookAt(t, throttledebug.Keyed(rows))
		assert.Equal(t, "keyed coalescer", got.Kind)
		assert.Equal(t, 3, got.Batches)
		assert.Equal(t, 4, got.Values)
		assert.EqualValues(t, 1, got.Refused)
		paused := throttledebug.Status{State: throttledebug.Paused}
		acme, globex := paused, paused
		acme.Batches, acme.Values = 2, 3
		globex.Batches, globex.Values = 1, 1
		first := []throttledebug.Key{{Key: "acme", Status: acme}, {Key: "globex", Status: globex}}
		require.GreaterOrEqual(t, len(got.Keys.First), 2)
		assert.Equal(t, first, got.Keys.First[:2])
		found := look(t, "&q0=EX", throttledebug.Keyed(rows)).Throttles[0].Keys
		assert.Equal(t, first[1:], found.First)

		page := html(t, throttledebug.Keyed(rows))
		assert.Contains(t, page, `data-kind="keyed coalescer">`)
		assert.Contains(t, page, `<dd data-field="values">4, batches: 3</dd>`)
		assert.Contains(t, page, `<dd data-field="refused">1</dd>`)
		assert.Contains(t, page, `<span data-field="waiting">values: 3, batches: 2</span>`)
		rows.Cancel("acme")
		assert.Contains(t, html(t, throttledebug.Keyed(rows)), `<span data-field="waiting"></span>`)
	})
}

func TestKeyed_Actions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		delivered := make(map[string][]int)
		rows := newKeyed(t, throttle.Debounce(time.Hour, 0), func(_ context.Context, key string, all []int) error {
			delivered[key] = append(delivered[key], all...)
			if key == "fragile" {
				return errFailed
			}
			return nil
		})
		for i, key := range []string{"a", "b", "a", "fragile", "c"} {
			require.NoError(t, rows.Call(key, i))
		}
		handler := throttledebug.Handler(throttledebug.Keyed(rows), throttledebug.Actions())
		act := func(action, key string) int {
			return post(handler, url.Values{"part": {"0"}, "action": {action}, "key": {key}}, nil).Code
		}
		assert.Equal(t, http.StatusSeeOther, act("flush", "a"))
		assert.Equal(t, http.StatusSeeOther, act("cancel", "b"))
		assert.Equal(t, http.StatusInternalServerError, act("flush", "fragile"))
		assert.Equal(t, http.StatusNotFound, act("flush", "other"))
		assert.Equal(t, map[string][]int{"a": {0, 2}, "fragile": {3}}, delivered)
		assert.Equal(t, 1, rows.Stats().Values, "c still waits")

		const buttons = `<button name="action" value="flush">flush</button> <button name="action" value="cancel">cancel</button></form>`
		assert.Contains(t, get(t, handler, "").Body.String(),
			`<form method="post"><input type="hidden" name="part" value="0"><input type="hidden" name="key" value="c">`+buttons)
		assert.Len(t, rows.Cancel("c"), 1)
	})
}

func TestHandler_Actions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		reload := newThrottler(t, throttle.Debounce(time.Hour, 0), func() error {
			runs++
			if runs > 1 {
				return errFailed
			}
			return nil
		})
		group := newGroup[string](t, throttle.Every(time.Hour))
		var dropped []int
		values := throttle.Must(throttle.NewCoalescer(throttle.Debounce(time.Hour, 0), throttle.Latest[int](),
			func(_ context.Context, v int) error { dropped = append(dropped, v); return nil }))
		t.Cleanup(func() { values.Close() })
		handler := throttledebug.Handler(throttledebug.Throttler(reload), throttledebug.Group(group), throttledebug.Coalescer(values), throttledebug.Actions())
		act := func(part, action, key string) *httptest.ResponseRecorder {
			return post(handler, url.Values{"part": {part}, "action": {action}, "key": {key}}, nil)
		}
		done := func(answer *httptest.ResponseRecorder) {
			assert.Equal(t, http.StatusSeeOther, answer.Code, answer.Body)
			assert.Equal(t, "?q0=a", answer.Header().Get("Location"))
		}

		reload.Call()
		done(act("0", "flush", ""))
		assert.Equal(t, 1, runs)
		done(act("0", "flush", ""))
		assert.Equal(t, 1, runs, "nothing was pending")
		reload.Call()
		done(act("0", "cancel", ""))
		assert.False(t, reload.Stats().Pending)
		reload.Call()
		failed := act("0", "flush", "")
		assert.Equal(t, http.StatusInternalServerError, failed.Code)
		assert.Equal(t, "failed\n", failed.Body.String())

		for _, key := range []string{"a", "b"} {
			require.NoError(t, group.Do(t.Context(), key))
			require.NoError(t, group.Call(key))
		}
		pending := func(key string) bool {
			stats, _ := group.KeyStats(key)
			return stats.Pending
		}
		done(act("1", "flush", "a"))
		assert.False(t, pending("a"))
		assert.True(t, pending("b"))
		assert.EqualValues(t, 3, group.Stats().Runs)
		done(act("1", "cancel", "b"))
		assert.False(t, pending("b"))
		assert.EqualValues(t, 3, group.Stats().Runs)
		unknown := act("1", "flush", "c")
		assert.Equal(t, http.StatusNotFound, unknown.Code)
		assert.Equal(t, "no such key is held\n", unknown.Body.String())

		require.NoError(t, values.Call(7))
		done(act("2", "flush", ""))
		require.NoError(t, values.Call(8))
		done(act("2", "cancel", ""))
		assert.Equal(t, []int{7}, dropped)
		assert.False(t, values.Stats().Pending)

		for _, part := range []string{"", "-1", "3", "x", "99999999999999999999"} {
			assert.Equal(t, http.StatusNotFound, act(part, "flush", "").Code, part)
		}
		assert.Equal(t, http.StatusBadRequest, act("0", "close", "").Code)
		assert.Equal(t, http.StatusBadRequest, act("0", "", "").Code)
		assert.Equal(t, http.StatusBadRequest, act("0", "flush", strings.Repeat("x", 64<<10)).Code)

		require.NoError(t, reload.Close())
		assert.Equal(t, http.StatusConflict, act("0", "flush", "").Code)
		done(act("0", "cancel", ""))
	})
}

// All twins have the same text.
type twin int

func (twin) String() string { return "twin" }

func TestHandler_ActionOnAmbiguousKey(t *testing.T) {
	group := newGroup[twin](t, throttle.Every(time.Hour))
	require.NoError(t, group.Do(t.Context(), 1))
	require.NoError(t, group.Do(t.Context(), 2))
	handler := throttledebug.Handler(throttledebug.Group(group), throttledebug.Actions())
	answer := post(handler, url.Values{"part": {"0"}, "action": {"flush"}, "key": {"twin"}}, nil)
	assert.Equal(t, http.StatusConflict, answer.Code)
	assert.Equal(t, "several keys have this text\n", answer.Body.String())
}

func TestHandler_FlushEndsWithItsRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		reload := newThrottler(t, throttle.Every(time.Hour), func() { <-release })
		handler := throttledebug.Handler(throttledebug.Throttler(reload), throttledebug.Actions())
		reload.Call()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		request := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("part=0&action=flush")).WithContext(ctx)
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, request)
		assert.Equal(t, http.StatusInternalServerError, answer.Code)
		close(release)
		synctest.Wait()
	})
}

func TestHandler_FlushIsCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reload := newThrottler(t, throttle.Policy{Retry: throttle.Backoff{Initial: time.Hour}}, func() error {
			time.Sleep(time.Second)
			return nil
		})
		handler := throttledebug.Handler(throttledebug.Throttler(reload), throttledebug.Actions())
		for _, drop := range []func(){func() { reload.Cancel() }, func() { reload.Close() }} {
			reload.Call()
			synctest.Wait()
			reload.Call() // behind the active run
			time.AfterFunc(time.Second/2, drop)
			answer := post(handler, url.Values{"part": {"0"}, "action": {"flush"}}, nil)
			assert.Equal(t, http.StatusConflict, answer.Code, answer.Body)
			time.Sleep(time.Second)
		}
	})
}

func TestHandler_CrossOriginAction(t *testing.T) {
	reload := newThrottler(t, throttle.Debounce(time.Hour, 0), func() {})
	handler := throttledebug.Handler(throttledebug.Throttler(reload), throttledebug.Actions())
	cancel := url.Values{"part": {"0"}, "action": {"cancel"}}
	reload.Call()
	for _, header := range []http.Header{
		{"Sec-Fetch-Site": {"cross-site"}},
		{"Sec-Fetch-Site": {"same-site"}},
		{"Origin": {"https://elsewhere.example"}},
		{"Origin": {"null"}},
	} {
		assert.Equal(t, http.StatusForbidden, post(handler, cancel, header).Code, header)
		assert.True(t, reload.Stats().Pending, header)
	}
	for _, header := range []http.Header{
		nil, // not a browser
		{"Sec-Fetch-Site": {"same-origin"}},
		{"Origin": {"http://example.com"}}, // httptest's
	} {
		reload.Call()
		assert.Equal(t, http.StatusSeeOther, post(handler, cancel, header).Code, header)
		assert.False(t, reload.Stats().Pending, header)
	}
}

func TestHandler_ActionButtons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		group := newGroup[string](t, throttle.Debounce(time.Hour, 0))
		reload := newThrottler(t, throttle.Every(time.Hour), func() { time.Sleep(time.Second) })
		show := []throttledebug.Option{throttledebug.Throttler(reload), throttledebug.Group(group), throttledebug.Actions()}
		const (
			part   = `<form method="post"><input type="hidden" name="part" value="0">`
			key    = `<form method="post"><input type="hidden" name="part" value="1"><input type="hidden" name="key" value="a&amp;b">`
			flush  = `<button name="action" value="flush">flush</button> `
			cancel = `<button name="action" value="cancel">cancel</button></form>`
		)
		offers := func(want ...string) {
			t.Helper()
			synctest.Wait()
			page := html(t, show...)
			for _, form := range want {
				assert.Contains(t, page, form)
			}
			assert.Equal(t, len(want), strings.Count(page, `<form method="post">`))
		}
		offers()
		require.NoError(t, group.Call("a&b"))
		offers(key + flush + cancel)
		group.Pause()
		offers(key + cancel) // a flush would wait for Resume
		group.Cancel("a&b")
		offers()

		reload.Call()
		offers() // a run is active, but nothing is pending
		reload.Call()
		offers(part + flush + cancel)
		ended := make(chan error)
		go func() { ended <- reload.Shutdown(t.Context()) }()
		offers(part + cancel) // Flush is refused, but the call still waits
		require.NoError(t, <-ended)
		offers()
	})
}

// The page works below any path, and so does the redirect after an action.
func TestHandler_AnyPath(t *testing.T) {
	reload := newThrottler(t, throttle.Every(time.Hour), func() {})
	mux := http.NewServeMux()
	mux.Handle("/a/", http.StripPrefix("/a", throttledebug.Handler(throttledebug.Throttler(reload), throttledebug.Actions())))
	server := httptest.NewServer(mux)
	defer server.Close()
	client := &http.Client{CheckRedirect: func(request *http.Request, _ []*http.Request) error {
		assert.Equal(t, server.URL+"/a/b?q0=x", request.URL.String())
		return nil
	}}
	response, err := client.PostForm(server.URL+"/a/b?q0=x", url.Values{"part": {"0"}, "action": {"flush"}})
	require.NoError(t, err)
	assert.Contains(t, body(t, response), `<section id="part-0"`)
	assert.Equal(t, http.StatusOK, response.StatusCode)
}
