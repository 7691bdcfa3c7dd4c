package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

func TestDemonstration(t *testing.T) {
	var out bytes.Buffer
	err := run(t.Context(), []string{"-duration", "300ms", "-clients", "40", "-tenants", "4"}, &out)
	require.NoError(t, err, out.String())
	for _, pattern := range []string{
		`^40 clients ask http://127\.0\.0\.1:\d+ for items of 4 tenants for 300ms, one query in 10 fails\n`,
		`\nrequests +[1-9]\d* +\d+ per second`,
		`\nqueries +[1-9]\d* +one for [\d.]+ requests, up to [1-4] at a time, \d+ failed\n`,
		`\nlargest batch +[1-9]\d* +requests`,
		`\nlongest wait +[\d.]+m?s +from a request`,
		`\ncalls +[▁▂▃▄▅▆▇█]`,
		`\nruns +[█✗]`,
	} {
		assert.Regexp(t, pattern, out.String())
	}
}

func TestRun_Interrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	require.NoError(t, run(ctx, []string{"-duration", "1h"}, io.Discard))
}

func TestRun_BrokenOutput(t *testing.T) {
	require.ErrorIs(t, run(t.Context(), nil, broken{}), errBrokenOutput)
}

var errBrokenOutput = errors.New("broken")

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errBrokenOutput }

// A script is a database in a test. A query takes a second.
type script struct {
	queries [][]int
	err     error // of every query
	panics  bool
}

func (s *script) query(ctx context.Context, tenant string, ids []int) (map[int]string, error) {
	s.queries = append(s.queries, ids)
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s.panics {
		panic("broken")
	}
	found := make(map[int]string)
	for _, id := range ids {
		if id != 404 {
			found[id] = itemOf(tenant, id)
		}
	}
	return found, s.err
}

// An outcome is what a load returned.
type outcome struct {
	item string
	err  error
}

// loadAll loads items, one after the other, and returns the outcomes once all are there.
func loadAll(ctx context.Context, l *loader, ids ...int) func() []outcome {
	outcomes := make([]outcome, len(ids))
	var loads sync.WaitGroup
	for i, id := range ids {
		loads.Go(func() { outcomes[i].item, outcomes[i].err = l.load(ctx, "acme", id) })
		synctest.Wait()
	}
	return func() []outcome {
		loads.Wait()
		return outcomes
	}
}

func TestLoader(t *testing.T) {
	tests := map[string]struct {
		script script
		check  func(t *testing.T, l *loader, s *script)
	}{
		"requests share a query": {script{}, func(t *testing.T, l *loader, s *script) {
			t.Helper()
			for i, o := range loadAll(t.Context(), l, 1, 2, 3, 2)() {
				require.Equal(t, outcome{itemOf("acme", []int{1, 2, 3, 2}[i]), nil}, o)
			}
			require.Equal(t, [][]int{{1}, {2, 3}}, s.queries)
		}},
		"an unknown item": {script{}, func(t *testing.T, l *loader, _ *script) {
			t.Helper()
			outcomes := loadAll(t.Context(), l, 1, 404, 2)()
			require.NoError(t, outcomes[0].err)
			require.ErrorIs(t, outcomes[1].err, errUnknown)
			require.NoError(t, outcomes[2].err)
		}},
		"a failed query": {script{err: errBroken}, func(t *testing.T, l *loader, s *script) {
			t.Helper()
			for _, o := range loadAll(t.Context(), l, 1, 2)() {
				require.ErrorIs(t, o.err, errBroken)
			}
			require.Equal(t, [][]int{{1}, {1}, {1}, {2}, {2}, {2}}, s.queries)
		}},
		"a panic": {script{panics: true}, func(t *testing.T, l *loader, _ *script) {
			t.Helper()
			var panicked *throttle.PanicError
			require.ErrorAs(t, loadAll(t.Context(), l, 1)()[0].err, &panicked)
		}},
		"a client that is gone": {script{}, func(t *testing.T, l *loader, _ *script) {
			t.Helper()
			ctx, cancel := context.WithCancel(t.Context())
			gone, patient := loadAll(ctx, l, 1, 2), loadAll(t.Context(), l, 2)
			cancel()
			for _, o := range gone() {
				require.ErrorIs(t, o.err, context.Canceled)
			}
			require.NoError(t, patient()[0].err)
		}},
		"close": {script{}, func(t *testing.T, l *loader, s *script) {
			t.Helper()
			waiting := loadAll(t.Context(), l, 1, 2)
			require.NoError(t, l.close(t.Context()))
			for _, o := range waiting() {
				require.Error(t, o.err)
			}
			require.ErrorIs(t, loadAll(t.Context(), l, 3)()[0].err, throttle.ErrClosed)
			require.Equal(t, [][]int{{1}}, s.queries)
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, err := newLoader(test.script.query)
				require.NoError(t, err)
				test.check(t, l, &test.script)
				require.NoError(t, l.close(t.Context()))
			})
		})
	}
}

