package throttledebug

import (
	"slices"
	"sync"
	"time"

	"github.com/throttle-go/throttle"
)

// How much a Recorder keeps.
const (
	keptRuns  = 64  // runs of each name
	keptNames = 128 // names, those with the latest runs
)

// A Recorder keeps recent runs for [Runs]: for each name, the last 64 runs and the last
// failure. It keeps the 128 names with the latest runs. All keys of a throttle share its name.
// Throttles with the same name, or without one, share their runs.
//
// A Recorder keeps errors and keys as text, which it makes in the goroutine of the run, so
// that it does not keep other memory alive. A text has at most 1 KiB, a stack 16 KiB.
//
// The zero Recorder is ready to use. It must not be copied. Its methods may be called
// concurrently.
type Recorder struct {
	mu sync.Mutex // guards the field below, and the records in it

	// +checklocks:mu
	records map[string]*record
}

// A record is what a Recorder keeps of one name.
type record struct {
	runs    []Run     // a ring, once it is full
	oldest  int       // index of the oldest run
	latest  time.Time // end of the latest run
	failure *Failure  // the last one
}

// Observe records a finished run. Pass it to [throttle.WithObserver], for any number of
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
		retry:    rounded(run.Retry),
	}
	if run.Key != nil {
		seen.Key = keyText(run.Key)
	}
	// The methods of keys and errors are foreign code, so call them before taking the lock.
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

// recordLocked returns the record of name. If there is none, it makes one, and drops the
// record with the oldest latest run if there are too many.
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

// recent returns copies of the runs of name, the latest last, and of its last failure. They
// are nil if there are none.
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

// rounded returns t in UTC, rounded to the millisecond. A time computed from two clock
// readings differs from look to look, usually by less than that.
func rounded(t time.Time) time.Time { return t.UTC().Round(time.Millisecond) }
