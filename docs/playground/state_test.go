package main_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/throttle-go/throttle"
	app "github.com/throttle-go/throttle/docs/playground"
)

const ms = time.Millisecond

// custom returns a state that is far from every preset.
func custom() app.State {
	return app.State{
		Policy: throttle.Policy{
			Interval: 1500 * ms, Burst: 3, MaxLoad: 0.25, Quiet: 1200 * time.Microsecond, MaxWait: time.Hour, MaxInterval: 90 * time.Minute,
			Jitter: 0.1, MaxCalls: 7, Edges: throttle.Leading | throttle.Trailing, From: throttle.FromEnd,
			Retry: throttle.Backoff{Initial: 7500, Max: time.Minute, MaxAttempts: 4, Jitter: 1, Eager: true},
		},
		Live: true,
		Script: app.Script{
			Calls: []time.Duration{0, 1500 * time.Microsecond, 30 * ms},
			Runs:  []app.Outcome{{Took: 60 * ms}, {Usual: true, Fails: true}, {Took: 0, Fails: true}, {Usual: true}},
			Until: 400 * ms,
		},
		Took: 0, Failing: 0.5, Repeat: time.Second, Shows: 10 * time.Second,
	}
}

func TestState_Fragment(t *testing.T) {
	live := app.Presets()[8].State
	live.Live = true
	changed := app.Presets()[0].State
	changed.Policy.Interval = 0
	tests := map[string]struct {
		state app.State
		want  string
	}{
		"a preset":         {app.Presets()[0].State, "preset=leading-and-trailing"},
		"a preset in live": {live, "preset=burst&mode=live"},
		"a changed preset": {changed, "mode=script&calls=0,30,60,110,330,350,370&until=500"},
		"nothing":          {app.Usual(), "mode=script"},
		"everything": {
			custom(),
			"mode=live&interval=1.5s&burst=3&max-load=0.25&from=end&edges=both&quiet=1.2ms&max-wait=1h&max-calls=7&max-interval=1h30m&jitter=0.1" +
				"&retry-initial=7.5us&retry-max=1m&retry-max-attempts=4&retry-jitter=1&retry-eager=true&took=0s&failing=0.5&repeat=1s&shows=10s" +
				"&calls=0,1.5,30&runs=60,fail,0fail,ok&until=400",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, test.want, test.state.Fragment())
			parsed, problems := app.ParseFragment("#" + test.want)
			assert.Empty(t, problems)
			assert.Equal(t, test.state.Fragment(), parsed.Fragment())
			assert.Equal(t, test.state.Policy, parsed.Policy)
			assert.Equal(t, test.state.Script.String(), parsed.Script.String())
		})
	}
}

func TestParseFragment(t *testing.T) {
	burst, _ := app.PresetNamed("burst")
	tests := map[string]struct {
		fragment, want string // want is the fragment of what it means
		problems       []string
	}{
		"nothing":                      {"", "preset=leading-and-trailing", nil},
		"a sign alone":                 {"#", "preset=leading-and-trailing", nil},
		"a change of a preset":         {"#preset=burst&burst=2", "mode=script&interval=180ms&burst=2&calls=0,60,120,140,155,400&until=500", nil},
		"no change of a preset":        {"burst=3&preset=burst", burst.State.Fragment(), nil},
		"numbers without a unit":       {"interval=100&calls=0", "mode=script&interval=100ms&calls=0", nil},
		"escaped":                      {"calls=0%2C30+60&interval=1%30ms", "mode=script&interval=10ms&calls=0,30,60", nil},
		"calls in any order":           {"calls=30,0", "mode=script&calls=0,30", nil},
		"the last of two":              {"burst=2&burst=4", "mode=script&burst=4", nil},
		"an unknown preset":            {"preset=none", "mode=script", []string{`no preset is called "none"`}},
		"an unknown parameter":         {"colour=red&burst=2", "mode=script&burst=2", []string{`nothing is called "colour"`}},
		"a parameter of the page":      {"script=0", "mode=script", []string{`nothing is called "script"`}},
		"no duration":                  {"interval=soon&quiet=1s", "mode=script&quiet=1s", []string{`interval: "soon" is not a duration, such as 100ms or 1.5s`}},
		"an endless duration":          {"interval=1e30", "mode=script", []string{`interval: "1e30" is not a duration, such as 100ms or 1.5s`}},
		"not a number":                 {"jitter=NaN", "mode=script", []string{`jitter: "NaN" is not a number, such as 0.5`}},
		"infinite":                     {"max-load=-Inf", "mode=script", []string{`max-load: "-Inf" is not a number, such as 0.5`}},
		"no whole number":              {"burst=1.5", "mode=script", []string{`burst: "1.5" is not a whole number`}},
		"no choice":                    {"edges=upper&mode=dead", "mode=script", []string{`edges: there is no choice "upper"`, `mode: there is no choice "dead"`}},
		"a negative call":              {"calls=0,-1", "mode=script", []string{`calls: "-1" is negative`}},
		"no run":                       {"runs=late", "mode=script", []string{`runs: "late" is neither ok, fail, a number of milliseconds, nor one followed by fail`}},
		"no end":                       {"until=never", "mode=script", []string{`until: "never" is not a number of milliseconds`}},
		"wrong escapes":                {"burst=2&quiet=%zz", "mode=script&burst=2", []string{`"quiet=%zz" is not escaped correctly`}},
		"a text that does no harm":     {"<script>=1", "mode=script", []string{`nothing is called "<script>"`}},
		"an invalid policy is a state": {"max-wait=1s", "mode=script&max-wait=1s", nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, problems := app.ParseFragment(test.fragment)
			assert.Equal(t, test.want, s.Fragment())
			assert.Equal(t, test.problems, problems)
		})
	}
}

