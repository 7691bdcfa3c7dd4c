package main

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseTime(t *testing.T) {
	const day = 1732833111 * time.Second // 28 November 2024, 22:31:51 UTC
	for text, want := range map[string]time.Duration{
		"2024-11-28T22:31:51Z":            day,
		"2024-11-28T23:31:51+01:00":       day,
		"2024-11-28T22:31:51.000000001Z":  day + 1,
		"2024-11-28T17:01:51.25-05:30":    day + 250*time.Millisecond,
		"2024-11-28T22:31:51.1234567899Z": day + 123456789,
		"1970-01-01T00:00:00Z":            0,
		"2262-04-11T23:47:16.854775807Z":  math.MaxInt64,
		"1732833111":                      day,
		"1732833111.5":                    day + 500*time.Millisecond,
		"1732833111.000000001":            day + 1,
		"1732833111.1234567899":           day + 123456789,
		"1732833111.100000000":            day + 100*time.Millisecond,
		"1732833111123":                   day + 123*time.Millisecond,
		"1732833111123.456":               day + 123456*time.Microsecond,
		"1732833111123456":                day + 123456*time.Microsecond,
		"1732833111123456.789":            day + 123456789,
		"1732833111123456789":             day + 123456789,
		"1732833111123456789.9":           day + 123456789,
		"0":                               0,
		"0.25":                            250 * time.Millisecond,
		"00012":                           12 * time.Second,
		"9223372036":                      9223372036 * time.Second,
		"9223372036.854775807":            math.MaxInt64,
		"9223372036854775807":             math.MaxInt64,
		"100000000000":                    100000000 * time.Second,
		"100000000000000":                 100000000 * time.Second,
		"100000000000000000":              100000000 * time.Second,
	} {
		got, err := parseTime(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
}

func TestParseTime_Error(t *testing.T) {
	const want = " is no time: want RFC 3339 or a Unix time"
	const outside = " is not between the years 1970 and 2262"
	for text, message := range map[string]string{
		"":                               `""` + want,
		"foo":                            `"foo"` + want,
		"1732833111 2":                   `"1732833111 2"` + want,
		"2024-11-28":                     `"2024-11-28"` + want,
		"2024-11-28T22:31:51":            `"2024-11-28T22:31:51"` + want, // no zone
		"2024-13-28T22:31:51Z":           `"2024-13-28T22:31:51Z"` + want,
		"1.7e9":                          `"1.7e9"` + want,
		"-1":                             `"-1"` + want,
		"+1":                             `"+1"` + want,
		"0x10":                           `"0x10"` + want,
		"1_000":                          `"1_000"` + want,
		".":                              `"."` + want,
		".5":                             `".5"` + want,
		"5.":                             `"5."` + want,
		"1.2.3":                          `"1.2.3"` + want,
		"\x00\xff\n":                     `"\x00\xff\n"` + want,
		"1969-12-31T23:59:59.9Z":         `"1969-12-31T23:59:59.9Z"` + outside,
		"2262-04-11T23:47:16.854775808Z": `"2262-04-11T23:47:16.854775808Z"` + outside,
		"9999-01-01T00:00:00Z":           `"9999-01-01T00:00:00Z"` + outside,
		"9223372036.854775808":           `"9223372036.854775808"` + outside,
		"9223372037":                     `"9223372037"` + outside,
		"99999999999999999":              `"99999999999999999"` + outside, // microseconds
		"9223372036854775808":            `"9223372036854775808"` + outside,
		"99999999999999999999999":        `"99999999999999999999999"` + outside,
		"ääääääääääääääääääääääääääääääääääääääääääääääääää":  `"ääääääääääääääääääääääääääääääääääääääääääääääääää"` + want,
		"äääääääääääääääääääääääääääääääääääääääääääääääääää": `"ääääääääääääääääääääääääääääääääääääääääääääääääää…"` + want,
	} {
		_, err := parseTime(text)
		assert.EqualError(t, err, message, text)
	}
}
