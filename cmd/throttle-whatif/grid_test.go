package main

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

// policiesOf returns the grid of a command line.
func policiesOf(t *testing.T, args ...string) []throttle.Policy {
	t.Helper()
	c, err := parse(args, io.Discard)
	require.NoError(t, err)
	return c.policies
}

func TestGrid_Default(t *testing.T) {
	policies := policiesOf(t, "-took", "1s", "-json")
	assert.Len(t, policies, 18)
	assert.Equal(t, throttle.Policy{}, policies[0])
	assert.Contains(t, policies, throttle.Every(10*time.Second))
	assert.Contains(t, policies, throttle.Debounce(100*ms, time.Second))
	assert.Contains(t, policies, throttle.Policy{Interval: 300 * ms, Quiet: 100 * ms})
	explicit := policiesOf(t, "-interval", defaultInterval, "-quiet", defaultQuiet, "-maxwait", defaultMaxWait)
	assert.Equal(t, explicit, policies)
}

func TestGrid(t *testing.T) {
	t.Run("each flag sets its field", func(t *testing.T) {
		for args, want := range map[string]throttle.Policy{
			"-interval 2s":              {Interval: 2 * time.Second},
			"-quiet 2s":                 {Quiet: 2 * time.Second},
			"-quiet 2s -maxwait 3s":     {Quiet: 2 * time.Second, MaxWait: 3 * time.Second},
			"-maxinterval 2s":           {MaxInterval: 2 * time.Second},
			"-interval 2s -burst 3":     {Interval: 2 * time.Second, Burst: 3},
			"-maxload 0.25":             {MaxLoad: 0.25},
			"-maxcalls 7":               {MaxCalls: 7},
			"-edges both":               {Edges: throttle.Leading | throttle.Trailing},
			"-edges leading":            {Edges: throttle.Leading},
			"-edges trailing":           {Edges: throttle.Trailing},
			"-edges=":                   {},
			"-from start":               {},
			"-from end":                 {From: throttle.FromEnd},
			"-retry 2s":                 {Retry: throttle.Backoff{Initial: 2 * time.Second}},
			"-retry 2s -retrymax 3s":    {Retry: throttle.Backoff{Initial: 2 * time.Second, Max: 3 * time.Second}},
			"-interval 1s -interval 3s": {Interval: 3 * time.Second},
		} {
			assert.Equal(t, []throttle.Policy{want}, policiesOf(t, strings.Fields(args)...), args)
		}
	})
	t.Run("all combinations", func(t *testing.T) {
		policies := policiesOf(t, "-interval", "1s, 2s", "-from", "start,end", "-edges", ",leading,trailing")
		assert.Len(t, policies, 2*2*3)
		for _, interval := range []time.Duration{time.Second, 2 * time.Second} {
			for _, from := range []throttle.From{throttle.FromStart, throttle.FromEnd} {
				for _, edges := range []throttle.Edges{0, throttle.Leading, throttle.Trailing} {
					assert.Contains(t, policies, throttle.Policy{Interval: interval, From: from, Edges: edges})
				}
			}
		}
	})
	t.Run("without invalid combinations", func(t *testing.T) {
		policies := policiesOf(t, "-quiet", "0,2s", "-maxwait", "0,1s,3s")
		assert.Equal(t, []throttle.Policy{
			{}, {Quiet: 2 * time.Second}, {Quiet: 2 * time.Second, MaxWait: 3 * time.Second},
		}, policies)
	})
	t.Run("equal ones once", func(t *testing.T) {
		policies := policiesOf(t, "-interval", "1s,1000ms,2s,1s")
		assert.Equal(t, []throttle.Policy{throttle.Every(time.Second), throttle.Every(2 * time.Second)}, policies)
	})
	t.Run("up to 10000", func(t *testing.T) {
		numbers := strings.TrimSuffix(strings.Repeat("0,", 100), ",")
		assert.Len(t, policiesOf(t, "-burst", numbers, "-maxcalls", numbers), 1)
		_, err := parse([]string{"-burst", numbers, "-maxcalls", numbers + ",1"}, io.Discard)
		require.EqualError(t, err, "the grid has more than 10000 policies")
		many := strings.Repeat("1s,", 20_000) + "1s" // to the sixth, it overflows
		_, err = parse([]string{
			"-interval", many, "-quiet", many, "-maxwait", many, "-maxinterval", many, "-retry", many, "-retrymax", many,
		}, io.Discard)
		require.EqualError(t, err, "the grid has more than 10000 policies")
	})
}

func TestGrid_Invalid(t *testing.T) {
	_, err := parse([]string{"-maxwait", "1s,-1s", "-burst", "2"}, io.Discard)
	require.EqualError(t, err, "the grid has no valid policy: throttle: Burst 2: needs an Interval; throttle: MaxWait 1s: needs Quiet")
}

func TestConfig_Invalid(t *testing.T) {
	for args, want := range map[string]string{
		"-field -1":  "-field is -1, must not be negative",
		"-took -1ns": "-took is -1ns, must not be negative",
		"-fail -0.1": "-fail is -0.1, must be from 0 to 1",
		"-fail 1.1":  "-fail is 1.1, must be from 0 to 1",
		"-fail NaN":  "-fail is NaN, must be from 0 to 1",
	} {
		_, err := parse(strings.Fields(args), io.Discard)
		assert.EqualError(t, err, want, args)
	}
}

func TestList(t *testing.T) {
	for args, want := range map[string]string{
		"-interval 1s,":     `invalid value "1s," for flag -interval: "" is no duration, such as 300ms or 1m30s`,
		"-interval 1":       `invalid value "1" for flag -interval: "1" is no duration, such as 300ms or 1m30s`,
		"-burst 1.5":        `invalid value "1.5" for flag -burst: "1.5" is no whole number`,
		"-maxload half":     `invalid value "half" for flag -maxload: "half" is no number`,
		"-edges both,front": `invalid value "both,front" for flag -edges: "front" is none of both, leading, trailing and "" (the default)`,
		"-from middle":      `invalid value "middle" for flag -from: "middle" is neither start nor end`,
	} {
		_, err := parse(strings.Fields(args), io.Discard)
		assert.EqualError(t, err, want, args)
	}
}
