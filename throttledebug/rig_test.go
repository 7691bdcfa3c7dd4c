package throttledebug_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/throttledebug"
)

const ms = time.Millisecond

var errFailed = errors.New("failed")

// get returns the response of handler to a GET request with query.
func get(t *testing.T, handler http.Handler, query string) *httptest.ResponseRecorder {
	t.Helper()
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/debug/throttle"+query, http.NoBody))
	require.Equal(t, http.StatusOK, answer.Code, answer.Body)
	return answer
}

// html returns the page.
func html(t *testing.T, options ...throttledebug.Option) string {
	t.Helper()
	return get(t, throttledebug.Handler(options...), "").Body.String()
}

// look returns the page as decoded JSON.
func look(t *testing.T, query string, options ...throttledebug.Option) throttledebug.Page {
	t.Helper()
	return decode(t, throttledebug.Handler(options...), query)
}

// decode returns the page that handler serves as JSON.
func decode(t *testing.T, handler http.Handler, query string) throttledebug.Page {
	t.Helper()
	answer := get(t, handler, "?format=json"+query)
	require.Equal(t, "application/json", answer.Header().Get("Content-Type"))
	var page throttledebug.Page
	decoder := json.NewDecoder(answer.Body)
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&page))
	return page
}

// lookAt returns the only throttle of the page.
func lookAt(t *testing.T, options ...throttledebug.Option) throttledebug.Throttle {
	t.Helper()
	page := look(t, "", options...)
	require.Len(t, page.Throttles, 1)
	return page.Throttles[0]
}

// post returns the response of handler to a POST request with form.
func post(handler http.Handler, form url.Values, header http.Header) *httptest.ResponseRecorder {
	request := httptest.NewRequest(http.MethodPost, "/debug/throttle?q0=a", strings.NewReader(form.Encode()))
	request.Header = header.Clone()
	if request.Header == nil {
		request.Header = make(http.Header)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, request)
	return answer
}

// quietly returns the option that discards the errors of runs.
func quietly() throttle.Option { return throttle.WithErrorHandler(func(error) {}) }

// newThrottler returns a Throttler that is closed at the end of the test. It discards the
// errors of its runs.
func newThrottler[F throttle.Callback](t *testing.T, p throttle.Policy, fn F, options ...throttle.Option) *throttle.Throttler {
	t.Helper()
	throttler, err := throttle.New(p, fn, append(options, quietly())...)
	require.NoError(t, err)
	t.Cleanup(func() { throttler.Close() })
	return throttler
}

// newGroup returns a Group whose callback does nothing. It is closed at the end of the test.
func newGroup[K comparable](t *testing.T, p throttle.Policy, options ...throttle.Option) *throttle.Group[K] {
	t.Helper()
	group, err := throttle.NewGroup(p, func(context.Context, K) error { return nil }, options...)
	require.NoError(t, err)
	t.Cleanup(func() { group.Close() })
	return group
}

// newKeyed returns a KeyedCoalescer that keeps all values. It is closed at the end of the
// test. It discards the errors of its runs.
func newKeyed[V any](t *testing.T, p throttle.Policy, fn func(ctx context.Context, key string, all []V) error, options ...throttle.Option) *throttle.KeyedCoalescer[string, V, []V] {
	t.Helper()
	keyed, err := throttle.NewKeyedCoalescer(p, throttle.Batch[V](), fn, append(options, quietly())...)
	require.NoError(t, err)
	t.Cleanup(func() { keyed.Close() })
	return keyed
}

// body reads the body of response and closes it.
func body(t *testing.T, response *http.Response) string {
	t.Helper()
	read, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return string(read)
}
