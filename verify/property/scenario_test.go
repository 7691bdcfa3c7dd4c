package property_test

// This file draws the scenarios of the property test. All is drawn before anything
// is played, so that rapid can shrink it; a step that depends on the throttler's
// state does so by its aim. What is drawn first in a list is what shrinking leads to.

import (
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/internal/testkit/reference"
)

var (
	scenarios = rapid.Custom(drawScenario)

	durations = rapid.SampledFrom(reference.Durations())
	waits     = rapid.SampledFrom(affordable(reference.Durations()))
	coin      = rapid.Bool()
	rarely    = rapid.SampledFrom([]bool{false, false, false, true})
	seldom    = rapid.SampledFrom(append(make([]bool, 15), true))
	small     = rapid.SampledFrom([]int{0, 1, 2, 3, 4})
	shares    = rapid.SampledFrom([]float64{0, 0, 0.1, 0.5, 1})
	edges     = rapid.SampledFrom([]throttle.Edges{0, throttle.Leading, throttle.Trailing, throttle.Leading | throttle.Trailing})
	froms     = rapid.SampledFrom([]throttle.From{throttle.FromStart, throttle.FromEnd})
	spoilers  = rapid.SampledFrom(reference.Spoilers())

	endings = rapid.SampledFrom([]reference.Ending{reference.EndWithClose, reference.EndWithShutdown, reference.EndIdle})

	outcomes = rapid.SampledFrom(weighted(map[reference.Outcome]int{
		reference.OutcomeSuccess: 8, reference.OutcomeError: 4, reference.OutcomePanicsWithError: 1,
		reference.OutcomePanicsWithText: 1, reference.OutcomePanicsWithNil: 1, reference.OutcomeGoexit: 1,
		reference.OutcomeRetryIn: 2, reference.OutcomeWrappedRetryIn: 1,
	}))
	failures = rapid.SampledFrom(append(slices.Repeat([]reference.Outcome{reference.OutcomeError}, 7), reference.OutcomeSuccess))

	// A closed throttler has little to show.
	acts = rapid.SampledFrom(weighted(map[reference.Act]int{
		reference.ActNone: 48, reference.ActCall: 8, reference.ActCallWithin: 2, reference.ActCancel: 2,
		reference.ActSetSamePolicy: 2, reference.ActDo: 1, reference.ActFlush: 1, reference.ActShutdown: 1, reference.ActClose: 1,
	}))
	operations = rapid.SampledFrom(weighted(map[reference.Operation]int{
		reference.OpNothing: 24, reference.OpCall: 72, reference.OpCallWithin: 28, reference.OpDo: 32, reference.OpFlush: 16,
		reference.OpCancel: 16, reference.OpSetPolicy: 36, reference.OpSetSamePolicy: 6,
		reference.OpClose: 1, reference.OpShutdown: 2, reference.OpEndParent: 2,
	}))
	aims = rapid.SampledFrom(weighted(map[reference.Aim]int{
		reference.AimNowhere: 5, reference.AimDue: 1, reference.AimPermit: 1, reference.AimRunEnd: 1, reference.AimQuiet: 1,
	}))
)

// weighted lists each value as often as it says, the least value first.
func weighted[V ~int](weights map[V]int) (values []V) {
	for value, weight := range weights {
		values = append(values, slices.Repeat([]V{value}, weight)...)
	}
	slices.Sort(values)
	return values
}

// affordable cuts durations to what a scenario can wait for.
func affordable(durations []time.Duration) (waits []time.Duration) {
	for _, d := range durations {
		waits = append(waits, min(d, reference.LongestWait))
	}
	slices.Sort(waits)
	return waits
}

func drawScenario(t *rapid.T) reference.Scenario {
	s := reference.Scenario{
		Policy:   drawPolicy(t, throttle.Policy{}, coin),
		Parent:   seldom.Draw(t, "parent"),
		Counting: coin.Draw(t, "counting"),
		Ending:   endings.Draw(t, "ending"),
	}
	outcomes := outcomes
	if coin.Draw(t, "retries") { // a delay doubles only with failures in a row
		outcomes = failures
		s.Policy.Retry = drawBackoff(t)
		s.Policy = reference.Mend(s.Policy)
	}
	scripts := rapid.Custom(func(t *rapid.T) reference.Script { return drawScript(t, outcomes) })
	for _, script := range rapid.SliceOfN(scripts, 0, 16).Draw(t, "scripts") {
		s.AddScript(script)
	}
	steps := rapid.Custom(func(t *rapid.T) reference.Step { return drawStep(t, s.Policy) })
	// A list of lists is longer than rapid makes a list, and shrinks as well.
	for _, part := range rapid.SliceOfN(rapid.SliceOfN(steps, 1, 40), 1, 40).Draw(t, "steps") {
		for _, step := range part {
			s.AddStep(step)
		}
	}
	return s
}

