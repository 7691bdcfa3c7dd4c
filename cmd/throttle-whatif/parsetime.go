package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// parseTime parses a time in RFC 3339, or a Unix time in one of four units. It returns the
// exact time since 1970.
func parseTime(text string) (time.Duration, error) {
	if strings.Trim(text, "0123456789.") == "" {
		return parseUnix(text)
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return 0, noTime(text)
	}
	if t.Before(time.Unix(0, 0)) || t.After(time.Unix(0, math.MaxInt64)) {
		return 0, outOfRange(text)
	}
	return time.Duration(t.UnixNano()), nil
}

// unixUnit returns the unit of a Unix time with that whole part, and how many digits it is
// longer than a nanosecond. For times from 1973 on, until the year 5138, the four ranges do
// not overlap.
func unixUnit(whole uint64) (unit uint64, digits int) {
	switch {
	case whole < 1e11:
		return 1e9, 9
	case whole < 1e14:
		return 1e6, 6
	case whole < 1e17:
		return 1e3, 3
	default:
		return 1, 0
	}
}

// parseUnix parses a number of digits and points. It does not go through a float64, which
// has no room for the nanoseconds of today.
func parseUnix(text string) (time.Duration, error) {
	before, after, point := strings.Cut(text, ".")
	if before == "" || point && after == "" || strings.Contains(after, ".") {
		return 0, noTime(text)
	}
	whole, err := strconv.ParseUint(before, 10, 64)
	if err != nil {
		return 0, outOfRange(text)
	}
	unit, digits := unixUnit(whole)
	if whole > math.MaxInt64/unit {
		return 0, outOfRange(text)
	}
	var fraction uint64
	if digits > 0 {
		padded := (after + "000000000")[:digits] // what is below a nanosecond is left out
		if fraction, err = strconv.ParseUint(padded, 10, 64); err != nil {
			return 0, noTime(text)
		}
	}
	nanoseconds := whole*unit + fraction
	if nanoseconds > math.MaxInt64 {
		return 0, outOfRange(text)
	}
	return time.Duration(nanoseconds), nil
}

func noTime(text string) error {
	return fmt.Errorf("%s is no time: want RFC 3339 or a Unix time", excerpt(text))
}

func outOfRange(text string) error {
	return fmt.Errorf("%s is not between the years 1970 and 2262", excerpt(text))
}

// excerpt quotes text, but no more of it than fits in an error.
func excerpt(text string) string {
	const most = 50
	if utf8.RuneCountInString(text) > most {
		text = string([]rune(text)[:most]) + "…"
	}
	return strconv.Quote(text)
}
