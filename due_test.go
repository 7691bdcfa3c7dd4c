package throttle_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/throttle-go/throttle"
)

const ms = time.Millisecond

func TestPolicy_due(t *testing.T) {
	const longest = time.Duration(math.MaxInt64)
	type steps = []throttle.Step
	called, started, succeeded, failed := throttle.Called, throttle.Started, throttle.Succeeded, throttle.Failed
	batch := throttle.Policy{Interval: 100 * ms, Edges: throttle.Trailing}
	urgent := throttle.Policy{Interval: 100 * ms, Quiet: 50 * ms, MaxWait: 80 * ms}
	retry := throttle.Policy{Interval: 100 * ms, Retry: throttle.Backoff{
		Initial: 30 * ms, Max: 200 * ms, MaxAttempts: 9, Jitter: 0.5,
	}}
	eager := retry
	eager.Retry.Eager = true
	load := throttle.Policy{Interval: 100 * ms, MaxLoad: 0.25}
	jitter := throttle.Policy{Interval: 100 * ms, MaxInterval: 300 * ms, Jitter: 0.5}
	for _, test := range []struct {
		name   string
		policy throttle.Policy
		steps  steps
		due    time.Duration
		cause  throttle.Cause
	}{
		{"nothing", throttle.Every(100 * ms), nil, throttle.Never, throttle.CauseCall},
		{"a first call", throttle.Every(100 * ms), steps{called(7 * ms)}, 7 * ms, throttle.CauseCall},
		{"a call inside the window", throttle.Every(100 * ms), steps{started(0), called(7 * ms)}, 100 * ms, throttle.CauseCall},
		{
			"an end, with FromEnd", throttle.Policy{Interval: 100 * ms, From: throttle.FromEnd},
			steps{started(0), throttle.CalledDuringRun(5 * ms), succeeded(40 * ms)},
			140 * ms, throttle.CauseCall,
		},
		{
			"a token is left", throttle.Policy{Interval: 100 * ms, Burst: 2},
			steps{started(0), called(7 * ms)},
			7 * ms, throttle.CauseCall,
		},
		{
			"no token is left", throttle.Policy{Interval: 100 * ms, Burst: 2},
			steps{started(0), started(60 * ms), called(70 * ms)},
			100 * ms, throttle.CauseCall,
		},
		{
			"a full bucket gains nothing before the next start", throttle.Policy{Interval: 100 * ms, Burst: 2},
			steps{started(0), started(150 * ms), started(160 * ms), called(170 * ms)},
			250 * ms, throttle.CauseCall,
		},
		{
			"a flush without token restarts accrual", throttle.Policy{Interval: 100 * ms, Burst: 2},
			steps{started(0), started(10 * ms), called(20 * ms), throttle.Flushed(30 * ms), started(30 * ms), called(40 * ms)},
			130 * ms, throttle.CauseCall,
		},
		{"a flush", throttle.Every(100 * ms), steps{started(0), called(7 * ms), throttle.Flushed(9 * ms)}, 9 * ms, throttle.CauseFlush},
		{"quiet", urgent, steps{called(0), called(20 * ms)}, 70 * ms, throttle.CauseCall},
		{"never quiet", urgent, steps{called(0), called(40 * ms), called(75 * ms)}, 80 * ms, throttle.CauseCall},
		{"quiet inside the window", urgent, steps{started(0), called(5 * ms)}, 100 * ms, throttle.CauseCall},
		{"urgent", urgent, steps{called(0), throttle.CalledWithin(5*ms, 10*ms), called(6 * ms)}, 15 * ms, throttle.CauseCall},
		{"trailing alone, outside a window", batch, steps{called(5 * ms)}, 105 * ms, throttle.CauseCall},
		{"trailing alone, inside a window", batch, steps{started(0), called(5 * ms)}, 100 * ms, throttle.CauseCall},
		{"trailing alone, at the very end of a window", batch, steps{started(0), called(100 * ms)}, 200 * ms, throttle.CauseCall},
		{"trailing alone, urgent", batch, steps{called(5 * ms), throttle.CalledWithin(6*ms, 2*ms)}, 8 * ms, throttle.CauseCall},
		{
			"a full batch", throttle.Policy{Quiet: 50 * ms, MaxCalls: 2},
			steps{called(5 * ms), called(6 * ms), called(7 * ms)},
			6 * ms, throttle.CauseCall,
		},
		{
			"a full batch that only the window holds back", throttle.Policy{Interval: 100 * ms, MaxCalls: 2},
			steps{started(0), called(5 * ms), called(6 * ms), called(7 * ms)},
			100 * ms, throttle.CauseCall,
		},
		{"a retry", retry, steps{started(0), failed(90*ms, 0)}, 120 * ms, throttle.CauseRetry},
		{"a retry shortened by jitter", retry, steps{started(0), failed(90*ms, 0.5)}, 112500 * time.Microsecond, throttle.CauseRetry},
		{"a retry inside the window", retry, steps{started(0), failed(10*ms, 0)}, 100 * ms, throttle.CauseRetry},
		{
			"the fourth retry", retry,
			steps{started(0), failed(0, 0), started(1), failed(1, 0), started(2), failed(2, 0), started(3), failed(0, 0)},
			200 * ms, throttle.CauseRetry,
		},
		{"a call while a retry waits", retry, steps{started(0), failed(90*ms, 0), called(95 * ms)}, 120 * ms, throttle.CauseCall},
		{"an eager call", eager, steps{started(0), failed(90*ms, 0), called(95 * ms)}, 100 * ms, throttle.CauseCall},
		{"a periodic run before the first", throttle.Policy{MaxInterval: 300 * ms}, nil, 300 * ms, throttle.CauseInterval},
		{
			"a periodic run", throttle.Policy{MaxInterval: 300 * ms},
			steps{started(50 * ms), succeeded(60 * ms)},
			350 * ms, throttle.CauseInterval,
		},
		{
			"a call and a periodic run", throttle.Policy{Interval: 300 * ms, MaxInterval: 300 * ms},
			steps{started(0), called(10 * ms)},
			300 * ms, throttle.CauseCall,
		},
		{"load before the first run", load, steps{called(7 * ms)}, 7 * ms, throttle.CauseCall},
		{"load of a short run", load, steps{started(0), succeeded(20 * ms), called(30 * ms)}, 100 * ms, throttle.CauseCall},
		{"load of a long run", load, steps{started(0), succeeded(40 * ms), called(50 * ms)}, 160 * ms, throttle.CauseCall},
		{
			"load alone", throttle.Policy{MaxLoad: 0.25},
			steps{started(0), succeeded(20 * ms), called(30 * ms)},
			80 * ms, throttle.CauseCall,
		},
		{"load of the last run alone", load, steps{
			started(0), succeeded(400 * ms), called(410 * ms), throttle.Flushed(420 * ms), started(420 * ms), succeeded(470 * ms), called(480 * ms),
		}, 620 * ms, throttle.CauseCall},
		{
			"load, with FromEnd", throttle.Policy{Interval: 100 * ms, MaxLoad: 0.5, From: throttle.FromEnd},
			steps{started(0), succeeded(40 * ms), called(50 * ms)},
			140 * ms, throttle.CauseCall,
		},
		{
			"load of a long run, with FromEnd", throttle.Policy{Interval: 100 * ms, MaxLoad: 0.5, From: throttle.FromEnd},
			steps{started(0), succeeded(140 * ms), called(150 * ms)},
			280 * ms, throttle.CauseCall,
		},
		{
			"load while a token is left", throttle.Policy{Interval: 100 * ms, Burst: 3, MaxLoad: 0.25},
			steps{started(0), succeeded(20 * ms), called(30 * ms)},
			80 * ms, throttle.CauseCall,
		},
		{
			"load, with Quiet", throttle.Policy{Quiet: 10 * ms, MaxLoad: 0.25},
			steps{called(0), started(10 * ms), succeeded(30 * ms), called(40 * ms)},
			90 * ms, throttle.CauseCall,
		},
		{
			"load, trailing alone", throttle.Policy{Interval: 10 * ms, MaxLoad: 0.25, Edges: throttle.Trailing},
			steps{started(0), succeeded(20 * ms), called(30 * ms)},
			80 * ms, throttle.CauseCall,
		},
		{"load and a flush", load, steps{started(0), succeeded(40 * ms), called(50 * ms), throttle.Flushed(60 * ms)}, 60 * ms, throttle.CauseFlush},
		{
			"load and a retry", throttle.Policy{MaxLoad: 0.25, Retry: throttle.Backoff{Initial: 30 * ms}},
			steps{started(0), failed(20*ms, 0)},
			80 * ms, throttle.CauseRetry,
		},
		{
			"load and an eager call", throttle.Policy{MaxLoad: 0.25, Retry: throttle.Backoff{Initial: 130 * ms, Eager: true}},
			steps{started(0), failed(20*ms, 0), called(30 * ms)},
			80 * ms, throttle.CauseCall,
		},
		{
			"load and a periodic run", throttle.Policy{MaxInterval: 50 * ms, MaxLoad: 0.25},
			steps{started(0), succeeded(20 * ms)},
			80 * ms, throttle.CauseInterval,
		},
		{
			"the least load", throttle.Policy{MaxLoad: math.SmallestNonzeroFloat64},
			steps{started(0), succeeded(1), called(2)},
			throttle.Never, throttle.CauseCall,
		},
		{
			"the least load of a run that took no time", throttle.Policy{MaxLoad: math.SmallestNonzeroFloat64},
			steps{started(1), succeeded(1), called(2)},
			2, throttle.CauseCall,
		},
		{
			"the most load", throttle.Policy{MaxLoad: math.Nextafter(1, 0)},
			steps{started(0), succeeded(time.Hour), called(time.Hour + 1)},
			time.Hour + 1, throttle.CauseCall,
		},
		{
			"a rest beyond time", throttle.Policy{MaxLoad: 0.5},
			steps{started(0), succeeded(longest/2 + 1), called(longest/2 + 2)},
			throttle.Never, throttle.CauseCall,
		},
		{"jitter before the first run", jitter, steps{throttle.Drawn(0.5)}, 225 * ms, throttle.CauseInterval},
		{
			"jitter after a run", jitter, steps{throttle.Drawn(0.75), throttle.StartedWith(50*ms, 0.5), succeeded(60 * ms)},
			275 * ms, throttle.CauseInterval,
		},
		{
			"jitter, with FromEnd", throttle.Policy{MaxInterval: 300 * ms, Jitter: 0.5, From: throttle.FromEnd},
			steps{throttle.StartedWith(50*ms, 0.5), succeeded(60 * ms)},
			285 * ms, throttle.CauseInterval,
		},
		{"jitter of nothing", throttle.Policy{MaxInterval: 300 * ms}, steps{throttle.Drawn(0.5)}, 300 * ms, throttle.CauseInterval},
		{
			"jitter beyond the interval", throttle.Policy{Interval: 200 * ms, MaxInterval: 300 * ms, Jitter: 1},
			steps{throttle.Drawn(0.5)},
			200 * ms, throttle.CauseInterval,
		},
		{
			"jitter beyond the interval while a token is left",
			throttle.Policy{Interval: 200 * ms, Burst: 2, MaxInterval: 300 * ms, Jitter: 1},
			steps{throttle.StartedWith(10*ms, 0.5), succeeded(10 * ms)},
			210 * ms, throttle.CauseInterval,
		},
		{
			"jitter of the longest period", throttle.Policy{MaxInterval: longest, Jitter: 1},
			steps{throttle.Drawn(throttle.MostDrawn)},
			1<<39 - 1, throttle.CauseInterval,
		},
		{"an interval beyond time", throttle.Every(longest), steps{started(1), called(2)}, throttle.Never, throttle.CauseCall},
		{"the longest interval", throttle.Every(longest), steps{started(0), called(2)}, throttle.Never, throttle.CauseCall},
		{"the longest quiet", throttle.Debounce(longest, 0), steps{called(2)}, throttle.Never, throttle.CauseCall},
		{"a doubling beyond time", throttle.Policy{Retry: throttle.Backoff{Initial: longest - 1, Max: longest}}, steps{
			started(0), failed(0, 0), started(1), failed(0, 0),
		}, throttle.Never, throttle.CauseCall},
	} {
		t.Run(test.name, func(t *testing.T) {
			due, cause := throttle.Due(test.policy, test.steps...)
			assert.Equal(t, test.due, due)
			assert.Equal(t, test.cause, cause)
		})
	}
}

