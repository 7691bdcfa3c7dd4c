package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/internal/timeline"
)

func TestDemonstration(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"-duration", "300ms"}, &out), out.String())
	for _, pattern := range []string{
		`^8 clients, 20 tenants, at most one refresh per tenant in 200ms\n`,
		`\nrequests +[1-9]\d*\n`,
		`\nrefreshes +[1-9]\d* +one for \d+ requests, up to [1-3] at a time\n`,
		`\nheld +\d+ +tenants while`,
		`\nruns .*█`,
	} {
		assert.Regexp(t, pattern, out.String())
	}
}

func TestServer(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/known" {
			http.NotFound(w, r)
			return
		}
		_, err := io.WriteString(w, "data")
		assert.NoError(t, err)
	}))
	defer upstream.Close()
	s, err := newServer(upstream.URL, throttle.WithMaxKeys(2))
	require.NoError(t, err)
	ask := func(tenant string) (status int, body string) {
		response := httptest.NewRecorder()
		s.ServeHTTP(response, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/"+tenant, http.NoBody))
		return response.Code, response.Body.String()
	}
	// The group must hold both keys during the whole test, so their window is an hour.
	require.NoError(t, s.refreshes.SetPolicy(throttle.Every(time.Hour)))

	status, body := ask("known")
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, "data", body)
	status, body = ask("unknown")
	assert.Equal(t, http.StatusBadGateway, status)
	assert.Contains(t, body, "unknown: GET")
	status, body = ask("one-too-many")
	assert.Equal(t, http.StatusServiceUnavailable, status)
	assert.Contains(t, body, "too many keys")
	status, _ = ask("known")
	assert.Equal(t, http.StatusOK, status, "from the cache")

	require.NoError(t, s.refreshes.Close())
	status, _ = ask("known")
	assert.Equal(t, http.StatusServiceUnavailable, status)
}

func TestBackend_Check(t *testing.T) {
	b := newBackend()
	at := func(d time.Duration) timeline.Run {
		return timeline.Run{Span: timeline.Span{Start: d, End: d + time.Millisecond}}
	}
	tests := map[string]struct {
		fetches fetches
		asked   time.Duration
		wrong   bool
	}{
		"in time":     {fetches{runs: []timeline.Run{at(1), at(1 + interval)}}, 2, false},
		"never":       {fetches{}, 0, true},
		"too often":   {fetches{runs: []timeline.Run{at(1), at(interval - 1)}}, 2, true},
		"too early":   {fetches{runs: []timeline.Run{at(1)}}, 2, true},
		"overlapping": {fetches{runs: []timeline.Run{at(1), at(1 + interval)}, overlap: true}, 2, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := b.check("acme", &test.fetches, []time.Time{b.begun, b.begun.Add(test.asked)})
			assert.Equal(t, test.wrong, err != nil, err)
		})
	}
}

func TestRun_Interrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, run(ctx, nil, io.Discard), context.Canceled)
}
