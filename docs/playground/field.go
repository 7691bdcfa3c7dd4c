package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/throttle-go/throttle"
)

// A Field is a part of a State that has a parameter in the URL, and a control on the page.
type Field struct {
	Key     string // the parameter
	Name    string // of the control; of a Policy's field, the name in a *throttle.PolicyError
	Hint    string // what it does
	Kind    Kind
	Last    int // position of its slider, from 0
	Choices []Choice

	text func(*State) string // the parameter's value, and the control's
	read func(*State, string) error

	position func(*State) int          // of the slider: the nearest one
	at       func(position int) string // the value there
}

// A Kind says what a Field's control looks like.
type Kind string

// The kinds of fields.
const (
	Slider Kind = "slider" // with a text for the exact value
	Select Kind = "select"
	Switch Kind = "switch"
	Hidden Kind = "hidden" // the page has a control of its own for it
)

// A Choice is one value of a field.
type Choice struct{ Value, Name string }

// A Group is a part of the page with fields.
type Group struct {
	Name   string
	Live   bool // the fields matter in live mode only
	Fields []Field
}

const (
	modeKey   = "mode"
	callsKey  = "calls"
	runsKey   = "runs"
	untilKey  = "until"
	scriptKey = "script" // of the control that has the three fields before
)

// Fields returns all fields, in the order of the URL.
func Fields() []Field {
	all := []Field{choice(modeKey, "Calls", "", func(s *State) *bool { return &s.Live }, []option[bool]{
		{false, "script", ""}, {true, "live", ""},
	})}
	all[0].Kind = Hidden
	for _, group := range Groups() {
		all = append(all, group.Fields...)
	}
	script := func(key string, text func(Script) string, read func(*Script, string) error) Field {
		return Field{
			Key: key, Kind: Hidden,
			text: func(s *State) string { return text(s.Script) },
			read: func(s *State, text string) error { return read(&s.Script, text) },
		}
	}
	return append(all,
		script(callsKey, func(s Script) string { return strings.Join(s.calls(), ",") }, readCalls),
		script(runsKey, func(s Script) string { return strings.Join(s.runs(), ",") }, readRuns),
		script(untilKey, Script.until, readUntil),
	)
}

// Groups returns the fields that the page shows in groups.
func Groups() []Group {
	return []Group{
		{"Spacing", false, []Field{
			duration("interval", "Interval", "least time between the starts of two runs", func(s *State) *time.Duration { return &s.Policy.Interval }),
			count("burst", "Burst", "runs that may start back to back after a rest", 10, func(s *State) *int { return &s.Policy.Burst }),
			share("max-load", "MaxLoad", "greatest share of time that runs may take", func(s *State) *float64 { return &s.Policy.MaxLoad }),
			choice("from", "From", "the point of a run from which Interval and MaxInterval count", func(s *State) *throttle.From { return &s.Policy.From }, []option[throttle.From]{
				{throttle.FromStart, "start", "FromStart"}, {throttle.FromEnd, "end", "FromEnd"},
			}),
			choice("edges", "Edges", "of a window, where runs may start; both if none is set, or Trailing with Quiet", func(s *State) *throttle.Edges { return &s.Policy.Edges }, []option[throttle.Edges]{
				{0, "default", "none"}, {throttle.Leading, "leading", "Leading"}, {throttle.Trailing, "trailing", "Trailing"},
				{throttle.Leading | throttle.Trailing, "both", "Leading | Trailing"},
			}),
		}},
		{"Waiting for more calls", false, []Field{
			duration("quiet", "Quiet", "a run waits until no call has come for this long", func(s *State) *time.Duration { return &s.Policy.Quiet }),
			duration("max-wait", "MaxWait", "but no longer than this after the first call", func(s *State) *time.Duration { return &s.Policy.MaxWait }),
			count("max-calls", "MaxCalls", "so many calls do not wait for quiet", 20, func(s *State) *int { return &s.Policy.MaxCalls }),
		}},
		{"Without calls", false, []Field{
			duration("max-interval", "MaxInterval", "a run at least this often", func(s *State) *time.Duration { return &s.Policy.MaxInterval }),
			share("jitter", "Jitter", "share by which this is shortened at random", func(s *State) *float64 { return &s.Policy.Jitter }),
		}},
		{"After a failure", false, []Field{
			duration("retry-initial", "Retry.Initial", "a failed run is repeated after this delay", func(s *State) *time.Duration { return &s.Policy.Retry.Initial }),
			duration("retry-max", "Retry.Max", "the delay doubles up to this", func(s *State) *time.Duration { return &s.Policy.Retry.Max }),
			count("retry-max-attempts", "Retry.MaxAttempts", "runs in a row that may fail", 10, func(s *State) *int { return &s.Policy.Retry.MaxAttempts }),
			share("retry-jitter", "Retry.Jitter", "share by which delays are shortened at random", func(s *State) *float64 { return &s.Policy.Retry.Jitter }),
			toggle("retry-eager", "Retry.Eager", "calls do not wait for the delay", func(s *State) *bool { return &s.Policy.Retry.Eager }),
		}},
		{"The callback", false, []Field{
			duration("took", "Run takes", "how long the callback works", func(s *State) *time.Duration { return &s.Took }),
			share("failing", "Failures", "share of runs that fail: 0.25 is every fourth", func(s *State) *float64 { return &s.Failing }),
		}},
		{"Your calls", true, []Field{
			duration("repeat", "Hold", "time between calls while you hold the button", func(s *State) *time.Duration { return &s.Repeat }),
			choice("shows", "Shows", "how much of the past the picture shows", func(s *State) *time.Duration { return &s.Shows }, shownTimes()),
		}},
	}
}

