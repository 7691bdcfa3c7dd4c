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
	drawn = time.Second // the part of the timeline that is drawn, from the first call
	width = 80          // of the drawn timeline
)

// A recorder watches a throttler.
type recorder struct {
	interval time.Duration
	begun    time.Time

	mu sync.Mutex // guards the fields below

	// +checklocks:mu
	seen record
}

// A record is the summary of what a recorder has seen.
type record struct {
	events timeline.Events // within the drawn time
	first  time.Time       // when the first call was made; zero if none was
	latest time.Time       // when the latest call was made; zero if none was
	last   throttle.Run    // zero if there was none
	runs   uint64          // including failed ones
	failed uint64
	least  time.Duration // between two starts, the second not flushed; 0 if there are none
	faults []error       // runs that were too close
}

// result returns what the recorder has seen so far.
func (r *recorder) result() record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen
}

// call records a call of the throttler. It comes before the call.
func (r *recorder) call() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen.call(time.Now())
}

// run is an observer.
func (r *recorder) run(run throttle.Run) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen.check(run, r.interval)
	r.seen.run(run, r.interval)
}

func (r *record) call(now time.Time) {
	r.latest = now
	if r.first.IsZero() {
		r.first = now
	}
	if at := now.Sub(r.first); at <= drawn {
		r.events.Calls = append(r.events.Calls, at)
	}
}

func (r *record) run(run throttle.Run, interval time.Duration) {
	r.runs++
	if run.Err != nil {
		r.failed++
	}
	r.last = run

	start, end := run.Started.Sub(r.first), run.Ended.Sub(r.first)
	r.events.End = min(end, drawn)
	if start <= drawn {
		r.events.Runs = append(r.events.Runs,
			timeline.Run{Span: timeline.Span{Start: start, End: end}, Failed: run.Err != nil})
		r.events.Windows = append(r.events.Windows,
			timeline.Span{Start: start, End: start + interval})
	}
}

// check compares run with the previous one, by the throttler's promises.
func (r *record) check(run throttle.Run, interval time.Duration) {
	if r.runs == 0 {
		return
	}
	if run.Started.Before(r.last.Ended) {
		r.faults = append(r.faults, fmt.Errorf("a snapshot started %v before the end of another",
			r.last.Ended.Sub(run.Started)))
	}
	if run.Cause == throttle.CauseFlush {
		return // Flush and Shutdown ignore the interval
	}
	distance := run.Started.Sub(r.last.Started)
	if distance < interval {
		r.faults = append(r.faults, fmt.Errorf("two snapshots started %v apart, less than %v", distance, interval))
	}
	if r.least == 0 || distance < r.least {
		r.least = distance
	}
}

// report prints what the server did, and returns what went wrong. The server must have
// stopped.
func (s *server) report(stdout io.Writer) error {
	seen, changes, mismatch := s.recorder.result(), s.changes(), s.verify()
	seconds := max(seen.latest.Sub(s.recorder.begun).Seconds(), 1e-3)

	var b strings.Builder
	row := func(name string, value any, detail string, args ...any) {
		fmt.Fprintf(&b, "%-15s%9v   %s\n", name, value, fmt.Sprintf(detail, args...))
	}
	row("requests", changes, "%.0f per second, each asked for a snapshot", float64(changes)/seconds)
	row("snapshots", seen.runs, "one for %d requests, %d failed", changes/max(seen.runs, 1), seen.failed)
	if seen.least > 0 {
		row("least distance", round(seen.least), "between the starts of two, except for flushed ones")
	}
	row("longest wait", round(s.snapshotter.longestWait), "from a change until it was on disk")
	if mismatch == nil {
		row("file", "ok", "it holds all %d changes", s.restored+changes)
	} else {
		row("file", "WRONG", "%v", mismatch)
	}
	b.WriteString("\n" + timeline.Text(seen.events, width))

	_, err := io.WriteString(stdout, b.String())
	return errors.Join(append(seen.faults, mismatch, err)...)
}

// round rounds d to what a reader needs.
func round(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }

// errDiffers is the error of verify if the file is readable but has another content.
var errDiffers = errors.New("the file is not the last state")

// verify reads the file, and returns an error unless it holds the last state.
func (s *server) verify() error {
	saved, err := readState(s.snapshotter.file)
	if err != nil {
		return err
	}
	if last := s.store.state(); !saved.equal(last) {
		return fmt.Errorf("%w: %d changes instead of %d", errDiffers, saved.Changes, last.Changes)
	}
	return nil
}
