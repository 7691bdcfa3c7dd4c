package throttle_test

// This file keeps the books of what becomes of the values of a Coalescer: each is
// handed over once, and has one fate.

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/throttle-go/throttle"
)

// The fates of a value.
const (
	fateDelivered = "delivered" // to a run that succeeded
	fateCanceled  = "canceled"  // and returned by Cancel
	fateLost      = "lost"      // and reported as such
	fateRefused   = "refused"   // by the call
)

// books are what is known of the values of a Coalescer, which are numbered from 1
// in the order in which they were handed over.
type books struct {
	mu         sync.Mutex // guards the fields below
	handed     int
	fates      map[int][]string // of each value
	expected   map[int]string   // fates, as those who waited were told
	reports    map[*throttle.LostError]bool
	last       int // value delivered
	complaints []string
}

func newBooks() *books {
	return &books{fates: make(map[int][]string), expected: make(map[int]string), reports: make(map[*throttle.LostError]bool)}
}

// next returns the value to be handed over next.
func (b *books) next() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.handed++
	return b.handed
}

func (b *books) complain(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.complainLocked(format, args...)
}

func (b *books) complainLocked(format string, args ...any) {
	b.complaints = append(b.complaints, fmt.Sprintf(format, args...))
}

// complaint returns the first thing that was wrong, empty if nothing was.
func (b *books) complaint() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.complaints) == 0 {
		return ""
	}
	return b.complaints[0]
}

func (b *books) record(fate string, values ...int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.recordLocked(fate, values...)
}

func (b *books) recordLocked(fate string, values ...int) {
	if !slices.IsSorted(values) {
		b.complainLocked("%v was %s out of order", values, fate)
	}
	for _, value := range values {
		b.fates[value] = append(b.fates[value], fate)
	}
}

// hear takes note of a *LostError, which several may be told of.
func (b *books) hear(err error) {
	lost, ok := errors.AsType[*throttle.LostError](err)
	if !ok {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.reports[lost] {
		return
	}
	b.reports[lost] = true
	values, ok := lost.Value.([]int)
	if !ok || len(values) == 0 || lost.Err == nil {
		b.complainLocked("lost is %#v, because of %v", lost.Value, lost.Err)
	}
	b.recordLocked(fateLost, values...)
}

// called takes note of what Call has returned for value.
func (b *books) called(value int, err error) {
	switch {
	case err == nil:
	case errors.Is(err, throttle.ErrClosed), errors.Is(err, throttle.ErrThrottled):
		b.record(fateRefused, value)
	default:
		b.complain("Call returns %v", err)
	}
}

// done takes note of what Do has returned for value; late tells that its context
// had ended before.
func (b *books) done(value int, err error, late bool) {
	b.hear(err)
	_, lost := errors.AsType[*throttle.LostError](err)
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case err == nil:
		b.expected[value] = fateDelivered
	case lost:
		b.expected[value] = fateLost
	case late, errors.Is(err, throttle.ErrClosed), errors.Is(err, throttle.ErrThrottled), errors.Is(err, throttle.ErrReentrant):
		b.recordLocked(fateRefused, value)
	case errors.Is(err, throttle.ErrCanceled):
		b.expected[value] = fateCanceled
	}
}

// taken takes note of what a run has taken.
func (b *books) taken(values []int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(values) == 0 {
		b.complainLocked("a run has nothing to take")
	}
	for _, value := range values {
		if len(b.fates[value]) > 0 {
			b.complainLocked("%d was %s, and is taken by a run", value, b.fates[value])
		}
	}
}

// delivered takes note of what a run that succeeds has taken.
func (b *books) delivered(values []int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(values) > 0 && values[0] <= b.last {
		b.complainLocked("%v is delivered after %d", values, b.last)
	}
	b.recordLocked(fateDelivered, values...)
	b.last = max(b.last, slices.Max(append([]int{0}, values...)))
}

// balance checks that each value has one fate, and that those who waited for it
// were told so.
func (b *books) balance() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for value := 1; value <= b.handed; value++ {
		fates := b.fates[value]
		if len(fates) != 1 {
			b.complainLocked("of %d values number %d was %q", b.handed, value, fates)
		}
		if expected := b.expected[value]; expected != "" && !slices.Contains(fates, expected) {
			b.complainLocked("value %d was %q, but Do was told that it was %s", value, fates, expected)
		}
	}
	if len(b.fates) != b.handed {
		b.complainLocked("%d values were handed over, %d are known", b.handed, len(b.fates))
	}
}

// count returns how many values had which fate.
func (b *books) count() map[string]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	counts := make(map[string]int)
	for _, fates := range b.fates {
		for _, fate := range fates {
			counts[fate]++
		}
	}
	return counts
}
