package docs_test

import (
	"context"
	"errors"
	"time"

	"github.com/throttle-go/throttle"
)

// A scenario is what happens to a throttler in one picture of POLICIES.md.
type scenario struct {
	name     string          // of the picture's file
	title    string          // of the picture, and of its section of the page
	policy   throttle.Policy // the page shows this expression as it is written here
	calls    []int           // when, in milliseconds
	runs     []outcome       // of the first run, the second, …; later ones take usual
	moments  []moment        // what else happens, in order
	measures []measure
	until    int // where the picture ends, in milliseconds

	// coalescer makes calls carry values: the first "a", the second "b".
	coalescer newCoalescer
}

type newCoalescer func(throttle.Policy, func(context.Context, []string) error, ...throttle.Option) (*throttle.Coalescer[string, []string], error)

// An outcome says how a run ends.
type outcome struct {
	took int // milliseconds
	err  error
}

const usual = 20 // milliseconds that a run takes

var errFailed = errors.New("failed")

// A moment is an event other than a call.
type moment struct {
	at     int // milliseconds
	label  string
	cancel func(*throttle.Throttler) bool
	flush  func(context.Context, *throttle.Throttler) error
}

// A measure is a distance that a picture shows.
type measure struct {
	label    string
	from, to point
}

var scenarios = []scenario{
	{
		name: "leading-and-trailing", title: "At once, then at most once per interval",
		policy: throttle.Every(100 * time.Millisecond),
		calls:  []int{0, 30, 60, 110, 330, 350, 370}, until: 500,
		measures: []measure{{"Interval", start(0), start(1)}},
	},
	{
		name: "from-end", title: "A pause after each run",
		policy: throttle.Policy{Interval: 80 * time.Millisecond, From: throttle.FromEnd},
		calls:  []int{0, 30, 200, 240}, runs: []outcome{{took: 60}, {took: 110}}, until: 500,
		measures: []measure{{"Interval", end(0), start(1)}, {"Interval", end(1), start(2)}},
	},
	{
		name: "debounce", title: "Once calls have stopped",
		policy: throttle.Debounce(60*time.Millisecond, 0),
		calls:  []int{0, 25, 50, 90, 120, 300, 330}, until: 500,
		measures: []measure{{"Quiet", call(4), start(0)}, {"Quiet", call(6), start(1)}},
	},
	{
		name: "debounce-max-wait", title: "Once calls have stopped, but no later than a bound",
		policy: throttle.Debounce(60*time.Millisecond, 150*time.Millisecond),
		calls:  []int{0, 40, 80, 120, 190, 230, 270}, until: 500,
		measures: []measure{{"MaxWait", call(0), start(0)}, {"Quiet", call(6), start(1)}},
	},
	{
		name: "batch-window", title: "Collect for a fixed time, then run",
		policy: throttle.Debounce(100*time.Millisecond, 100*time.Millisecond),
		calls:  []int{0, 30, 85, 160, 200, 330}, until: 500,
		measures: []measure{{"MaxWait", call(0), start(0)}, {"MaxWait", call(3), start(1)}, {"MaxWait", call(5), start(2)}},
	},
	{
		name: "quiet-with-interval", title: "Wait for quiet, and keep an interval",
		policy: throttle.Policy{Interval: 150 * time.Millisecond, Quiet: 50 * time.Millisecond},
		calls:  []int{0, 30, 100, 130, 360, 380}, until: 500,
		measures: []measure{{"Interval", start(0), start(1)}, {"Quiet", call(5), start(2)}},
	},
	{
		name: "trailing-only", title: "Never at once, only at the end of a window",
		policy: throttle.Policy{Interval: 100 * time.Millisecond, Edges: throttle.Trailing},
		calls:  []int{0, 30, 60, 130, 160, 330, 390}, until: 500,
		measures: []measure{{"Interval", call(0), start(0)}, {"Interval", call(5), start(2)}},
	},
	{
		name: "leading-only", title: "Drop what comes too early",
		policy: throttle.Policy{Interval: 100 * time.Millisecond, Edges: throttle.Leading},
		calls:  []int{0, 30, 60, 130, 160, 330, 390, 450}, runs: []outcome{{took: usual}, {took: usual}, {took: 140}}, until: 500,
		measures: []measure{{"Interval", start(0), windowEnd(0)}},
	},
	{
		name: "burst", title: "A few back to back after a rest",
		policy: throttle.Policy{Interval: 180 * time.Millisecond, Burst: 3},
		calls:  []int{0, 60, 120, 140, 155, 400}, until: 500,
		measures: []measure{{"Interval", start(0), start(3)}},
	},
	{
		name: "max-load", title: "Less often as runs take longer",
		policy: throttle.Policy{Interval: 60 * time.Millisecond, MaxLoad: 0.5},
		calls:  []int{0, 25, 85, 120, 170, 230, 320, 340, 475}, runs: []outcome{{took: usual}, {took: 40}, {took: 70}, {took: 90}}, until: 500,
		measures: []measure{{"Interval", start(0), start(1)}, {"rest", end(1), start(2)}, {"rest", end(2), start(3)}, {"rest", end(3), start(4)}},
	},
	{
		name: "max-interval", title: "Now and then even if nobody calls",
		policy: throttle.Policy{Interval: 60 * time.Millisecond, MaxInterval: 150 * time.Millisecond},
		calls:  []int{0, 220, 240}, until: 500,
		measures: []measure{{"MaxInterval", start(0), start(1)}, {"MaxInterval", start(3), start(4)}},
	},
	{
		name: "retry", title: "Repeat failures with backoff",
		policy: throttle.Policy{Retry: throttle.Backoff{Initial: 100 * time.Millisecond, Max: time.Second}},
		calls:  []int{0, 180, 250}, runs: []outcome{{usual, errFailed}, {usual, errFailed}}, until: 500,
		measures: []measure{{"Initial", end(0), start(1)}, {"twice that,", end(1), start(2)}},
	},
	{
		name: "slow-run", title: "A run that takes longer than the interval",
		policy: throttle.Every(100 * time.Millisecond),
		calls:  []int{0, 40, 120, 340}, runs: []outcome{{took: 180}, {took: usual}}, until: 500,
		measures: []measure{{"Interval", start(0), windowEnd(0)}, {"Interval", start(1), windowEnd(1)}},
	},
	{
		name: "flush", title: "Run what is pending at once",
		policy: throttle.Every(150 * time.Millisecond),
		calls:  []int{0, 40, 60, 170}, moments: []moment{{at: 95, label: "Flush", flush: flush}}, until: 500,
		measures: []measure{{"Interval", start(1), start(2)}},
	},
	{
		name: "cancel", title: "Drop what is pending",
		policy: throttle.Every(150 * time.Millisecond),
		calls:  []int{0, 40, 60, 270}, moments: []moment{{at: 95, label: "Cancel", cancel: cancel}}, until: 500,
		measures: []measure{{"Interval", start(0), windowEnd(0)}},
	},
	{
		name: "coalescer", title: "Calls that carry values, in batches",
		policy: throttle.Policy{
			Quiet: 90 * time.Millisecond, MaxWait: 90 * time.Millisecond, MaxCalls: 3,
			Retry: throttle.Backoff{Initial: 60 * time.Millisecond},
		},
		calls: []int{0, 40, 160, 175, 190, 205, 220}, coalescer: newWriter, until: 500,
		runs:     []outcome{{took: usual}, {usual, errFailed}},
		measures: []measure{{"MaxWait", call(0), start(0)}, {"full after", call(2), start(1)}, {"Initial", end(1), start(2)}},
	},
}
