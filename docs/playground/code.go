package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/throttle-go/throttle"
)

// Code returns p as a Go expression, formatted as gofmt does.
func Code(p throttle.Policy) string {
	switch p {
	case throttle.Every(p.Interval):
		if p.Interval != 0 {
			return "throttle.Every(" + durationCode(p.Interval, " ") + ")"
		}
	case throttle.Debounce(p.Quiet, p.MaxWait):
		return "throttle.Debounce(" + durationCode(p.Quiet, "") + ", " + durationCode(p.MaxWait, "") + ")"
	}
	return policyLiteral(policyFields(p))
}

// An element is a field of a composite literal.
type element struct{ name, value string }

func policyFields(p throttle.Policy) []element {
	var all []element
	add := func(set bool, name, value string) {
		if set {
			all = append(all, element{name, value})
		}
	}
	r := p.Retry
	add(p.Interval != 0, "Interval", durationCode(p.Interval, " "))
	add(p.Burst != 0, "Burst", strconv.Itoa(p.Burst))
	add(p.MaxLoad != 0, "MaxLoad", formatNumber(p.MaxLoad))
	add(p.Quiet != 0, "Quiet", durationCode(p.Quiet, " "))
	add(p.MaxWait != 0, "MaxWait", durationCode(p.MaxWait, " "))
	add(p.MaxInterval != 0, "MaxInterval", durationCode(p.MaxInterval, " "))
	add(p.Jitter != 0, "Jitter", formatNumber(p.Jitter))
	add(p.MaxCalls != 0, "MaxCalls", strconv.Itoa(p.MaxCalls))
	add(r != throttle.Backoff{}, "Retry", literal("throttle.Backoff", backoffFields(r)))
	add(p.Edges != 0, "Edges", edgesCode(p.Edges))
	add(p.From == throttle.FromEnd, "From", "throttle.FromEnd")
	return all
}

func backoffFields(r throttle.Backoff) []element {
	var all []element
	add := func(set bool, name, value string) {
		if set {
			all = append(all, element{name, value})
		}
	}
	add(r.Initial != 0, "Initial", durationCode(r.Initial, " "))
	add(r.Max != 0, "Max", durationCode(r.Max, " "))
	add(r.MaxAttempts != 0, "MaxAttempts", strconv.Itoa(r.MaxAttempts))
	add(r.Jitter != 0, "Jitter", formatNumber(r.Jitter))
	add(r.Eager, "Eager", "true")
	return all
}

func edgesCode(e throttle.Edges) string {
	var names []string
	if e&throttle.Leading != 0 {
		names = append(names, "throttle.Leading")
	}
	if e&throttle.Trailing != 0 {
		names = append(names, "throttle.Trailing")
	}
	return strings.Join(names, " | ")
}

// widest is the length of the longest Policy on one line.
const widest = 80

// policyLiteral returns a Policy with these elements, on one line or one line for each.
func policyLiteral(elements []element) string {
	const name = "throttle.Policy"
	if line := literal(name, elements); len(line) <= widest {
		return line
	}
	var width int // of the longest name and its colon
	for _, e := range elements {
		width = max(width, len(e.name)+1)
	}
	var lines strings.Builder
	lines.WriteString(name + "{\n")
	for _, e := range elements {
		fmt.Fprintf(&lines, "\t%-*s %s,\n", width, e.name+":", e.value)
	}
	return lines.String() + "}"
}

// literal returns a composite literal on one line.
func literal(name string, elements []element) string {
	var texts []string
	for _, e := range elements {
		texts = append(texts, e.name+": "+e.value)
	}
	return name + "{" + strings.Join(texts, ", ") + "}"
}

// durationCode returns d as a Go expression in the largest unit of which it is a multiple.
// gofmt wants spaces around the operator except among several arguments.
func durationCode(d time.Duration, space string) string {
	if d == 0 {
		return "0"
	}
	units := []struct {
		size time.Duration
		name string
	}{
		{time.Hour, "Hour"}, {time.Minute, "Minute"}, {time.Second, "Second"},
		{time.Millisecond, "Millisecond"}, {time.Microsecond, "Microsecond"}, {time.Nanosecond, "Nanosecond"},
	}
	for _, unit := range units {
		if d%unit.size == 0 {
			if d == unit.size {
				return "time." + unit.name
			}
			return strconv.FormatInt(int64(d/unit.size), 10) + space + "*" + space + "time." + unit.name
		}
	}
	return "" // every duration is a multiple of the last unit
}