// drawPolicy draws some fields of a policy anew, those that anew says. Most policies
// are then mended, so that they are valid.
func drawPolicy(t *rapid.T, p throttle.Policy, anew *rapid.Generator[bool]) throttle.Policy {
	if anew.Draw(t, "new Interval") {
		p.Interval = durations.Draw(t, "Interval")
		p.Burst = small.Draw(t, "Burst")
		p.From = froms.Draw(t, "From")
	}
	if anew.Draw(t, "new Quiet") {
		p.Quiet = durations.Draw(t, "Quiet")
		p.MaxWait = 0
		if coin.Draw(t, "bounded") {
			p.MaxWait = durations.Draw(t, "MaxWait")
		}
	}
	if anew.Draw(t, "new MaxInterval") {
		p.MaxInterval = 0
		if rarely.Draw(t, "periodic") {
			p.MaxInterval = durations.Draw(t, "MaxInterval")
		}
	}
	if anew.Draw(t, "new MaxCalls") {
		p.MaxCalls = small.Draw(t, "MaxCalls")
	}
	if anew.Draw(t, "new Edges") {
		p.Edges = edges.Draw(t, "Edges")
	}
	if anew.Draw(t, "new Retry") {
		p.Retry = throttle.Backoff{}
		if !rarely.Draw(t, "no Retry") {
			p.Retry = drawBackoff(t)
		}
	}
	switch {
	case seldom.Draw(t, "spoilt"):
		spoilers.Draw(t, "fault")(&p)
		return p
	case seldom.Draw(t, "unmended"):
		return p // as likely as not invalid
	default:
		return reference.Mend(p)
	}
}

// drawLess takes one limit of a policy away.
func drawLess(t *rapid.T, p throttle.Policy) throttle.Policy {
	less := rapid.SampledFrom([]func(){
		func() {},
		func() { p.Interval = 0 },
		func() { p.Burst = 0 },
		func() { p.Quiet = 0 },
		func() { p.MaxInterval = 0 },
		func() { p.MaxCalls = 0 },
		func() { p.Retry = throttle.Backoff{} },
		func() { p.Retry = throttle.Backoff{} },
		func() { p.Edges = throttle.Leading },
	})
	less.Draw(t, "limit")()
	return reference.Mend(p)
}

func drawBackoff(t *rapid.T) throttle.Backoff {
	b := throttle.Backoff{
		Initial:     durations.Draw(t, "Initial"),
		MaxAttempts: small.Draw(t, "MaxAttempts"),
		Jitter:      shares.Draw(t, "Jitter"),
		Eager:       coin.Draw(t, "Eager"),
	}
	if coin.Draw(t, "doubling") {
		b.Max = durations.Draw(t, "Max")
	}
	return b
}

func drawScript(t *rapid.T, outcomes *rapid.Generator[reference.Outcome]) reference.Script {
	s := reference.Script{
		Length:       waits.Draw(t, "length"),
		HeedsContext: coin.Draw(t, "heeds its context"),
		Early:        acts.Draw(t, "early"),
		Late:         acts.Draw(t, "late"),
		Outcome:      outcomes.Draw(t, "outcome"),
	}
	if s.Outcome.AsksRetry() {
		s.RetryIn = drawWithin(t)
	}
	return s
}

// drawWithin draws what CallWithin or RetryIn is passed.
func drawWithin(t *rapid.T) time.Duration {
	within := durations.Draw(t, "within")
	if seldom.Draw(t, "negative") {
		return -within
	}
	return within
}

// drawStep draws a step of a scenario that begins with the policy first. Many of the
// waits aim at an instant where something changes, or a nanosecond before it.
func drawStep(t *rapid.T, first throttle.Policy) reference.Step {
	s := reference.Step{Op: operations.Draw(t, "operation"), Aim: aims.Draw(t, "aim")}
	if s.Aim == reference.AimNowhere {
		s.Wait = waits.Draw(t, "wait")
	} else if coin.Draw(t, "just before") {
		s.Wait = -1
	}
	switch {
	case s.Op == reference.OpCallWithin:
		s.Within = drawWithin(t)
	case s.Op.Waits():
		s.Late = seldom.Draw(t, "late")
		if coin.Draw(t, "patience") {
			s.Within = max(waits.Draw(t, "within"), 1)
		}
	case s.Op == reference.OpSetPolicy && coin.Draw(t, "less"):
		s.Policy = drawLess(t, first)
	case s.Op == reference.OpSetPolicy:
		s.Policy = drawPolicy(t, first, rarely)
	}
	return s
}
