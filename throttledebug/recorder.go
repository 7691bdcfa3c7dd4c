package throttledebug

import (
	"slices"
	"sync"
	"time"

	"github.com/throttle-go/throttle"
)

// This file keeps what Stats does not tell.

// How much a Recorder keeps.
const (
	keptRuns  = 64  // of a name
	keptNames = 128 // of those that ran last
)

// A Recorder keeps recent runs for [Runs]: the last 64 of each name, and the last that
// failed, for the 128 names that ran last. It keeps texts, of 1 KiB at most, a stack of
// 16 KiB, and no errors or keys, which might keep anything else; they are made in the
// run's own goroutine. All keys of a Group share its name, and throttles that were given the
// same name, or none, are told as one.
//
// The zero Recorder is ready for use, and must not be copied. Its methods may be
// called concurrently.
type Recorder struct {
	mu sync.Mutex // guards the field below, and what it refers to

	// +checklocks:mu
	records map[string]*record
}

// A record is what is known of one name.
type record struct {
	runs    []Run // a ring, once it is full
	oldest  int   // where it begins
	latest  time.Time
	failure *Failure // the last
}

// Observe keeps a run: it is what throttle.WithObserver wants, of any number of
// throttles.
func (r *Recorder) Observe(run throttle.Run) {
	seen := Run{
		Cause:    string(run.Cause),
		Attempt:  run.Attempt,
		Asked:    rounded(run.Asked),
		Due:      rounded(run.Due),
		Started:  rounded(run.Started),
		Ended:    rounded(run.Ended),
		Duration: run.Ended.Sub(run.Started).Seconds(),
		Calls:    run.Calls,
		Result:   string(run.Result),
	}
	if run.Key != nil {
		seen.Key = keyText(run.Key)
	}
	// The methods of keys and errors are foreign code, so this is before the lock.
	failure := describe(run.Err)
	if failure != nil {
		seen.Error = failure.Message
		failure.At, failure.Key = seen.Ended, seen.Key
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	record := r.recordLocked(run.Name)
	record.latest = run.Ended
	if failure != nil && run.Result != throttle.ResultRetryIn {
		record.failure = failure
	}
	if len(record.runs) < keptRuns {
		record.runs = append(record.runs, seen)
		return
	}
	record.runs[record.oldest] = seen
	record.oldest = (record.oldest + 1) % keptRuns
}

// recordLocked returns the record of name, which takes the place of another if there
// are too many.
//
// +checklocks:r.mu
func (r *Recorder) recordLocked(name string) *record {
	if known := r.records[name]; known != nil {
		return known
	}
	if r.records == nil {
		r.records = make(map[string]*record)
	}
	if len(r.records) == keptNames {
		var oldest string
		var latest time.Time
		for name, record := range r.records {
			if latest.IsZero() || record.latest.Before(latest) {
				oldest, latest = name, record.latest
			}
		}
		delete(r.records, oldest)
	}
	added := new(record)
	r.records[name] = added
	return added
}

// recent returns the runs of name, the latest last, and its last failure; nil if
// there is none. They are the caller's.
func (r *Recorder) recent(name string) (runs []Run, failure *Failure) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.records[name]
	if known == nil {
		return nil, nil
	}
	if known.failure != nil {
		last := *known.failure
		failure = &last
	}
	return slices.Concat(known.runs[known.oldest:], known.runs[:known.oldest]), failure
}

// rounded returns t as it is told, in UTC. What is computed from two readings of the clock
// differs from look to look by less.
func rounded(t time.Time) time.Time { return t.UTC().Round(time.Millisecond) }