func TestServer(t *testing.T) {
	s, err := newServer(newDatabase(), throttle.WithMaxKeys(1))
	require.NoError(t, err)
	// The loader must hold the first tenant during the whole test, so its window is an hour.
	policy := s.loader.requests.Policy()
	policy.Interval, policy.Burst = time.Hour, 10
	require.NoError(t, s.loader.requests.SetPolicy(policy))
	get := func(path string) (status int, body string) {
		response := httptest.NewRecorder()
		s.http.Handler.ServeHTTP(response, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody))
		return response.Code, response.Body.String()
	}
	status, body := get("/acme/7")
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, "item 7 of acme", body)
	status, _ = get("/acme/1000")
	assert.Equal(t, http.StatusNotFound, status)
	status, _ = get("/acme/seven")
	assert.Equal(t, http.StatusBadRequest, status)
	status, body = get("/other/7")
	assert.Equal(t, http.StatusServiceUnavailable, status)
	assert.Contains(t, body, "too many keys")

	s.loader.query = func(context.Context, string, []int) (map[int]string, error) { return nil, errBroken }
	status, _ = get("/acme/7")
	assert.Equal(t, http.StatusBadGateway, status)
	require.NoError(t, s.stop(t.Context()))
	status, _ = get("/acme/7")
	assert.Equal(t, http.StatusServiceUnavailable, status)
}

// The program notices answers that are wrong or missing, and queries that came too soon.
func TestAsk(t *testing.T) {
	answers := map[string]http.HandlerFunc{
		"wrong": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "item 8 of acme") },
		"error": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "item 7 of acme", http.StatusBadGateway) },
		"empty": func(http.ResponseWriter, *http.Request) {},
		"none":  func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(answer)
			defer server.Close()
			require.Error(t, ask(server.Client(), server.URL, "acme", 7))
			_, err := drive(t.Context(), server.URL, config{duration: time.Hour, clients: 2, tenants: 1})
			require.Error(t, err)
		})
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	require.Error(t, ask(http.DefaultClient, "http://"+listener.Addr().String(), "acme", 7))
}

func TestServer_Report(t *testing.T) {
	var tooMany []string
	for tenant := range connections + 1 {
		tooMany = append(tooMany, nameOf(tenant))
	}
	tests := map[string]struct {
		tenants  []string // that are active at the same time
		answered uint64
		wrong    bool
	}{
		"right":            {[]string{"a", "b"}, 1, false},
		"one tenant twice": {[]string{"a", "a"}, 1, true},
		"too many":         {tooMany, 1, true},
		"a missing answer": {nil, 0, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			d := newDatabase()
			s, err := newServer(d)
			require.NoError(t, err)
			s.recorder.answered(time.Second)
			for _, tenant := range test.tenants {
				d.enter(tenant)
			}
			err = s.report(io.Discard, d, test.answered, 1)
			assert.Equal(t, test.wrong, err != nil, err)
			require.NoError(t, s.stop(t.Context()))
		})
	}
}
