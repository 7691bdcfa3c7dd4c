package throttle_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

func TestThrottler_retry(t *testing.T) { playAll(t, retryTimelines) }

// backoff returns the policy of a retry alone.
func backoff(initial, limit time.Duration) throttle.Policy {
	return throttle.Policy{Retry: throttle.Backoff{Initial: initial, Max: limit}}
}

// retrying returns p with a constant delay before retries.
func retrying(p throttle.Policy, delay time.Duration) throttle.Policy {
	p.Retry = throttle.Backoff{Initial: delay}
	return p
}

// eager returns p with retries that let calls through.
func eager(p throttle.Policy, delay time.Duration) throttle.Policy {
	p.Retry = throttle.Backoff{Initial: delay, Eager: true}
	return p
}

func retryIn(d time.Duration) scripted { return takes(0, throttle.RetryIn(d)) }

var giveUp = throttle.Policy{Retry: throttle.Backoff{Initial: 100 * ms, Max: time.Second, MaxAttempts: 3}}

var retryTimelines = []timeline{
	{name: "not without a backoff",
		policy: throttle.Every(100 * ms), script: fails(1), moments: calls(0), want: []int{0}},
	{name: "after a delay that doubles",
		policy: backoff(100*ms, time.Minute), script: fails(4), moments: calls(0), want: []int{0, 100, 300, 700, 1500}},
	{name: "after a delay that doubles up to the limit",
		policy: backoff(100*ms, 250*ms), script: fails(4), moments: calls(0), want: []int{0, 100, 300, 550, 800}},
	{name: "after a constant delay if there is no limit",
		policy: backoff(100*ms, 0), script: fails(4), moments: calls(0), want: []int{0, 100, 200, 300, 400}},
	{name: "after a delay from the end",
		policy: backoff(100*ms, 0), script: []scripted{takes(70*ms, errFailed)}, moments: calls(0), want: []int{0, 170}},
	{name: "success starts the delays anew",
		policy: backoff(100*ms, time.Minute), script: slices.Concat(fails(2), []scripted{takes(0, nil)}, fails(2)),
		moments: calls(0, 1000), want: []int{0, 100, 300, 1000, 1100, 1300}},
	{name: "never inside the window",
		policy: retrying(throttle.Every(500*ms), 100*ms), script: fails(1), moments: calls(0), want: []int{0, 500}},
	{name: "never inside the pause after a run",
		policy: retrying(throttle.Policy{Interval: 500 * ms, From: throttle.FromEnd}, 100*ms), script: []scripted{takes(50*ms, errFailed)},
		moments: calls(0), want: []int{0, 550}},
	{name: "with a leading edge alone too",
		policy: retrying(throttle.Policy{Edges: throttle.Leading}, 100*ms), script: fails(1), moments: calls(0, 50), want: []int{0, 100}},
	{name: "and covers the calls that wait for quiet",
		policy: retrying(throttle.Debounce(time.Second, 0), 100*ms), script: fails(1), moments: calls(0, 1050), want: []int{1000, 1100}},
	{name: "and takes a token",
		policy: retrying(throttle.Policy{Interval: time.Second, Burst: 2}, 100*ms), script: fails(1), moments: calls(0, 200), want: []int{0, 100, 1000}},
	{name: "like one that panicked or ended its goroutine",
		policy: backoff(100*ms, time.Minute), script: []scripted{
			func(context.Context) error { panic("scripted") },
			func(context.Context) error { runtime.Goexit(); return nil }},
		moments: calls(0), want: []int{0, 100, 300}},

	{name: "calls do not hammer it meanwhile",
		policy: retrying(throttle.Every(10*ms), time.Second), script: fails(9), moments: slices.Concat(calls(0), steadyCalls(30, 2980, 50)),
		until: 3500, want: []int{0, 1000, 2000, 3000}},
	{name: "periodic runs do not hammer it meanwhile",
		policy: retrying(throttle.Policy{MaxInterval: 200 * ms}, time.Second), script: fails(1), until: 1500, want: []int{200, 1200, 1400}},
	{name: "eager calls run as soon as spacing permits",
		policy: eager(throttle.Every(100*ms), time.Second), script: fails(1), moments: calls(0, 30), want: []int{0, 100}},
	{name: "eager periodic runs too",
		policy: eager(throttle.Policy{MaxInterval: 200 * ms}, time.Second), script: fails(2), until: 750, want: []int{200, 400, 600}},
	{name: "an eager call that fails puts the retry off",
		policy: eager(throttle.Every(100*ms), time.Second), script: fails(2), moments: calls(0, 30), want: []int{0, 100, 1100}},
	{name: "an eager policy retries without calls",
		policy: eager(throttle.Every(100*ms), time.Second), script: fails(1), moments: calls(0), want: []int{0, 1000}},

	{name: "until it gives up",
		policy: giveUp, script: fails(3), moments: calls(0), want: []int{0, 100, 300}},
	{name: "and the delay after it gave up still closes the window",
		policy: giveUp, script: fails(3), moments: calls(0, 350), want: []int{0, 100, 300, 700}},
	{name: "and after it gave up the count starts anew",
		policy: giveUp, script: fails(6), moments: calls(0, 350), want: []int{0, 100, 300, 700, 800, 1000}},
	{name: "never if one attempt is all",
		policy: throttle.Policy{Retry: throttle.Backoff{Initial: 100 * ms, MaxAttempts: 1}}, script: fails(2), moments: calls(0, 50), want: []int{0, 100}},

	{name: "RetryIn runs again when the callback says",
		script: []scripted{retryIn(300 * ms)}, moments: calls(0), want: []int{0, 300}},
	{name: "RetryIn may be wrapped",
		script: []scripted{takes(0, fmt.Errorf("busy: %w", throttle.RetryIn(300*ms)))}, moments: calls(0), want: []int{0, 300}},
	{name: "RetryIn counts from the end",
		script: []scripted{takes(70*ms, throttle.RetryIn(300*ms))}, moments: calls(0), want: []int{0, 370}},
	{name: "RetryIn keeps calls away until then",
		policy: throttle.Every(10 * ms), script: []scripted{retryIn(300 * ms)}, moments: calls(0, 100, 200), want: []int{0, 300}},
	{name: "RetryIn keeps eager calls away too",
		policy: eager(throttle.Every(10*ms), 100*ms), script: []scripted{retryIn(300 * ms)}, moments: calls(0, 100), want: []int{0, 300}},
	{name: "RetryIn keeps the interval",
		policy: throttle.Every(100 * ms), script: []scripted{retryIn(-5), retryIn(30 * ms)}, moments: calls(0), want: []int{0, 100, 200}},
	{name: "RetryIn is neither success nor failure for the backoff",
		policy: backoff(100*ms, time.Minute), script: slices.Concat(fails(1), []scripted{retryIn(50 * ms)}, fails(1)), moments: calls(0), want: []int{0, 100, 150, 350}},
	{name: "RetryIn goes on after the backoff gives up",
		policy: giveUp, script: slices.Repeat([]scripted{retryIn(100 * ms)}, 5), moments: calls(0), want: []int{0, 100, 200, 300, 400, 500}},
	{name: "RetryIn in a panic is a failure",
		policy: backoff(100*ms, 0), script: []scripted{func(context.Context) error { panic(throttle.RetryIn(300 * ms)) }}, moments: calls(0), want: []int{0, 100}},

	{name: "a shorter hold replaces a longer one",
		policy: backoff(time.Second, 0), script: slices.Concat(fails(1), []scripted{retryIn(50 * ms)}), moments: slices.Concat(calls(0), at(100, flush)), want: []int{0, 100, 150}},
	{name: "success ends the hold",
		policy: backoff(time.Second, 0), script: fails(1), moments: slices.Concat(calls(0, 200), at(100, flush)), want: []int{0, 100, 200}},
	{name: "a flush passes the hold, calls that wait for it included",
		policy: backoff(time.Second, 0), script: fails(1), moments: slices.Concat(calls(0, 50), at(100, flush)), want: []int{0, 100}},
	{name: "a shutdown passes the hold",
		policy: backoff(time.Second, 0), script: fails(1), moments: slices.Concat(calls(0), at(100, shutdown)), want: []int{0, 100}},
	{name: "a shutdown's run is not retried",
		policy: backoff(100*ms, 0), script: fails(3), moments: slices.Concat(calls(0), at(50, shutdown)), want: []int{0, 50}},

	{name: "Cancel stops the retry and keeps the hold",
		policy: backoff(time.Second, 0), script: fails(1), moments: slices.Concat(calls(0, 60), at(50, cancel)), want: []int{0, 1000}},
	{name: "Cancel alone stops the retry",
		policy: backoff(time.Second, 0), script: fails(1), moments: slices.Concat(calls(0), at(50, cancel)), want: []int{0}},
	{name: "Cancel stops the retry of the active run, which holds by the first delay",
		policy: backoff(time.Second, time.Minute), script: []scripted{takes(0, errFailed), takes(100*ms, errFailed)},
		moments: slices.Concat(calls(0, 1200), at(1050, cancel)), want: []int{0, 1000, 2100}},
	{name: "Cancel stops the retry of the active run that is without calls since",
		policy: backoff(time.Second, 0), script: []scripted{takes(100*ms, errFailed)}, moments: slices.Concat(calls(0), at(50, cancel)), want: []int{0}},
	{name: "the failure of a run that Cancel met does not count",
		policy: backoff(100*ms, time.Minute), script: slices.Concat([]scripted{takes(100*ms, errFailed)}, fails(2)),
		moments: slices.Concat(calls(0, 60), at(50, cancel)), want: []int{0, 200, 300, 500}},
	{name: "Cancel starts the count anew",
		policy: backoff(100*ms, time.Minute), script: fails(4), moments: slices.Concat(calls(0, 160), at(150, cancel)), want: []int{0, 100, 300, 400, 600}},
	{name: "Cancel stops RetryIn of the active run and keeps its hold",
		script: []scripted{takes(100*ms, throttle.RetryIn(300*ms))}, moments: slices.Concat(calls(0, 150), at(50, cancel)), want: []int{0, 400}},
	{name: "Cancel stops RetryIn of the active run that is without calls since",
		script: []scripted{takes(100*ms, throttle.RetryIn(300*ms))}, moments: slices.Concat(calls(0), at(50, cancel)), want: []int{0}},

	{name: "no backoff any more: due at the window's end",
		policy: retrying(throttle.Every(500*ms), time.Second), script: fails(1), moments: slices.Concat(calls(0), at(200, setPolicy(throttle.Every(500*ms)))), want: []int{0, 500}},
	{name: "no backoff any more: due at once",
		policy: backoff(time.Second, 0), script: fails(1), moments: slices.Concat(calls(0), at(200, setPolicy(throttle.Policy{}))), want: []int{0, 200}},
	{name: "no backoff any more: RetryIn holds still",
		policy: backoff(time.Second, 0), script: []scripted{retryIn(300 * ms)}, moments: slices.Concat(calls(0, 250), at(200, setPolicy(throttle.Policy{}))), want: []int{0, 300}},
	{name: "another backoff leaves the delay that was drawn",
		policy: backoff(time.Second, 0), script: fails(2), moments: slices.Concat(calls(0), at(200, setPolicy(backoff(300*ms, 0)))), want: []int{0, 1000, 1300}},
	{name: "a backoff for the active run",
		policy: throttle.Policy{}, script: []scripted{takes(100*ms, errFailed)}, moments: slices.Concat(calls(0), at(50, setPolicy(backoff(300*ms, 0)))), want: []int{0, 400}},
}

