package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// longestLine bounds the memory for a line, such as that of a file without line ends.
const longestLine = 1 << 20

// readFile reads the calls from the file with that name; - is stdin.
func readFile(name string, field int, stdin io.Reader) ([]time.Duration, error) {
	if name == "-" {
		return readCalls(stdin, "standard input", field)
	}
	file, err := os.Open(name) //nolint:gosec // the user names it
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readCalls(file, name, field)
}

// readCalls reads a call from each line of r. It returns them in order, as the time since
// the first one. field is the number of the field that holds the time, or 0 for the whole
// line. Errors start with name and the number of the line.
func readCalls(r io.Reader, name string, field int) ([]time.Duration, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, longestLine)
	var times []time.Duration // since 1970
	number := 0
	for lines.Scan() {
		number++
		line := strings.TrimSpace(lines.Text())
		if line == "" {
			continue
		}
		at, err := timeOf(line, field)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, number, err)
		}
		times = append(times, at)
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf("%s:%d: the line is longer than %d MiB", name, number+1, longestLine>>20)
	case err != nil:
		return nil, fmt.Errorf("%s:%d: %w", name, number+1, err)
	case len(times) == 0:
		return nil, fmt.Errorf("%s: no calls", name)
	}
	return sinceFirst(times), nil
}

// sinceFirst sorts times, because lines of a log may be a little out of order, and counts
// them from the first one.
func sinceFirst(times []time.Duration) []time.Duration {
	slices.Sort(times)
	first := times[0]
	for i := range times {
		times[i] -= first
	}
	return times
}

// timeOf returns the time in line, which is not empty, since 1970.
func timeOf(line string, field int) (time.Duration, error) {
	text := line
	if field > 0 {
		fields := 0
		for text = range strings.FieldsSeq(line) {
			fields++
			if fields == field {
				break
			}
		}
		if fields < field {
			return 0, fmt.Errorf("the line has no field %d, only %d", field, fields)
		}
	}
	return parseTime(bare(text))
}

// bare returns text without what logs put around a time: brackets, quotes, a comma or colon,
// and the key of a key=value pair.
func bare(text string) string {
	const around = "[](){}<>\"'`,:;"
	text = strings.Trim(text, around)
	if _, value, found := strings.Cut(text, "="); found {
		text = strings.Trim(value, around)
	}
	return text
}
