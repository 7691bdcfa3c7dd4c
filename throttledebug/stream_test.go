package throttledebug_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/throttledebug"
)

// An event is an event of the stream.
type event struct {
	Retry, Now, Rest int64 // in ms
	HTML             string
}

// parse returns the events in stream.
func parse(t *testing.T, stream string) []event {
	t.Helper()
	var events []event
	for line := range strings.SplitSeq(strings.TrimSuffix(stream, "\n\n"), "\n\n") {
		var e event
		retry, data, ok := strings.Cut(line, "\ndata: ")
		require.True(t, ok, line)
		_, err := fmt.Sscanf(retry, "retry: %d", &e.Retry)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal([]byte(data), &e))
		events = append(events, e)
	}
	return events
}

// watch returns the events that an open page receives during d.
func watch(t *testing.T, handler http.Handler, d time.Duration) []event {
	t.Helper()
	ctx, closePage := context.WithCancel(t.Context())
	answer := httptest.NewRecorder()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/?format=events", http.NoBody).WithContext(ctx))
	}()
	time.Sleep(d)
	closePage()
	<-ended
	assert.Equal(t, "text/event-stream", answer.Header().Get("Content-Type"))
	return parse(t, answer.Body.String())
}

func TestStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reload := newThrottler(t, throttle.Debounce(90*time.Minute, 0), func() {})
		handler := throttledebug.Handler(throttledebug.Throttler(reload))
		begin := time.Now().UnixMilli()
		time.AfterFunc(2500*ms, reload.Call)
		events := watch(t, handler, 5500*ms)
		require.Len(t, events, 6)
		var changed []bool
		for i, e := range events {
			assert.Equal(t, begin+int64(1000*i), e.Now)
			assert.EqualValues(t, 1000, e.Rest)
			assert.EqualValues(t, 2000, e.Retry)
			changed = append(changed, e.HTML != "")
		}
		// The run is due later than the strip shows, so the drawing does not change.
		assert.Equal(t, []bool{true, false, false, true, false, false}, changed)
		assert.Contains(t, events[0].HTML, "idle</span>")
		assert.Contains(t, events[3].HTML, "waiting</span>")
		assert.True(t, strings.HasPrefix(events[3].HTML, "<main>") && strings.HasSuffix(events[3].HTML, "</main>"))
	})
}

func TestStream_Search(t *testing.T) {
	group := newGroup[string](t, throttle.Every(time.Hour))
	require.NoError(t, group.Do(t.Context(), "alice"))
	require.NoError(t, group.Do(t.Context(), "bob"))
	server := httptest.NewServer(throttledebug.Handler(throttledebug.Group(group)))
	defer server.Close()
	response, err := http.Get(server.URL + "?format=events&q0=bo")
	require.NoError(t, err)
	defer response.Body.Close()
	lines := bufio.NewReader(response.Body)
	_, err = lines.ReadString('\n') // retry
	require.NoError(t, err)
	data, err := lines.ReadString('\n')
	require.NoError(t, err)
	assert.Contains(t, data, `data-key=\"bob\"`)
	assert.NotContains(t, data, "alice")
}

// A slow is a key whose String method takes a while.
type slow struct{}

func (slow) String() string {
	time.Sleep(500 * ms)
	return "slow"
}

// If reading the parts takes long, the stream reads them less often.
func TestStream_SlowPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		group := newGroup[slow](t, throttle.Every(time.Hour))
		require.NoError(t, group.Do(t.Context(), slow{}))
		events := watch(t, throttledebug.Handler(throttledebug.Group(group)), 55*time.Second)
		require.Len(t, events, 6)
		for i, e := range events[1:] {
			assert.EqualValues(t, 10_000, e.Now-events[i].Now)
			assert.EqualValues(t, 10_000, e.Rest)
			assert.EqualValues(t, 9500, e.Retry, "browsers reconnect no more often")
		}
	})
}

func TestStream_WriteTimeout(t *testing.T) {
	const timeout = 50 * ms
	reload := newThrottler(t, throttle.Every(time.Hour), func() {})
	server := httptest.NewUnstartedServer(throttledebug.Handler(throttledebug.Throttler(reload)))
	server.Config.WriteTimeout = timeout
	server.Start()
	defer server.Close()
	response, err := http.Get(server.URL + "?format=events")
	require.NoError(t, err)
	defer response.Body.Close()
	events := 0
	for lines := bufio.NewScanner(response.Body); events < 3 && lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "data: ") {
			events++
		}
	}
	assert.Equal(t, 3, events)
}

// A deadlineRecorder is a response that records its write deadlines.
type deadlineRecorder struct {
	*httptest.ResponseRecorder

	deadlines []time.Time
}

func (r *deadlineRecorder) SetWriteDeadline(t time.Time) error {
	r.deadlines = append(r.deadlines, t)
	return nil
}

// A stream has a deadline only while it writes. With HTTP/2, a deadline that passes between
// two writes ends the stream.
func TestStream_WriteDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 1500*ms)
		defer cancel()
		answer, begin := &deadlineRecorder{ResponseRecorder: httptest.NewRecorder()}, time.Now()
		throttledebug.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/?format=events", http.NoBody).WithContext(ctx))
		assert.Equal(t, []time.Time{begin.Add(10 * time.Second), {}, begin.Add(11 * time.Second), {}}, answer.deadlines)
	})
}

// An unflushable hides the Flush method of a ResponseWriter, as some middleware does.
type unflushable struct{ http.ResponseWriter }

func TestStream_WithoutFlush(t *testing.T) {
	handler := throttledebug.Handler()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(unflushable{w}, r)
	}))
	defer server.Close()
	response, err := http.Get(server.URL + "?format=events")
	require.NoError(t, err)
	assert.Len(t, parse(t, body(t, response)), 1)
}

func TestStream_ServerShutdown(t *testing.T) {
	handler := throttledebug.Handler()
	for range 2 { // servers
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		server := &http.Server{Handler: handler}
		var all sync.WaitGroup
		all.Go(func() { assert.ErrorIs(t, server.Serve(listener), http.ErrServerClosed) })
		url := "http://" + listener.Addr().String() + "?format=events"
		for range 2 { // pages
			response, err := http.Get(url)
			require.NoError(t, err)
			defer response.Body.Close()
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		require.NoError(t, server.Shutdown(ctx))
		require.NoError(t, server.Shutdown(ctx))
		cancel()
		all.Wait()
	}
}

func TestStream_Head(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer, begin := httptest.NewRecorder(), time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		throttledebug.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodHead, "/?format=events", http.NoBody).WithContext(ctx))
		assert.Zero(t, time.Since(begin))
		assert.Empty(t, answer.Body)
		assert.Equal(t, "text/event-stream", answer.Header().Get("Content-Type"))
		assert.Equal(t, "no", answer.Header().Get("X-Accel-Buffering"))
	})
}