func TestThrottler_retry_attempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		script := slices.Concat(fails(1), []scripted{retryIn(50 * ms)}, fails(2), []scripted{takes(0, errFailed), takes(0, nil)})
		r := newRecorder(script...)
		throttler := r.throttler(t, giveUp)
		throttler.Call()
		r.until(5000)
		throttler.Call()
		r.until(10_000)
		throttler.Call()
		type seen struct {
			cause   throttle.Cause
			attempt int
		}
		var got []seen
		for _, run := range r.runs() {
			got = append(got, seen{run.Cause, run.Attempt})
		}
		require.Equal(t, []seen{
			{throttle.CauseCall, 1},  // fails
			{throttle.CauseRetry, 2}, // RetryIn
			{throttle.CauseRetry, 2}, // fails
			{throttle.CauseRetry, 3}, // fails, and that is enough
			{throttle.CauseCall, 1},  // fails
			{throttle.CauseRetry, 2}, // succeeds
			{throttle.CauseCall, 1},
		}, got)
	})
}

func TestThrottler_retry_jitter(t *testing.T) {
	for _, jitter := range []float64{0, 0.25, 1} {
		t.Run(fmt.Sprint(jitter), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const delay, draws = time.Second, 400
				shortest, longest := delay, time.Duration(0)
				r := newRecorder(fails(draws)...)
				throttler := r.throttler(t, throttle.Policy{Retry: throttle.Backoff{Initial: delay, Jitter: jitter}})
				throttler.Call()
				for range draws {
					synctest.Wait()
					next := throttler.Stats().Next
					throttler.Call()
					require.NoError(t, throttler.SetPolicy(throttler.Policy()))
					require.Equal(t, next, throttler.Stats().Next, "drawn more than once")
					wait := time.Until(next)
					shortest, longest = min(shortest, wait), max(longest, wait)
					time.Sleep(wait)
				}
				require.Len(t, r.started(), draws+1)
				floor := time.Duration(float64(delay) * (1 - jitter))
				require.GreaterOrEqual(t, shortest, floor)
				require.LessOrEqual(t, longest, delay)
				// Of so many draws, some come near the ends.
				spread := time.Duration(float64(delay) * jitter)
				require.LessOrEqual(t, shortest, floor+spread/10)
				require.GreaterOrEqual(t, longest, delay-spread/10)
			})
		})
	}
}

