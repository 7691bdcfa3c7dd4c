package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/internal/timeline"
)

const (
	drawn = 500 * time.Millisecond // the part of the timeline that is drawn, from the first call
	width = 80                     // of the drawn timeline
)

// A recorder watches a server. It draws one tenant.
type recorder struct {
	mu sync.Mutex // guards the fields below

	// +checklocks:mu
	seen record
}

// A record is the summary of what a recorder has seen.
type record struct {
	events   timeline.Events // of the drawn tenant, within the drawn time
	first    time.Time       // when its first call was made; zero if none was
	answered uint64          // number of requests
	longest  time.Duration   // from a request to its answer
	largest  uint64          // number of requests in one batch
}

// result returns what the recorder has seen so far.
func (r *recorder) result() record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen
}

// call records a request, before the loader gets it.
func (r *recorder) call(tenant string, now time.Time) {
	if tenant != nameOf(0) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen.first.IsZero() {
		r.seen.first = now
	}
	if at := now.Sub(r.seen.first); at <= drawn {
		r.seen.events.Calls = append(r.seen.events.Calls, at)
	}
}

// answered records that a request was answered after a wait.
func (r *recorder) answered(wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen.answered++
	r.seen.longest = max(r.seen.longest, wait)
}

// run is an observer.
func (r *recorder) run(run throttle.Run) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen.largest = max(r.seen.largest, run.Calls)
	if start, end := run.Started.Sub(r.seen.first), run.Ended.Sub(r.seen.first); start <= drawn && run.Key == nameOf(0) {
		r.seen.events.End = min(end, drawn)
		r.seen.events.Runs = append(r.seen.events.Runs,
			timeline.Run{Span: timeline.Span{Start: start, End: end}, Failed: run.Err != nil})
	}
}

// report prints what the server did, and returns what went wrong. answered is the number of
// answers that clients have got. The server must have stopped.
func (s *server) report(stdout io.Writer, d *database, answered uint64, seconds float64) error {
	seen, used := s.recorder.result(), d.usage()
	faults := used.faults
	if answered != seen.answered {
		faults = append(faults, fmt.Errorf("%d requests, but %d answers", seen.answered, answered))
	}

	var b strings.Builder
	row := func(name string, value any, detail string, args ...any) {
		fmt.Fprintf(&b, "%-14s%9v   %s\n", name, value, fmt.Sprintf(detail, args...))
	}
	row("requests", answered, "%.0f per second, each with the right answer", float64(answered)/seconds)
	row("queries", used.queries, "one for %.1f requests, up to %d at a time, %d failed",
		float64(answered)/float64(max(used.queries, 1)), used.most, used.failed)
	row("largest batch", seen.largest, "requests in one query")
	row("longest wait", seen.longest.Round(10*time.Microsecond), "from a request to its answer")
	b.WriteString("\n" + timeline.Text(seen.events, width))

	_, err := io.WriteString(stdout, b.String())
	return errors.Join(append(faults, err)...)
}
