package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/throttle-go/throttle/internal/timeline"
)

// A backend is the source of the data. It records the fetches of each tenant.
type backend struct {
	begun time.Time

	mu sync.Mutex // guards the fields below, and the fetches in seen

	// +checklocks:mu
	active int // number of active fetches
	// +checklocks:mu
	most int // largest number of active fetches
	// +checklocks:mu
	seen map[string]*fetches
}

// fetches are the fetches of one tenant.
type fetches struct {
	active  bool
	overlap bool // whether two were active at the same time
	runs    []timeline.Run
}

func newBackend() *backend { return &backend{begun: time.Now(), seen: make(map[string]*fetches)} }

// ServeHTTP answers after a while. It records the end of the fetch before the answer
// is sent, so the next fetch after an answer does not seem to overlap.
func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, start := b.enter(r.URL.Path[1:]), time.Since(b.begun)
	time.Sleep(5*time.Millisecond + rand.N(10*time.Millisecond))
	fmt.Fprintf(w, "data of %s", r.URL.Path[1:])
	b.leave(f, start)
}

func (b *backend) enter(tenant string) *fetches {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.active++
	b.most = max(b.most, b.active)
	f := b.seen[tenant]
	if f == nil {
		f = &fetches{}
		b.seen[tenant] = f
	}
	f.overlap = f.overlap || f.active
	f.active = true
	return f
}

func (b *backend) leave(f *fetches, start time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.active--
	f.active = false
	f.runs = append(f.runs, timeline.Run{Span: timeline.Span{Start: start, End: time.Since(b.begun)}})
}

// report prints the work that requests caused, and returns what went wrong. held is the
// number of tenants that the group held meanwhile.
func (b *backend) report(stdout io.Writer, requests map[string][]time.Time, held int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var err error
	var asked, fetched int
	var drawn timeline.Events
	for tenant, times := range requests {
		f := b.seen[tenant]
		if f == nil {
			f = &fetches{}
		}
		err = errors.Join(err, b.check(tenant, f, times))
		asked += len(times)
		fetched += len(f.runs)
		if len(times) > len(drawn.Calls) {
			drawn = b.events(f, times)
		}
	}
	if b.most > concurrent {
		err = errors.Join(err, fmt.Errorf("%d refreshes were active at the same time", b.most))
	}
	_, failed := fmt.Fprintf(stdout, `requests   %6d
refreshes  %6d   one for %d requests, up to %d at a time
held       %6d   tenants while there were requests, and none afterwards

%s`, asked, fetched, asked/max(fetched, 1), b.most, held, timeline.Text(drawn, 80))
	return errors.Join(err, failed)
}

// check returns what is wrong with f, the fetches of tenant, after requests at times.
func (b *backend) check(tenant string, f *fetches, times []time.Time) error {
	if len(f.runs) == 0 {
		return fmt.Errorf("%s was never refreshed", tenant)
	}
	last := f.runs[len(f.runs)-1].Start
	latest := times[len(times)-1].Sub(b.begun)
	// The backend sees a fetch a little after its run has started. Two fetches may seem
	// too close, but the time from the beginning to the last one is never too short.
	allowed := 1 + int(last/interval)
	switch {
	case f.overlap:
		return fmt.Errorf("%s was refreshed twice at the same time", tenant)
	case len(f.runs) > allowed:
		return fmt.Errorf("%s was refreshed %d times, more than %d", tenant, len(f.runs), allowed)
	case last < latest:
		return fmt.Errorf("%s was refreshed last at %v, but asked for at %v", tenant, last, latest)
	default:
		return nil
	}
}

// events returns the timeline of one tenant.
func (b *backend) events(f *fetches, times []time.Time) timeline.Events {
	e := timeline.Events{Runs: f.runs}
	for _, at := range times {
		e.Calls = append(e.Calls, at.Sub(b.begun))
	}
	return e
}