// TestThrottler_retry_waiters checks that waiters get the error of the run that covers
// them, without waiting for its retry.
func TestThrottler_retry_waiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(fails(1)...)
		throttler := r.throttler(t, backoff(100*ms, 0))
		do := awaitDo(throttler)
		require.ErrorIs(t, do.result(t), errFailed)
		retry := awaitFlush(throttler) // makes the retry due now
		require.NoError(t, retry.result(t))
		require.Equal(t, []int{0, 0}, r.started())
		require.Empty(t, r.errors())
	})
}

// TestRetryIn_served returns an error that another throttler's Do has returned for a
// RetryIn. It asks for nothing any more: the outer run has failed.
func TestRetryIn_served(t *testing.T) {
	for name, wrap := range map[string]func(error) error{
		"as it is": func(err error) error { return err },
		"wrapped":  func(err error) error { return fmt.Errorf("inner: %w", err) },
		"joined":   func(err error) error { return errors.Join(err, errFailed) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inner := newRecorder(takes(0, fmt.Errorf("busy: %w", throttle.RetryIn(time.Minute))))
				innerThrottler := inner.throttler(t, throttle.Policy{})
				outer := newRecorder(func(ctx context.Context) error { return wrap(innerThrottler.Do(ctx)) })
				throttler := outer.throttler(t, throttle.Policy{})
				throttler.Call()
				outer.until(10)
				throttler.Call()
				require.Equal(t, []int{0, 10}, outer.started(), "its window is not closed")
				require.Empty(t, inner.errors(), "that is no failure")
				heard := outer.errors()
				require.Len(t, heard, 1)
				var asked *throttle.RetryError
				require.ErrorAs(t, heard[0], &asked)
				require.Equal(t, time.Minute, asked.In)
				require.ErrorContains(t, heard[0], "busy: throttle: retry in 1m0s")
				require.Equal(t, throttle.ResultFailure, outer.runs()[0].Result)
			})
		})
	}
	t.Run("beside one of its own", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			innerThrottler := newRecorder(retryIn(time.Minute)).throttler(t, throttle.Policy{})
			outer := newRecorder(func(ctx context.Context) error { return errors.Join(innerThrottler.Do(ctx), throttle.RetryIn(50*ms)) })
			throttler := outer.throttler(t, throttle.Policy{})
			throttler.Call()
			outer.until(1000)
			require.Equal(t, []int{0, 50}, outer.started())
		})
	})
}

// A byAsError is an error that errors.As finds a RetryError in by its own method.
type byAsError struct{}

func (byAsError) Error() string { return "asks by As" }

func (byAsError) As(target any) bool {
	retry, ok := target.(**throttle.RetryError)
	if ok {
		*retry = &throttle.RetryError{In: 50 * ms}
	}
	return ok
}

func TestRetryIn_byAs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(takes(0, errors.Join(errFailed, byAsError{})))
		throttler := r.throttler(t, throttle.Policy{})
		throttler.Call()
		r.until(1000)
		require.Equal(t, []int{0, 50}, r.started())
	})
}
