package throttle_test

// This file holds debouncing: Quiet, its bound MaxWait, its leading edge, and
// what a dropped call is told.

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

func TestQuietPostponesARunAndMaxWaitBoundsIt(t *testing.T) { playAll(t, debounceTimelines) }

const bothEdges = throttle.Leading | throttle.Trailing

var debounceTimelines = []timeline{
	{name: "a run follows the last call by the quiet",
		policy: throttle.Debounce(100*ms, 0), moments: calls(0, 50, 149, 400), want: []int{249, 500}},
	{name: "steady calls postpone an unbounded run until they stop",
		policy: throttle.Debounce(100*ms, 0), moments: steadyCalls(0, 10_000, 50), want: []int{10_100}},
	{name: "steady calls postpone a run no longer than the bound from the first uncovered call",
		policy: throttle.Debounce(100*ms, 320*ms), moments: steadyCalls(0, 1000, 50), want: []int{320, 670, 1020}},
	{name: "bound reached before the quiet",
		policy: throttle.Debounce(800*ms, time.Second), moments: calls(0, 600), want: []int{1000}},
	{name: "quiet reached before the bound",
		policy: throttle.Debounce(800*ms, time.Second), moments: calls(0, 100), want: []int{900}},
	{name: "bound equal to the quiet is a fixed batch window",
		policy: throttle.Debounce(100*ms, 100*ms), moments: calls(0, 50, 90, 110, 200), want: []int{100, 210}},
	{name: "a call during a run starts a quiet of its own",
		policy: throttle.Debounce(100*ms, 0), script: []scripted{takes(300*ms, nil)}, moments: calls(0, 150, 350), want: []int{100, 450}},
	{name: "quiet that passes during a run ends with it",
		policy: throttle.Debounce(100*ms, 0), script: []scripted{takes(300*ms, nil)}, moments: calls(0, 150), want: []int{100, 400}},

	{name: "leading edge runs the first call of a flurry, trailing edge the rest",
		policy: throttle.Policy{Quiet: 100 * ms, Edges: bothEdges}, moments: calls(0, 50, 200, 700), want: []int{0, 150, 200, 700}},
	{name: "leading edge opens exactly a quiet after the last call",
		policy: throttle.Policy{Quiet: 100 * ms, Edges: bothEdges}, moments: calls(0, 100, 200), want: []int{0, 100, 200}},
	{name: "leading edge stays closed less than a quiet after the last call",
		policy: throttle.Policy{Quiet: 100 * ms, Edges: bothEdges}, moments: calls(0, 99), want: []int{0, 199}},
	{name: "leading edge alone drops the rest, and what is dropped counts for the quiet",
		policy: throttle.Policy{Quiet: 100 * ms, Edges: throttle.Leading}, moments: calls(0, 50, 140, 240, 300), want: []int{0, 240}},
	{name: "leading edge needs the interval as well as the quiet",
		policy: throttle.Policy{Interval: 500 * ms, Quiet: 100 * ms, Edges: bothEdges}, moments: calls(0, 200, 700, 1100, 1250), want: []int{0, 500, 1000, 1500}},

	{name: "urgent call cuts the quiet short for all that wait",
		policy: throttle.Debounce(time.Second, 0), moments: slices.Concat(calls(0, 200), at(100, callWithin(50*ms))), want: []int{150, 1200}},
	{name: "less urgent call takes nothing back",
		policy: throttle.Debounce(time.Second, 0), moments: slices.Concat(at(100, callWithin(50*ms)), at(120, callWithin(500*ms))), want: []int{150}},
	{name: "call that can wait longer than the quiet does not",
		policy: throttle.Debounce(100*ms, 0), moments: slices.Concat(calls(0), at(50, callWithin(time.Second))), want: []int{150}},
	{name: "urgent call at once",
		policy: throttle.Debounce(time.Second, 0), moments: slices.Concat(calls(0), at(100, callWithin(0))), want: []int{100}},

	{name: "interval holds when the quiet is over",
		policy: throttle.Policy{Interval: 500 * ms, Quiet: 100 * ms}, moments: calls(0, 150), want: []int{100, 600}},
	{name: "quiet holds when the interval is over",
		policy: throttle.Policy{Interval: 500 * ms, Quiet: 100 * ms}, moments: calls(0, 150, 550), want: []int{100, 650}},
	{name: "interval holds beyond the bound on quiet",
		policy: throttle.Policy{Interval: time.Second, Quiet: 100 * ms, MaxWait: 200 * ms}, moments: calls(0, 150), want: []int{100, 1100}},
	{name: "bucket of debounced runs",
		policy: throttle.Policy{Interval: time.Second, Burst: 2, Quiet: 10 * ms}, moments: calls(0, 20, 40), want: []int{10, 30, 1010}},
}

func TestDroppedCallIsToldWhenToComeAgain(t *testing.T) {
	leading := func(p throttle.Policy) throttle.Policy {
		p.Edges = throttle.Leading
		return p
	}
	backoff := throttle.Backoff{Initial: time.Second}
	tests := []struct {
		name   string
		policy throttle.Policy
		script scripted // of the run at 0
		calls  []moment // that precede
		at     int
		want   time.Duration
	}{
		{name: "rest of the interval", policy: throttle.Every(100 * ms), at: 30, want: 70 * ms},
		{name: "quiet counts from the dropped call", policy: throttle.Debounce(100*ms, 0), calls: calls(20), at: 30, want: 100 * ms},
		{name: "interval beyond the quiet", policy: throttle.Policy{Interval: 500 * ms, Quiet: 100 * ms}, at: 30, want: 470 * ms},
		{name: "quiet beyond the interval", policy: throttle.Policy{Interval: 500 * ms, Quiet: 100 * ms}, at: 450, want: 100 * ms},
		{name: "active run", policy: throttle.Every(100 * ms), script: takes(300*ms, nil), at: 150, want: 0},
		{name: "active run in the interval", policy: throttle.Every(100 * ms), script: takes(300*ms, nil), at: 30, want: 70 * ms},
		{name: "pause after the active run", policy: throttle.Policy{Interval: 100 * ms, From: throttle.FromEnd}, script: takes(300*ms, nil), at: 150, want: 100 * ms},
		{name: "pause", policy: throttle.Policy{Interval: 100 * ms, From: throttle.FromEnd}, script: takes(300*ms, nil), at: 350, want: 50 * ms},
		{name: "backoff", policy: throttle.Policy{Interval: 10 * ms, Retry: backoff}, script: takes(0, errFailed), at: 100, want: 900 * ms},
		{name: "retry that the callback asked for", script: takes(0, throttle.RetryIn(700*ms)), at: 100, want: 600 * ms},
		{name: "bucket", policy: throttle.Policy{Interval: 100 * ms, Burst: 2}, calls: calls(20), at: 30, want: 70 * ms},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRecorder()
				if tt.script != nil {
					r.script = []scripted{tt.script}
				}
				throttler := r.throttler(t, leading(tt.policy), throttle.WithName("reload"))
				for _, m := range slices.Concat(calls(0), tt.calls) {
					r.until(m.at)
					m.do(throttler)
				}
				r.until(tt.at)
				before := len(r.started())
				err := throttler.Do(context.Background())
				var throttled *throttle.ThrottledError
				require.ErrorAs(t, err, &throttled)
				require.Equal(t, throttle.ThrottledError{Name: "reload", RetryAfter: tt.want}, *throttled)
				require.ErrorIs(t, err, throttle.ErrThrottled)
				require.Len(t, r.started(), before)
			})
		})
	}
}