func shownTimes() []option[time.Duration] {
	all := []option[time.Duration]{{0, "auto", "as suits the policy"}}
	for _, d := range lengths() {
		all = append(all, option[time.Duration]{d, formatDuration(d), "the last " + formatDuration(d)})
	}
	return all
}

func duration(key, name, hint string, of func(*State) *time.Duration) Field {
	stops := durationStops()
	return Field{
		Key: key, Name: name, Hint: hint, Kind: Slider, Last: len(stops) - 1,
		text:     func(s *State) string { return formatDuration(*of(s)) },
		read:     func(s *State, text string) error { return set(of(s), text, parseDuration) },
		position: func(s *State) int { return nearest(stops, *of(s)) },
		at:       func(position int) string { return formatDuration(stops[position]) },
	}
}

func count(key, name, hint string, last int, of func(*State) *int) Field {
	return Field{
		Key: key, Name: name, Hint: hint, Kind: Slider, Last: last,
		text:     func(s *State) string { return strconv.Itoa(*of(s)) },
		read:     func(s *State, text string) error { return set(of(s), text, parseCount) },
		position: func(s *State) int { return min(max(*of(s), 0), last) },
		at:       strconv.Itoa,
	}
}

func share(key, name, hint string, of func(*State) *float64) Field {
	const last = 100
	return Field{
		Key: key, Name: name, Hint: hint, Kind: Slider, Last: last,
		text:     func(s *State) string { return formatNumber(*of(s)) },
		read:     func(s *State, text string) error { return set(of(s), text, parseShare) },
		position: func(s *State) int { return int(math.Round(last * min(max(*of(s), 0), 1))) },
		at:       func(position int) string { return formatNumber(float64(position) / last) },
	}
}

func toggle(key, name, hint string, of func(*State) *bool) Field {
	f := choice(key, name, hint, of, []option[bool]{{false, "false", ""}, {true, "true", ""}})
	f.Kind = Switch
	return f
}

// An option is a value of a choice, with its text in the URL and its name on the page.
type option[T any] struct {
	value      T
	text, name string
}

func choice[T comparable](key, name, hint string, of func(*State) *T, options []option[T]) Field {
	f := Field{Key: key, Name: name, Hint: hint, Kind: Select}
	for _, o := range options {
		f.Choices = append(f.Choices, Choice{o.text, o.name})
	}
	f.text = func(s *State) string {
		for _, o := range options {
			if o.value == *of(s) {
				return o.text
			}
		}
		return options[0].text
	}
	f.read = func(s *State, text string) error {
		for _, o := range options {
			if o.text == text {
				*of(s) = o.value
				return nil
			}
		}
		return fmt.Errorf("there is no choice %q", text)
	}
	return f
}

// set sets value to what parse makes of text, and leaves it alone if that fails.
func set[T any](value *T, text string, parse func(string) (T, error)) error {
	parsed, err := parse(strings.TrimSpace(text))
	if err == nil {
		*value = parsed
	}
	return err
}

// parseDuration parses a duration. A number without a unit is in milliseconds, and nothing is 0.
func parseDuration(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	if ms, err := parseMilliseconds(text); err == nil {
		return ms, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration, such as 100ms or 1.5s", text)
	}
	return d, nil
}

// parseMilliseconds parses a number of milliseconds.
func parseMilliseconds(text string) (time.Duration, error) {
	ms, err := strconv.ParseFloat(text, 64)
	if err != nil || !(math.Abs(ms) <= longest.Seconds()*1000) {
		return 0, fmt.Errorf("%q is not a number of milliseconds", text)
	}
	return time.Duration(math.Round(ms * float64(time.Millisecond))), nil
}

func parseCount(text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("%q is not a whole number", text)
	}
	return n, nil
}

func parseShare(text string) (float64, error) {
	if text == "" {
		return 0, nil
	}
	x, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
		return 0, errors.New(strconv.Quote(text) + " is not a number, such as 0.5")
	}
	return x, nil
}

func formatNumber(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }

// formatDuration formats d for a URL: in ASCII, and without zeros at the end.
func formatDuration(d time.Duration) string {
	text := strings.Replace(d.String(), "µ", "u", 1)
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// formatMilliseconds formats d as a number of milliseconds.
func formatMilliseconds(d time.Duration) string {
	return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', -1, 64)
}

// durationStops returns the durations at the positions of a slider.
func durationStops() []time.Duration {
	stops := []time.Duration{0}
	for decade := time.Millisecond; decade <= 10*time.Second; decade *= 10 {
		for _, tenths := range []int{10, 12, 15, 18, 20, 25, 30, 40, 50, 60, 70, 80, 90} {
			stops = append(stops, decade/10*time.Duration(tenths))
		}
	}
	return stops
}

// nearest returns the index of the stop that is nearest to d.
func nearest(stops []time.Duration, d time.Duration) int {
	i, found := slices.BinarySearch(stops, d)
	switch {
	case found || i == 0:
		return i
	case i == len(stops) || d-stops[i-1] < stops[i]-d:
		return i - 1
	default:
		return i
	}
}
