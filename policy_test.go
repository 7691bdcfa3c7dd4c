package throttle_test

import (
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

const longest time.Duration = math.MaxInt64

// refusals returns the fields that err reports, sorted.
func refusals(t *testing.T, err error) []string {
	t.Helper()
	var fields []string
	for _, refusal := range policyErrors(t, err) {
		require.NotEmpty(t, refusal.Reason)
		fields = append(fields, refusal.Field)
	}
	slices.Sort(fields)
	return slices.Compact(fields)
}

// policyErrors returns what err joins.
func policyErrors(t *testing.T, err error) []*throttle.PolicyError {
	t.Helper()
	var joined interface{ Unwrap() []error }
	require.ErrorAs(t, err, &joined)
	var refusals []*throttle.PolicyError
	for _, err := range joined.Unwrap() {
		var refusal *throttle.PolicyError
		require.ErrorAs(t, err, &refusal)
		refusals = append(refusals, refusal)
	}
	return refusals
}

func TestPolicy_Validate(t *testing.T) {
	policy := throttle.Policy{
		Interval: -1, Burst: -2, Quiet: -3, MaxWait: -4, MaxInterval: -5, MaxCalls: -6, Edges: 4, From: 2,
		Retry: throttle.Backoff{Initial: -7, Max: -8, MaxAttempts: -9, Jitter: math.NaN()},
	}
	values := map[string]any{
		"Interval": policy.Interval, "Burst": -2, "Quiet": policy.Quiet, "MaxWait": policy.MaxWait, "MaxInterval": policy.MaxInterval,
		"MaxCalls": -6, "Edges": policy.Edges, "From": policy.From,
		"Retry.Initial": policy.Retry.Initial, "Retry.Max": policy.Retry.Max, "Retry.MaxAttempts": -9,
	}
	err := policy.Validate()
	require.Equal(t, []string{
		"Burst", "Edges", "From", "Interval", "MaxCalls", "MaxInterval", "MaxWait", "Quiet",
		"Retry.Initial", "Retry.Jitter", "Retry.Max", "Retry.MaxAttempts",
	}, refusals(t, err))
	for _, refusal := range policyErrors(t, err) {
		if refusal.Field == "Retry.Jitter" {
			value, _ := refusal.Value.(float64)
			require.True(t, math.IsNaN(value))
			continue
		}
		require.Equal(t, values[refusal.Field], refusal.Value)
	}
	require.Contains(t, err.Error(), "throttle: Interval -1ns: must not be negative")
}

// TestPolicy_Validate_neighbours checks, for each rule, a policy that breaks it and one
// that just does not.
func TestPolicy_Validate_neighbours(t *testing.T) {
	const second = time.Second
	leading := func(p throttle.Policy) throttle.Policy { p.Edges = throttle.Leading; return p }
	trailing := func(p throttle.Policy) throttle.Policy { p.Edges = throttle.Trailing; return p }
	retry := func(b throttle.Backoff) throttle.Policy { return throttle.Policy{Retry: b} }
	tests := []struct {
		name     string
		refused  throttle.Policy
		field    string
		accepted throttle.Policy
	}{
		{"negative interval", throttle.Policy{Interval: -1}, "Interval", throttle.Policy{Interval: 1}},
		{"negative burst", throttle.Policy{Interval: second, Burst: -1}, "Burst", throttle.Policy{Interval: second, Burst: 0}},
		{"burst without interval", throttle.Policy{Burst: 2}, "Burst", throttle.Policy{Burst: 1}},
		{"burst from the end", throttle.Policy{Interval: second, Burst: 2, From: throttle.FromEnd}, "Burst", throttle.Policy{Interval: second, Burst: 1, From: throttle.FromEnd}},
		{"burst with trailing edge alone", trailing(throttle.Policy{Interval: second, Burst: 2}), "Burst", trailing(throttle.Policy{Interval: second, Burst: 2, Quiet: 1})},
		{"burst", throttle.Policy{Interval: -1, Burst: 2}, "Interval", throttle.Policy{Interval: second, Burst: 2}},
		{"negative quiet", throttle.Policy{Quiet: -1}, "Quiet", throttle.Policy{Quiet: 1}},
		{"negative bound on quiet", throttle.Policy{Quiet: second, MaxWait: -1}, "MaxWait", throttle.Policy{Quiet: second, MaxWait: 0}},
		{"bound without quiet", throttle.Policy{MaxWait: second}, "MaxWait", throttle.Policy{MaxWait: second, Quiet: 1}},
		{"bound below quiet", throttle.Policy{Quiet: second, MaxWait: second - 1}, "MaxWait", throttle.Policy{Quiet: second, MaxWait: second}},
		{"bound with leading edge alone", leading(throttle.Debounce(second, second)), "MaxWait", leading(throttle.Debounce(second, 0))},
		{"negative period", throttle.Policy{MaxInterval: -1}, "MaxInterval", throttle.Policy{MaxInterval: 1}},
		{"period below interval", throttle.Policy{Interval: second, MaxInterval: second - 1}, "MaxInterval", throttle.Policy{Interval: second, MaxInterval: second}},
		{"negative batch", throttle.Policy{Quiet: second, MaxCalls: -1}, "MaxCalls", throttle.Policy{Quiet: second, MaxCalls: 1}},
		{"batch with leading edge alone", leading(throttle.Policy{Quiet: second, MaxCalls: 2}), "MaxCalls", throttle.Policy{Quiet: second, MaxCalls: 2, Edges: throttle.Leading | throttle.Trailing}},
		{"batch that nothing waits for", throttle.Policy{Interval: second, MaxCalls: 2}, "MaxCalls", trailing(throttle.Policy{Interval: second, MaxCalls: 2})},
		{"unknown edges", throttle.Policy{Edges: 7}, "Edges", throttle.Policy{Edges: 3}},
		{"unknown point", throttle.Policy{From: 2}, "From", throttle.Policy{From: throttle.FromEnd}},
		{"negative delay", retry(throttle.Backoff{Initial: -1}), "Retry.Initial", retry(throttle.Backoff{Initial: 1})},
		{"negative limit", retry(throttle.Backoff{Initial: second, Max: -1}), "Retry.Max", retry(throttle.Backoff{Initial: second, Max: 0})},
		{"limit below delay", retry(throttle.Backoff{Initial: second, Max: second - 1}), "Retry.Max", retry(throttle.Backoff{Initial: second, Max: second})},
		{"limit without delay", retry(throttle.Backoff{Max: second}), "Retry.Max", retry(throttle.Backoff{})},
		{"negative attempts", retry(throttle.Backoff{Initial: second, MaxAttempts: -1}), "Retry.MaxAttempts", retry(throttle.Backoff{Initial: second, MaxAttempts: 1})},
		{"attempts without delay", retry(throttle.Backoff{MaxAttempts: 1}), "Retry.MaxAttempts", retry(throttle.Backoff{})},
		{"negative jitter", retry(throttle.Backoff{Initial: second, Jitter: -0.1}), "Retry.Jitter", retry(throttle.Backoff{Initial: second, Jitter: 0.1})},
		{"jitter above one", retry(throttle.Backoff{Initial: second, Jitter: 1.1}), "Retry.Jitter", retry(throttle.Backoff{Initial: second, Jitter: 1})},
		{"jitter that is no number", retry(throttle.Backoff{Initial: second, Jitter: math.NaN()}), "Retry.Jitter", retry(throttle.Backoff{Initial: second})},
		{"infinite jitter", retry(throttle.Backoff{Initial: second, Jitter: math.Inf(1)}), "Retry.Jitter", retry(throttle.Backoff{Initial: second})},
		{"jitter without delay", retry(throttle.Backoff{Jitter: 0.5}), "Retry.Jitter", retry(throttle.Backoff{})},
		{"all jitter without delay", retry(throttle.Backoff{Jitter: 1}), "Retry.Jitter", retry(throttle.Backoff{})},
		{"eager without delay", retry(throttle.Backoff{Eager: true}), "Retry.Eager", retry(throttle.Backoff{Initial: 1, Eager: true})},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			require.Equal(t, []string{test.field}, refusals(t, test.refused.Validate()))
			require.NoError(t, test.accepted.Validate())

			_, err := throttle.New(test.refused, func() {})
			require.Equal(t, []string{test.field}, refusals(t, err), "New")

			throttler, err := throttle.New(test.accepted, func() {}, throttle.WithName("reload"))
			require.NoError(t, err)
			err = throttler.SetPolicy(test.refused)
			require.Equal(t, []string{test.field}, refusals(t, err), "SetPolicy")
			require.Contains(t, err.Error(), "throttle: reload: "+test.field+" ")
			require.Equal(t, test.accepted, throttler.Policy())
			require.NoError(t, throttler.Close())
		})
	}
}

