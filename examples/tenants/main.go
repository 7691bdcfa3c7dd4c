// Command tenants is an HTTP server with a cache per tenant. Every request asks to
// fetch the tenant's data again from a slow backend. This happens at most once per
// tenant and interval, and for at most three tenants at a time. The first requests for
// a tenant wait for the data; later ones are answered from the cache at once.
//
//	go run ./examples/tenants
//
// lets clients ask for twenty tenants, some more often than others. It fails if the
// backend was asked too often, if no refresh followed a request, or if the group still
// holds a tenant long after the last request. The timeline shows the tenant with most
// requests:
//
//	8 clients, 20 tenants, at most one refresh per tenant in 200ms
//
//	requests     3915
//	refreshes     174   one for 22 requests, up to 3 at a time
//	held           20   tenants while there were requests, and none afterwards
//
//	calls    ▂▁▂ ▁▁▃▂▅▄▆▁▂▄▆▄▄▄▅▄▄▇▆▅▄▄▅▆▄▅█▆▂▅▅▅▆▄█▄▅▄▄▇▆▅▄▃▇▄▃▅▄▆▄▇▄█▄▄▄▇▄▆
//	runs     █        █       █▒       █        █        █       █▒       █▒       █
//	        ┬───────┬────────┬────────┬────────┬───────┬────────┬───────┬────────┬──
//	        0ms     200ms    400ms    600ms   800ms    1000ms   1200ms  1400ms
//	        a full block is 13 calls
//
// Copy from server.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/throttle-go/throttle/internal/flags"
)

const (
	tenants    = 20
	clients    = 8
	interval   = 200 * time.Millisecond // between two refreshes of a tenant
	concurrent = 3                      // most refreshes at a time
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	flags.Exit("tenants", err)
}

// run is the whole program.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	set := flag.NewFlagSet("tenants", flag.ContinueOnError)
	duration := set.Duration("duration", 1500*time.Millisecond, "how long the clients work")
	err := flags.Parse(set, args, stdout, func() error {
		if *duration < 0 {
			return fmt.Errorf("-duration is %v, must not be negative", *duration)
		}
		return nil
	})
	if err != nil {
		return err
	}
	b := newBackend()
	upstream := httptest.NewServer(b)
	defer upstream.Close()
	s, err := newServer(upstream.URL)
	if err != nil {
		return err
	}
	front := httptest.NewServer(s)
	defer front.Close()
	// Without clients nobody needs a refresh any more: Close drops pending ones.
	defer s.refreshes.Close()

	_, err = fmt.Fprintf(stdout, "%d clients, %d tenants, at most one refresh per tenant in %v\n\n", clients, tenants, interval)
	if err != nil {
		return err
	}
	requests, err := drive(ctx, front.URL, *duration)
	if err != nil {
		return err
	}
	held := s.refreshes.Len()
	if err := waitUntilForgotten(ctx, s); err != nil {
		return err
	}
	return b.report(stdout, requests, held)
}

// waitUntilForgotten waits until the group holds no tenant: pending refreshes have run,
// and all windows are over.
func waitUntilForgotten(ctx context.Context, s *server) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for s.refreshes.Len() > 0 {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%d tenants are still held: %w", s.refreshes.Len(), ctx.Err())
		}
	}
	return nil
}

// A requestLog records when clients asked for each tenant.
type requestLog struct {
	mu sync.Mutex // guards the field below

	// +checklocks:mu
	times map[string][]time.Time
}

func (l *requestLog) add(tenant string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.times[tenant] = append(l.times[tenant], time.Now())
}

// drive lets clients ask for tenants for a while, or until ctx ends, and returns the
// times of the requests for each tenant.
func drive(ctx context.Context, url string, duration time.Duration) (map[string][]time.Time, error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	defer client.CloseIdleConnections()
	requests := &requestLog{times: make(map[string][]time.Time)}
	end := time.Now().Add(duration)
	work := func() error {
		for time.Now().Before(end) {
			tenant := fmt.Sprintf("tenant-%d", min(rand.IntN(tenants), rand.IntN(tenants)))
			requests.add(tenant)
			if _, err := get(ctx, client, url+"/"+tenant); err != nil {
				return err
			}
			time.Sleep(rand.N(4 * time.Millisecond))
		}
		return nil
	}
	results := make(chan error, clients)
	for range clients {
		go func() { results <- work() }()
	}
	var err error
	for range clients {
		err = errors.Join(err, <-results)
	}
	requests.mu.Lock()
	defer requests.mu.Unlock()
	return requests.times, err
}