func TestPolicy_forgettable(t *testing.T) {
	const longest = time.Duration(math.MaxInt64)
	type steps = []throttle.Step
	called, started, succeeded, failed := throttle.Called, throttle.Started, throttle.Succeeded, throttle.Failed
	burst := throttle.Policy{Interval: 100 * ms, Burst: 3}
	retry := throttle.Policy{Interval: 100 * ms, Retry: throttle.Backoff{Initial: 300 * ms, MaxAttempts: 1}}
	eager := retry
	eager.Retry.Eager = true
	quiet := throttle.Policy{Quiet: 50 * ms, Edges: throttle.Leading | throttle.Trailing}
	for _, test := range []struct {
		name   string
		policy throttle.Policy
		steps  steps
		rests  time.Duration
	}{
		{"nothing", throttle.Every(100 * ms), nil, throttle.Always},
		{"a pending call", throttle.Every(100 * ms), steps{called(7 * ms)}, throttle.Never},
		{"a pending call that is never due", throttle.Every(longest), steps{started(1), called(7 * ms)}, throttle.Never},
		{
			"a pending call that is never due, outside a window", throttle.Policy{Interval: longest, Edges: throttle.Trailing},
			steps{called(7 * ms)}, throttle.Never,
		},
		{
			"a retry that is never due, eager", throttle.Policy{Retry: throttle.Backoff{Initial: longest, Eager: true}},
			steps{started(1), failed(2, 0)}, throttle.Never,
		},
		{"a run", throttle.Every(100 * ms), steps{started(7 * ms), succeeded(9 * ms)}, 107 * ms},
		{"a run, with no interval", throttle.Policy{}, steps{called(0), started(0), succeeded(9 * ms)}, 0},
		{
			"a run, with FromEnd", throttle.Policy{Interval: 100 * ms, From: throttle.FromEnd},
			steps{started(7 * ms), succeeded(9 * ms)}, 109 * ms,
		},
		{"one token of three is gone", burst, steps{started(7 * ms), succeeded(9 * ms)}, 107 * ms},
		{"all tokens are gone", burst, steps{started(0), started(10 * ms), started(20 * ms), succeeded(20 * ms)}, 300 * ms},
		{
			"a bucket that fills just before the end of time", throttle.Policy{Interval: longest / 3, Burst: 3},
			steps{started(0), started(0), started(0), succeeded(0)}, longest / 3 * 3,
		},
		{
			"a bucket that never fills", throttle.Policy{Interval: longest / 2, Burst: 3},
			steps{started(0), started(1), started(2), succeeded(3)}, throttle.Never,
		},
		{"an interval beyond time", throttle.Every(longest), steps{started(1), succeeded(2)}, throttle.Never},
		{"a failure that gives up", retry, steps{started(0), failed(20*ms, 0)}, 320 * ms},
		{"a failure that gives up, eager", eager, steps{started(0), failed(20*ms, 0)}, 100 * ms},
		{"a waiting retry", throttle.Policy{Retry: throttle.Backoff{Initial: ms}}, steps{started(0), failed(20*ms, 0)}, throttle.Never},
		{"the quiet after the last call", quiet, steps{called(0), called(30 * ms), started(50 * ms), succeeded(50 * ms)}, 80 * ms},
		{"a periodic run", throttle.Policy{MaxInterval: 300 * ms}, steps{started(0), succeeded(0)}, throttle.Never},
		{
			"the rest after a long run", throttle.Policy{Interval: 100 * ms, MaxLoad: 0.25},
			steps{started(0), succeeded(40 * ms)}, 160 * ms,
		},
		{
			"the rest after a short run", throttle.Policy{Interval: 100 * ms, MaxLoad: 0.25},
			steps{started(0), succeeded(20 * ms)}, 100 * ms,
		},
		{
			"the rest after a run of a burst", throttle.Policy{Interval: 10 * ms, Burst: 3, MaxLoad: 0.25},
			steps{started(0), succeeded(40 * ms)}, 160 * ms,
		},
		{
			"a rest that never ends", throttle.Policy{MaxLoad: math.SmallestNonzeroFloat64},
			steps{started(0), succeeded(1)}, throttle.Never,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.rests, throttle.Rests(test.policy, test.steps...))
		})
	}
}
