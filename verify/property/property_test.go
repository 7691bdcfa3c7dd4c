package property_test

// This file plays random scenarios on a Throttler and on the reference model.

import (
	"flag"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/throttle-go/throttle/internal/testkit/effort"
	"github.com/throttle-go/throttle/internal/testkit/reference"
)

// Of each effort, the scenarios to be played, and the steps that they must have. How
// many they do have is for chance to say: it is some 15 % more.
const (
	checksPerEffort = 4200
	stepsPerEffort  = 100_000
)

// TestThrottlerAgreesWithModel plays scenarios that rapid draws. They must reach
// every rule of the model, or the generator has gone blind; not under -short, when
// rapid plays a fifth of them. A scenario that fails is shrunk, and printed as a
// timeline.
func TestThrottlerAgreesWithModel(t *testing.T) {
	setChecks(t, checksPerEffort*effort.Factor())
	var (
		steps    int
		fired    = make(map[reference.Rule]int)
		shortest string // of the failures
	)
	defer func() {
		if shortest != "" {
			t.Log(shortest)
		}
	}()
	rapid.Check(t, func(rt *rapid.T) {
		s := scenarios.Draw(rt, "scenario")
		report := reference.Play(t, s)
		// Once a scenario has failed, rapid looks for a smaller one that fails too.
		// With Jitter that takes luck.
		for tries := 0; shortest != "" && report.Failure == "" && jitters(s) && tries < 20; tries++ {
			report = reference.Play(t, s)
		}
		if failure := report.Failure; failure != "" {
			if shortest == "" || len(failure) < len(shortest) {
				shortest = failure
			}
			// Shrinking needs the same message each time, and the timeline has
			// instants that Jitter draws.
			rt.Fatal("the throttler and the model disagree")
		}
		steps += report.Steps
		for rule, count := range report.Fired {
			fired[rule] += count
		}
	})
	t.Logf("%d steps", steps)
	// rapid stops early, and is content, when the time for all tests runs out.
	if least := stepsPerEffort * effort.Factor(); steps < least && !testing.Short() && !t.Failed() {
		t.Errorf("%d steps, want at least %d", steps, least)
	}
	for _, rule := range reference.Rules() {
		t.Logf("%8d  %s", fired[rule], rule)
		if fired[rule] == 0 && !testing.Short() {
			t.Errorf("no scenario reached the rule %q", rule)
		}
	}
}

// jitters reports whether chance decides on when something runs in s.
func jitters(s reference.Scenario) bool {
	return s.Policy.Retry.Jitter > 0 ||
		slices.ContainsFunc(s.Steps, func(step reference.Step) bool { return step.Policy.Retry.Jitter > 0 })
}

// setChecks sets how many scenarios rapid draws in this test. Its only way to be told
// is its flag.
func setChecks(t *testing.T, checks int) {
	t.Helper()
	checksFlag := flag.Lookup("rapid.checks").Value
	before := checksFlag.String()
	if err := checksFlag.Set(strconv.Itoa(checks)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = checksFlag.Set(before) })
}
