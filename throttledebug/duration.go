package throttledebug

import (
	"strings"
	"time"
)

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
