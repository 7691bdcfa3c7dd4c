package throttledebug

import (
	"fmt"
	"strings"
	"time"

	"github.com/throttle-go/throttle"
)

// inWords returns p in words.
func inWords(p throttle.Policy) string {
	var parts []string
	if p.Interval > 0 {
		spacing := "at most every " + exactly(p.Interval)
		if p.Burst > 1 {
			spacing += fmt.Sprintf(", up to %d at once after idling", p.Burst)
		}
		parts = append(parts, spacing)
	}
	parts = append(parts, edgeWords(p)...)
	if p.MaxCalls > 0 {
		parts = append(parts, fmt.Sprintf("sooner once %d calls wait", p.MaxCalls))
	}
	if p.MaxInterval > 0 {
		parts = append(parts, "at least every "+exactly(p.MaxInterval))
	}
	if p.From == throttle.FromEnd && max(p.Interval, p.MaxInterval) > 0 {
		parts = append(parts, "measured from the ends of runs")
	}
	if p.Retry.Initial > 0 {
		parts = append(parts, retryWords(p.Retry))
	}
	return strings.Join(parts, "; ")
}

// edgeWords describes which calls start a run at once, and what the others wait for.
func edgeWords(p throttle.Policy) []string {
	var parts []string
	switch {
	case p.Quiet > 0 && p.MaxWait == p.Quiet:
		parts = append(parts, exactly(p.Quiet)+" after the first call of a batch")
	case p.Quiet > 0 && p.MaxWait > 0:
		parts = append(parts, "after "+exactly(p.Quiet)+" without calls, at the latest after "+exactly(p.MaxWait))
	case p.Quiet > 0:
		parts = append(parts, "after "+exactly(p.Quiet)+" without calls")
	}
	switch {
	case p.Edges == throttle.Leading:
		if p.Quiet > 0 {
			parts = []string{"only if no call came for " + exactly(p.Quiet)}
		}
		return append(parts, "leading edge alone, other calls are dropped")
	case p.Edges == throttle.Trailing, p.Edges == 0 && p.Quiet > 0:
		return append(parts, "trailing edge alone")
	default:
		return append(parts, "leading and trailing edge")
	}
}

func retryWords(r throttle.Backoff) string {
	words := "a failed run again after " + exactly(r.Initial)
	if r.Max > r.Initial {
		words += ", doubling up to " + exactly(r.Max)
	}
	if r.Jitter > 0 {
		words += fmt.Sprintf(", less up to %.3g%% at random", 100*r.Jitter)
	}
	if r.MaxAttempts > 0 {
		words += fmt.Sprintf(", %d attempts", r.MaxAttempts)
	}
	if r.Eager {
		words += ", calls need not wait for that"
	}
	return words
}

// exactly returns d without zero units at the end: 1h, not 1h0m0s.
func exactly(d time.Duration) string {
	words := d.String()
	if strings.HasSuffix(words, "m0s") {
		words = strings.TrimSuffix(words, "0s")
	}
	if strings.HasSuffix(words, "h0m") {
		words = strings.TrimSuffix(words, "0m")
	}
	return words
}

// took returns a number of seconds in the format of about.
func took(seconds float64) string { return about(time.Duration(seconds * float64(time.Second))) }

// about returns d with about three digits.
func about(d time.Duration) string {
	size := d.Abs()
	digit := time.Minute
	switch {
	case size < time.Microsecond:
		digit = 1
	case size < 100*time.Microsecond:
		digit = 100 * time.Nanosecond
	case size < 10*time.Millisecond:
		digit = 10 * time.Microsecond
	case size < 100*time.Millisecond:
		digit = 100 * time.Microsecond
	case size < time.Second:
		digit = time.Millisecond
	case size < 10*time.Second:
		digit = 10 * time.Millisecond
	case size < time.Minute:
		digit = 100 * time.Millisecond
	case size < time.Hour:
		digit = time.Second
	}
	return exactly(d.Round(digit))
}
