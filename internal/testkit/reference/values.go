package reference

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/throttle-go/throttle"
)

// A Fate is what happened to a value that was handed to a Coalescer.
type Fate string

// The fates.
const (
	FateDelivered Fate = "delivered" // to a run that succeeded
	FateCanceled  Fate = "canceled"  // and returned by Cancel
	FateLost      Fate = "lost"      // and reported in a LostError
	FateRefused   Fate = "refused"   // by the call
)

// Fates returns all of them.
func Fates() []Fate { return []Fate{FateDelivered, FateCanceled, FateLost, FateRefused} }

// A ValueLog records what happens to the values of a Coalescer of []int, and checks
// that each value has exactly one fate. Values are numbers above 0, all different: get
// them from Next, or choose your own and name them to Add. All methods may be called
// concurrently.
type ValueLog struct {
	ordered bool // values are handed over one after the other, in ascending order

	mu       sync.Mutex   // guards the fields below
	values   map[int]bool // handed over
	fates    map[int][]Fate
	expected map[int]Fate // what Do reported, for values that were passed to Do
	reports  map[*throttle.LostError]bool
	last     int // the greatest value delivered
	problems []string
}

// NewValueLog returns an empty log. If ordered is true, the log also checks that
// values stay in ascending order.
func NewValueLog(ordered bool) *ValueLog {
	return &ValueLog{
		ordered: ordered, values: make(map[int]bool), fates: make(map[int][]Fate),
		expected: make(map[int]Fate), reports: make(map[*throttle.LostError]bool),
	}
}

// Next returns the value to hand over next.
func (l *ValueLog) Next() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	value := len(l.values) + 1
	l.values[value] = true
	return value
}

// Add records that value is handed over.
func (l *ValueLog) Add(value int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.values[value] = true
}

// Problem returns the first problem found, or "".
func (l *ValueLog) Problem() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.problems) == 0 {
		return ""
	}
	return l.problems[0]
}

func (l *ValueLog) failLocked(format string, args ...any) {
	l.problems = append(l.problems, fmt.Sprintf(format, args...))
}

func (l *ValueLog) recordLocked(fate Fate, values ...int) {
	if l.ordered && !slices.IsSorted(values) {
		l.failLocked("%v was %s out of order", values, fate)
	}
	for _, value := range values {
		l.fates[value] = append(l.fates[value], fate)
	}
}

// Called records what Call or Send returned for value.
func (l *ValueLog) Called(value int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
	case errors.Is(err, throttle.ErrClosed), errors.Is(err, throttle.ErrThrottled), errors.Is(err, throttle.ErrFull),
		errors.Is(err, context.DeadlineExceeded):
		l.recordLocked(FateRefused, value)
	default:
		l.failLocked("Call returns %v", err)
	}
}

// Refuse records that the call for value was refused.
func (l *ValueLog) Refuse(value int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.recordLocked(FateRefused, value)
}

// Done records what Do returned for value. ended says that Do's context had ended
// before the call.
func (l *ValueLog) Done(value int, err error, ended bool) {
	l.Report(err)
	var lost *throttle.LostError
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		l.expected[value] = FateDelivered
	case errors.As(err, &lost):
		// All who wait for a batch hear of what is left of it.
		if values, ok := lost.Value.([]int); ok && slices.Contains(values, value) {
			l.expected[value] = FateLost
		}
	case ended, errors.Is(err, throttle.ErrClosed), errors.Is(err, throttle.ErrThrottled), errors.Is(err, throttle.ErrReentrant):
		l.recordLocked(FateRefused, value)
	case errors.Is(err, throttle.ErrCanceled):
		l.expected[value] = FateCanceled
	}
}

// LostErrors returns the LostErrors in err, which may be joined and belong to keys.
func LostErrors(err error) (all []*throttle.LostError) {
	switch e := err.(type) { //nolint:errorlint // it walks the tree itself
	case *throttle.LostError:
		return []*throttle.LostError{e}
	case interface{ Unwrap() error }:
		return LostErrors(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			all = append(all, LostErrors(inner)...)
		}
	}
	return all
}

// Report records the values of the LostErrors in err. Several waiters may get the same
// LostError: it counts once. One that is undecided is no fate yet.
func (l *ValueLog) Report(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, lost := range LostErrors(err) {
		if l.reports[lost] || errors.Is(lost, throttle.ErrUndecided) {
			continue
		}
		l.reports[lost] = true
		values, ok := lost.Value.([]int)
		if !ok || len(values) == 0 || lost.Err == nil {
			l.failLocked("a LostError has the value %#v and the cause %v", lost.Value, lost.Err)
		}
		l.recordLocked(FateLost, values...)
	}
}

// Taken records that a run has taken values.
func (l *ValueLog) Taken(values []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(values) == 0 {
		l.failLocked("a run has no value")
	}
	for _, value := range values {
		if len(l.fates[value]) > 0 {
			l.failLocked("%d was %s, and then a run takes it", value, l.fates[value])
		}
	}
}

// Delivered records that a run with values has succeeded.
func (l *ValueLog) Delivered(values []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ordered && len(values) > 0 && values[0] <= l.last {
		l.failLocked("%v is delivered after %d", values, l.last)
	}
	l.recordLocked(FateDelivered, values...)
	l.last = max(l.last, slices.Max(append([]int{0}, values...)))
}

// Canceled records what Cancel returned.
func (l *ValueLog) Canceled(batches [][]int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.recordLocked(FateCanceled, slices.Concat(batches...)...)
}

// Settled returns how many values have a fate.
func (l *ValueLog) Settled() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.fates)
}

// Finish checks that each value has exactly one fate, and that it is the one that Do
// reported. Call it when the Coalescer is closed and nothing of it runs.
func (l *ValueLog) Finish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for value := range l.values {
		fates := l.fates[value]
		if len(fates) != 1 {
			l.failLocked("value %d was %q", value, fates)
		}
		if expected := l.expected[value]; expected != "" && !slices.Contains(fates, expected) {
			l.failLocked("value %d was %q, but Do reported that it was %s", value, fates, expected)
		}
	}
	if len(l.fates) != len(l.values) {
		l.failLocked("%d values were handed over, but %d have a fate", len(l.values), len(l.fates))
	}
}

// Counts returns how many values had each fate.
func (l *ValueLog) Counts() map[Fate]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	counts := make(map[Fate]int)
	for _, fates := range l.fates {
		for _, fate := range fates {
			counts[fate]++
		}
	}
	return counts
}
