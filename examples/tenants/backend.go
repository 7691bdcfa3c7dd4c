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

// A backend is where the data comes from. It takes note of who is fetched when.
type backend struct {
	begun time.Time

	mu sync.Mutex // guards the fields below, and what seen refers to

	// +checklocks:mu
	active int // fetches
	// +checklocks:mu
	most int // that were active at a time
	// +checklocks:mu
	seen map[string]*fetches
}

// fetches are those for one tenant.
type fetches struct {
	active  bool
	overlap bool // two were active at a time
	runs    []timeline.Run
}

func newBackend() *backend { return &backend{begun: time.Now(), seen: make(map[string]*fetches)} }

// ServeHTTP answers after a while. The answer is sent when the fetch is noted as
// over, so who fetches again after an answer is not seen as overlapping.
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

// report prints what there was to do for requests, and returns what should not
// have been. held is how many tenants were held in between.
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
		err = errors.Join(err, fmt.Errorf("%d refreshes were active at a time", b.most))
	}
	_, failed := fmt.Fprintf(stdout, `requests   %6d
refreshes  %6d   one for %d requests, up to %d at a time
held       %6d   tenants while there were requests, and none afterwards

%s`, asked, fetched, asked/max(fetched, 1), b.most, held, timeline.Text(drawn, 80))
	return errors.Join(err, failed)
}

// check returns what is wrong with f, the fetches for tenant, which was asked for
// at times.
func (b *backend) check(tenant string, f *fetches, times []time.Time) error {
	if len(f.runs) == 0 {
		return fmt.Errorf("%s was never refreshed", tenant)
	}
	last := f.runs[len(f.runs)-1].Start
	latest := times[len(times)-1].Sub(b.begun)
	// A fetch is seen a little after its run has started, so the distance of two
	// may seem less than it was, but not the time that all took together.
	allowed := 1 + int(last/interval)
	switch {
	case f.overlap:
		return fmt.Errorf("%s was refreshed twice at a time", tenant)
	case len(f.runs) > allowed:
		return fmt.Errorf("%s was refreshed %d times, not %d at most", tenant, len(f.runs), allowed)
	case last < latest:
		return fmt.Errorf("%s was refreshed last at %v, but asked for at %v", tenant, last, latest)
	default:
		return nil
	}
}

// events returns what is drawn of one tenant.
func (b *backend) events(f *fetches, times []time.Time) timeline.Events {
	e := timeline.Events{Runs: f.runs}
	for _, at := range times {
		e.Calls = append(e.Calls, at.Sub(b.begun))
	}
	return e
}
