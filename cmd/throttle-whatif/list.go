package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/throttle-go/throttle"
)

// A list is the value of a flag that takes one or more values, separated by commas.
type list[T any] struct {
	values *[]T
	parse  func(text string) (T, error)
}

// Set implements [flag.Value].
func (l list[T]) Set(text string) error {
	var values []T
	for part := range strings.SplitSeq(text, ",") {
		value, err := l.parse(strings.TrimSpace(part))
		if err != nil {
			return err
		}
		values = append(values, value)
	}
	*l.values = values
	return nil
}

// String implements [flag.Value]. The usage shows no default, because a flag's default
// depends on the other flags.
func (l list[T]) String() string { return "" }

func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%q is no duration, such as 300ms or 1m30s", text)
	}
	return d, nil
}

func parseNumber(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("%q is no whole number", text)
	}
	return n, nil
}

func parseShare(text string) (float64, error) {
	x, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no number", text)
	}
	return x, nil
}

func parseEdges(text string) (throttle.Edges, error) {
	for _, edges := range []throttle.Edges{0, throttle.Leading, throttle.Trailing, throttle.Leading | throttle.Trailing} {
		if text == edgesName(edges) {
			return edges, nil
		}
	}
	return 0, fmt.Errorf(`%q is none of both, leading, trailing and "" (the default)`, text)
}

// edgesName returns the name of edges on the command line and in JSON.
func edgesName(edges throttle.Edges) string {
	switch edges {
	case throttle.Leading:
		return "leading"
	case throttle.Trailing:
		return "trailing"
	case throttle.Leading | throttle.Trailing:
		return "both"
	default:
		return ""
	}
}

func parseFrom(text string) (throttle.From, error) {
	for _, from := range []throttle.From{throttle.FromStart, throttle.FromEnd} {
		if text == fromName(from) {
			return from, nil
		}
	}
	return 0, fmt.Errorf("%q is neither start nor end", text)
}

// fromName returns the name of from on the command line and in JSON.
func fromName(from throttle.From) string {
	if from == throttle.FromEnd {
		return "end"
	}
	return "start"
}
