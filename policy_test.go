package throttle_test

import (
	"math"
	"math/rand/v2"
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
		MaxLoad: -10, Jitter: -11,
		Retry: throttle.Backoff{Initial: -7, Max: -8, MaxAttempts: -9, Jitter: math.NaN()},
	}
	values := map[string]any{
		"Interval": policy.Interval, "Burst": -2, "Quiet": policy.Quiet, "MaxWait": policy.MaxWait, "MaxInterval": policy.MaxInterval,
		"MaxCalls": -6, "Edges": policy.Edges, "From": policy.From,
		"Retry.Initial": policy.Retry.Initial, "Retry.Max": policy.Retry.Max, "Retry.MaxAttempts": -9,
		"MaxLoad": -10.0, "Jitter": -11.0,
	}
	err := policy.Validate()
	require.Equal(t, []string{
		"Burst", "Edges", "From", "Interval", "Jitter", "MaxCalls", "MaxInterval", "MaxLoad", "MaxWait", "Quiet",
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
		{"negative load", throttle.Policy{MaxLoad: -0.1}, "MaxLoad", throttle.Policy{MaxLoad: math.SmallestNonzeroFloat64}},
		{"all load", throttle.Policy{MaxLoad: 1}, "MaxLoad", throttle.Policy{MaxLoad: math.Nextafter(1, 0)}},
		{"load above one", throttle.Policy{MaxLoad: 1.5}, "MaxLoad", throttle.Policy{MaxLoad: 0.5}},
		{"load that is no number", throttle.Policy{MaxLoad: math.NaN()}, "MaxLoad", throttle.Policy{MaxLoad: 0}},
		{"infinite load", throttle.Policy{MaxLoad: math.Inf(1)}, "MaxLoad", throttle.Policy{}},
		{"negative jitter of the period", throttle.Policy{MaxInterval: second, Jitter: -0.1}, "Jitter", throttle.Policy{MaxInterval: second, Jitter: 0.1}},
		{"jitter of the period above one", throttle.Policy{MaxInterval: second, Jitter: 1.1}, "Jitter", throttle.Policy{MaxInterval: second, Jitter: 1}},
		{"jitter of the period that is no number", throttle.Policy{MaxInterval: second, Jitter: math.NaN()}, "Jitter", throttle.Policy{MaxInterval: second}},
		{"jitter without period", throttle.Policy{Jitter: 0.5}, "Jitter", throttle.Policy{MaxInterval: 1, Jitter: 0.5}},
		{"all jitter without period", throttle.Policy{Jitter: 1}, "Jitter", throttle.Policy{}},
		{"negative batch", throttle.Policy{Quiet: second, MaxCalls: -1}, "MaxCalls", throttle.Policy{Quiet: second, MaxCalls: 1}},
		{"batch with leading edge alone", leading(throttle.Policy{Quiet: second, MaxCalls: 2}), "MaxCalls", throttle.Policy{Quiet: second, MaxCalls: 2, Edges: throttle.Leading | throttle.Trailing}},
		{"batch that nothing waits for", throttle.Policy{MaxCalls: -1}, "MaxCalls", throttle.Policy{MaxCalls: 2}},
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

func TestPolicy_Clamp(t *testing.T) {
	const second = time.Second
	type policy = throttle.Policy
	type backoff = throttle.Backoff
	for _, test := range []struct {
		name   string
		policy policy
		want   policy
	}{
		{"negative fields",
			policy{Interval: -1, Burst: -1, Quiet: -1, MaxWait: -1, MaxInterval: -1, MaxCalls: -1, MaxLoad: -1, Jitter: -1}, policy{}},
		{"unknown edges beside a known one", policy{Edges: 4 | throttle.Trailing}, policy{Edges: throttle.Trailing}},
		{"unknown edges alone", policy{Edges: 252}, policy{}},
		{"an unknown point", policy{Interval: second, Burst: 2, From: 2}, policy{Interval: second, Burst: 2}},
		{"a bound without quiet", policy{MaxWait: second}, throttle.Debounce(second, second)},
		{"a bound with a negative quiet", policy{Quiet: -1, MaxWait: second}, throttle.Debounce(second, second)},
		{"a bound below quiet", throttle.Debounce(second, 1), throttle.Debounce(second, second)},
		{"a bound with the leading edge alone", policy{MaxWait: second, Edges: throttle.Leading}, policy{Edges: throttle.Leading}},
		{"a bound and quiet with the leading edge alone",
			policy{Quiet: 2 * second, MaxWait: second, Edges: throttle.Leading}, policy{Quiet: 2 * second, Edges: throttle.Leading}},
		{"a batch with the leading edge alone", policy{MaxCalls: 3, Edges: throttle.Leading}, policy{Edges: throttle.Leading}},
		{"a batch that nothing waits for", policy{MaxCalls: 3}, policy{MaxCalls: 3}},
		{"a period below the interval", policy{Interval: second, MaxInterval: 1}, policy{Interval: second, MaxInterval: second}},
		{"a burst without interval", policy{Burst: 3}, policy{}},
		{"a burst of one without interval", policy{Burst: 1}, policy{Burst: 1}},
		{"a burst from the end", policy{Interval: second, Burst: 3, From: throttle.FromEnd}, policy{Interval: second, From: throttle.FromEnd}},
		{"a burst with the trailing edge alone",
			policy{Interval: second, Burst: 3, Edges: throttle.Trailing}, policy{Interval: second, Edges: throttle.Trailing}},
		{"a burst with the trailing edge alone and a bound without quiet",
			policy{Interval: second, Burst: 3, MaxWait: 1, Edges: throttle.Trailing},
			policy{Interval: second, Burst: 3, Quiet: 1, MaxWait: 1, Edges: throttle.Trailing}},
		{"all load", policy{MaxLoad: 1}, policy{}},
		{"load above one", policy{MaxLoad: 25}, policy{}},
		{"load that is no number", policy{MaxLoad: math.NaN()}, policy{}},
		{"the greatest load", policy{MaxLoad: math.Nextafter(1, 0)}, policy{MaxLoad: math.Nextafter(1, 0)}},
		{"jitter above one", policy{MaxInterval: 1, Jitter: 10}, policy{MaxInterval: 1, Jitter: 1}},
		{"jitter that is no number", policy{MaxInterval: 1, Jitter: math.NaN()}, policy{MaxInterval: 1}},
		{"jitter without period", policy{Jitter: 0.5}, policy{}},
		{"a limit below the delay", policy{Retry: backoff{Initial: second, Max: 1}}, policy{Retry: backoff{Initial: second, Max: second}}},
		{"no delay", policy{Retry: backoff{Max: 1, MaxAttempts: 1, Jitter: 1, Eager: true}}, policy{}},
		{"a negative delay", policy{Retry: backoff{Initial: -1, Eager: true}}, policy{}},
		{"negative limits", policy{Retry: backoff{Initial: 1, Max: -1, MaxAttempts: -1, Jitter: -1}}, policy{Retry: backoff{Initial: 1}}},
		{"jitter of the delay above one", policy{Retry: backoff{Initial: 1, Jitter: math.Inf(1)}}, policy{Retry: backoff{Initial: 1, Jitter: 1}}},
		{"jitter of the delay that is no number", policy{Retry: backoff{Initial: 1, Jitter: math.NaN()}}, policy{Retry: backoff{Initial: 1}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			require.Equal(t, test.want, test.policy.Clamp())
		})
	}
}

// TestPolicy_Clamp_anything clamps policies of random values, most of them awkward.
func TestPolicy_Clamp_anything(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	duration := func() time.Duration {
		return []time.Duration{0, 0, 1, 2, time.Second, -1, math.MinInt64, longest - 1, longest}[random.IntN(9)]
	}
	count := func() int { return []int{0, 0, 1, 2, 3, -1, math.MinInt, math.MaxInt}[random.IntN(8)] }
	share := func() float64 {
		return []float64{
			0, 0, 0.5, 1, math.Nextafter(1, 0), math.Nextafter(1, 2), math.SmallestNonzeroFloat64, math.Copysign(0, -1),
			-0.5, 1e300, math.Inf(1), math.Inf(-1), math.NaN(),
		}[random.IntN(13)]
	}
	valid := 0
	for range 100_000 {
		p := throttle.Policy{
			Interval: duration(), Burst: count(), MaxLoad: share(), Quiet: duration(), MaxWait: duration(),
			MaxInterval: duration(), Jitter: share(), MaxCalls: count(),
			Edges: throttle.Edges(random.IntN(256)), From: throttle.From(random.IntN(256)),
		}
		if random.IntN(2) == 0 { // so that some are valid
			p.Edges, p.From = p.Edges%4, p.From%2
		}
		if random.IntN(2) == 0 {
			p.Retry = throttle.Backoff{Initial: duration(), Max: duration(), MaxAttempts: count(), Jitter: share(), Eager: random.IntN(2) == 0}
		}
		clamped := p.Clamp()
		switch err := clamped.Validate(); { // require is slow for so many
		case err != nil:
			t.Fatalf("%#v is clamped to the invalid %#v: %v", p, clamped, err)
		case clamped.Clamp() != clamped:
			t.Fatalf("%#v is clamped to %#v, and that to %#v", p, clamped, clamped.Clamp())
		case p.Validate() != nil:
		case clamped != p:
			t.Fatalf("the valid %#v is clamped to %#v", p, clamped)
		default:
			valid++
		}
	}
	require.Greater(t, valid, 100)
}

func TestPolicy_String(t *testing.T) {
	const second = time.Second
	for _, test := range []struct {
		policy throttle.Policy
		words  string
	}{
		{throttle.Policy{}, "no limit"},
		{throttle.Every(90 * time.Minute), "at most once per 1h30m0s"},
		{throttle.Policy{Burst: 3}, "burst 3"},
		{throttle.Policy{MaxLoad: 0.25}, "runs take at most 25% of the time"},
		{throttle.Policy{MaxLoad: 1.0 / 3}, "runs take at most 33.33% of the time"},
		{throttle.Policy{MaxLoad: 0.999}, "runs take at most 99.9% of the time"},
		{throttle.Debounce(200*ms, 0), "after 200ms of quiet"},
		{throttle.Debounce(200*ms, second), "after 200ms of quiet, at the latest after 1s"},
		{throttle.Policy{MaxInterval: time.Minute}, "at least every 1m0s"},
		{throttle.Policy{MaxInterval: time.Minute, Jitter: 0.1}, "at least every 1m0s, less up to 10% at random"},
		{throttle.Policy{MaxCalls: 100}, "full with 100 calls"},
		{throttle.Policy{Edges: throttle.Leading}, "leading edge alone"},
		{throttle.Policy{Edges: throttle.Trailing}, "trailing edge alone"},
		{throttle.Policy{Edges: throttle.Leading | throttle.Trailing}, "leading and trailing edge"},
		{throttle.Policy{From: throttle.FromEnd}, "measured from the ends of runs"},
		{throttle.Policy{Retry: throttle.Backoff{Initial: second}}, "a failed run again after 1s"},
		{throttle.Policy{Retry: throttle.Backoff{Initial: second, Max: time.Minute, MaxAttempts: 7, Jitter: 0.5, Eager: true}},
			"a failed run again after 1s, doubling up to 1m0s, at most 7 attempts, delays less up to 50% at random, calls do not wait for that"},
		{throttle.Policy{Interval: second, Burst: 3, Quiet: 200 * ms, MaxWait: second, MaxInterval: time.Minute},
			"at most once per 1s, burst 3, after 200ms of quiet, at the latest after 1s, at least every 1m0s"},
		{throttle.Policy{Interval: -1, MaxLoad: math.NaN(), Edges: 7, From: 2},
			"at most once per -1ns, runs take at most NaN% of the time, measured from an unknown point (2), unknown edges (0b111)"},
	} {
		require.Equal(t, test.words, test.policy.String())
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