func FuzzParseFragment(f *testing.F) {
	for _, p := range app.Presets() {
		f.Add(p.State.Fragment())
	}
	f.Add(custom().Fragment())
	f.Add("#preset=%zz&calls=1e9&interval=-1ns&&=&until=0.0000001")
	f.Fuzz(func(t *testing.T, fragment string) {
		s, _ := app.ParseFragment(fragment)
		again, problems := app.ParseFragment(s.Fragment())
		assert.Empty(t, problems)
		assert.Equal(t, s.Fragment(), again.Fragment())
		assert.Equal(t, s.Policy, again.Policy)
		page := app.NewPage()
		page.Open(fragment)
		if page.Live() != nil {
			page.Look()
			page.Set("mode", "script")
		}
		page.View()
	})
}

func TestState_Times(t *testing.T) {
	was := custom()
	s := was.Times(10)
	assert.Equal(t, "mode=live&interval=15s&burst=3&max-load=0.25&from=end&edges=both&quiet=12ms&max-wait=10h&max-calls=7&max-interval=15h&jitter=0.1"+
		"&retry-initial=75us&retry-max=10m&retry-max-attempts=4&retry-jitter=1&retry-eager=true&took=0s&failing=0.5&repeat=10s&shows=10s"+
		"&calls=0,15,300&runs=600,fail,0fail,ok&until=4000", s.Fragment())
	assert.Equal(t, custom(), was, "the old state has changed")

	for range 30 {
		s = s.Times(0.1)
	}
	assert.Equal(t, time.Duration(1), s.Policy.Interval, "what is set stays set")
	for range 60 {
		s = s.Times(10)
	}
	assert.Positive(t, s.Policy.Interval)
	assert.Zero(t, s.Took)
}

// randomPolicy returns a policy that need not be valid.
func randomPolicy(r *rand.Rand) throttle.Policy {
	duration := func() time.Duration {
		units := []time.Duration{0, 1, time.Microsecond, ms, time.Second, time.Minute, time.Hour}
		return units[r.IntN(len(units))] * time.Duration(r.IntN(2000)-100)
	}
	share := func() float64 { return []float64{0, 0.5, 1, r.Float64(), 1e-9}[r.IntN(5)] }
	p := throttle.Policy{
		Interval: duration(), Burst: r.IntN(4), MaxLoad: share(), Quiet: duration(), MaxWait: duration(), MaxInterval: duration(),
		Jitter: share(), MaxCalls: r.IntN(3), Edges: throttle.Edges(r.IntN(4)), From: throttle.From(r.IntN(2)),
		Retry: throttle.Backoff{Initial: duration(), Max: duration(), MaxAttempts: r.IntN(3), Jitter: share(), Eager: r.IntN(2) == 0},
	}
	switch r.IntN(4) { // often a policy of a few fields
	case 0:
		return throttle.Every(p.Interval)
	case 1:
		return throttle.Debounce(p.Quiet, p.MaxWait)
	case 2:
		p.Retry = throttle.Backoff{}
	}
	return p
}

func TestState_FragmentOfAnyPolicy(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		s := app.Usual()
		s.Policy = randomPolicy(r)
		parsed, problems := app.ParseFragment(s.Fragment())
		assert.Empty(t, problems, s.Fragment())
		assert.Equal(t, s.Policy, parsed.Policy, s.Fragment())
	}
}