// TestPolicy_extremes plays policies whose fields are at the ends of their range.
func TestPolicy_extremes(t *testing.T) {
	playAll(t, []timeline{
		{name: "longest interval is one run",
			policy: throttle.Every(longest), moments: calls(0, 1, 1000), want: []int{0}},
		{name: "longest interval with a burst of five is five runs",
			policy: throttle.Policy{Interval: longest, Burst: 5}, moments: calls(0, 1, 2, 3, 4, 5, 6, 1000), want: []int{0, 1, 2, 3, 4}},
		{name: "longest interval from the end",
			policy: throttle.Policy{Interval: longest, From: throttle.FromEnd}, moments: calls(0, 1), want: []int{0}},
		{name: "longest interval after the first call of a trailing edge alone",
			policy: throttle.Policy{Interval: longest, Edges: throttle.Trailing}, moments: calls(10), want: []int{}},
		{name: "longest quiet",
			policy: throttle.Debounce(longest, 0), moments: calls(10), want: []int{}},
		{name: "longest quiet and bound",
			policy: throttle.Debounce(longest, longest), moments: calls(10, 20), want: []int{}},
		{name: "longest quiet cut short",
			policy: throttle.Debounce(longest, 0), moments: slices.Concat(calls(10), at(20, callWithin(10*ms))), want: []int{30}},
		{name: "longest quiet with a leading edge",
			policy: throttle.Policy{Quiet: longest, Edges: throttle.Leading | throttle.Trailing}, moments: calls(10, 20), want: []int{10}},
		{name: "longest period",
			policy: throttle.Policy{MaxInterval: longest}, moments: calls(10), want: []int{10}},
		{name: "longest backoff",
			policy: backoff(longest, longest), script: fails(2), moments: calls(10, 20), want: []int{10}},
		{name: "longest backoff is doubled to",
			policy: backoff(longest/2, longest), script: fails(3), moments: slices.Concat(calls(10), at(20, flush), at(30, flush)), want: []int{10, 20, 30}},
		{name: "longest RetryIn",
			script: []scripted{retryIn(longest)}, moments: calls(10, 20), want: []int{10}},
		{name: "most negative RetryIn",
			script: []scripted{retryIn(math.MinInt64)}, moments: calls(10), want: []int{10, 10}},
		{name: "longest and most negative patience",
			policy:  throttle.Debounce(100*ms, 0),
			moments: slices.Concat(at(10, callWithin(longest)), at(500, callWithin(math.MinInt64))), want: []int{110, 500}},
		{name: "largest bucket",
			policy: throttle.Policy{Interval: time.Hour, Burst: math.MaxInt}, moments: calls(0, 1, 2), want: []int{0, 1, 2}},
		{name: "largest batch",
			policy: throttle.Policy{Quiet: 100 * ms, MaxCalls: math.MaxInt}, moments: calls(0, 1, 2), want: []int{102}},
		{name: "shortest of all",
			policy:  throttle.Policy{Interval: 1, Quiet: 1, MaxWait: 1, MaxCalls: 1, Retry: throttle.Backoff{Initial: 1, Max: 1, MaxAttempts: 1, Jitter: 1}},
			moments: calls(0, 1, 2), want: []int{0, 1, 2}},
		{name: "from the shortest to the longest",
			policy: throttle.Every(1), moments: slices.Concat(calls(0, 20), at(10, setPolicy(throttle.Every(longest)))), want: []int{0}},
		{name: "from the longest to none",
			policy: throttle.Every(longest), moments: slices.Concat(calls(0, 10), at(20, setPolicy(throttle.Policy{}))), want: []int{0, 20}},
	})
}

func TestThrottler_Stats_neverDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		throttler := r.throttler(t, throttle.Every(longest))
		throttler.Call()
		r.until(10)
		throttler.Call()
		stats := throttler.Stats()
		require.True(t, stats.Pending)
		require.Zero(t, stats.Next)
	})
}
