package main

import (
	"strings"
	"time"

	"github.com/throttle-go/throttle"
)

// A Preset is a section of POLICIES.md.
type Preset struct {
	Name  string // of the section's picture
	Title string // of the section
	State State
	Note  string // how the page differs from the section
}

// Presets returns the presets in the order of POLICIES.md.
func Presets() []Preset {
	const ms = time.Millisecond
	preset := func(name, title string, p throttle.Policy, calls []int, runs ...Outcome) Preset {
		s := Usual()
		s.Policy = p
		s.Script = Script{Runs: runs, Until: 500 * ms}
		for _, call := range calls {
			s.Script.Calls = append(s.Script.Calls, time.Duration(call)*ms)
		}
		return Preset{Name: name, Title: title, State: s}
	}
	live := func(p Preset, note string) Preset {
		p.State.Live, p.Note = true, note
		return p
	}
	takes := func(milliseconds int) Outcome { return Outcome{Took: time.Duration(milliseconds) * ms} }
	usual, fails := Outcome{Usual: true}, Outcome{Usual: true, Fails: true}

	batches := preset("coalescer", "Calls that carry values, in batches",
		throttle.Policy{
			Quiet: 90 * ms, MaxWait: 90 * ms, MaxCalls: 3,
			Retry: throttle.Backoff{Initial: 60 * ms},
		},
		[]int{0, 40, 160, 175, 190, 205, 220}, usual, fails)
	batches.Note = "This page has a Throttler and no values: a run covers all calls that wait. " +
		"A run of a Coalescer takes one batch, of at most MaxCalls calls."
	const once = "A script has calls only, so this preset is live. "
	return []Preset{
		preset("leading-and-trailing", "At once, then at most once per interval",
			throttle.Every(100*ms),
			[]int{0, 30, 60, 110, 330, 350, 370}),
		preset("from-end", "A pause after each run",
			throttle.Policy{Interval: 80 * ms, From: throttle.FromEnd},
			[]int{0, 30, 200, 240}, takes(60), takes(110)),
		preset("debounce", "Once calls have stopped",
			throttle.Debounce(60*ms, 0),
			[]int{0, 25, 50, 90, 120, 300, 330}),
		preset("debounce-max-wait", "Once calls have stopped, but no later than a bound",
			throttle.Debounce(60*ms, 150*ms),
			[]int{0, 40, 80, 120, 190, 230, 270}),
		preset("batch-window", "Collect for a fixed time, then run",
			throttle.Debounce(100*ms, 100*ms),
			[]int{0, 30, 85, 160, 200, 330}),
		preset("quiet-with-interval", "Wait for quiet, and keep an interval",
			throttle.Policy{Interval: 150 * ms, Quiet: 50 * ms},
			[]int{0, 30, 100, 130, 360, 380}),
		preset("trailing-only", "Never at once, only at the end of a window",
			throttle.Policy{Interval: 100 * ms, Edges: throttle.Trailing},
			[]int{0, 30, 60, 130, 160, 330, 390}),
		preset("leading-only", "Drop what comes too early",
			throttle.Policy{Interval: 100 * ms, Edges: throttle.Leading},
			[]int{0, 30, 60, 130, 160, 330, 390, 450}, usual, usual, takes(140)),
		preset("burst", "A few back to back after a rest",
			throttle.Policy{Interval: 180 * ms, Burst: 3},
			[]int{0, 60, 120, 140, 155, 400}),
		preset("max-load", "Less often as runs take longer",
			throttle.Policy{Interval: 60 * ms, MaxLoad: 0.5},
			[]int{0, 25, 85, 120, 170, 230, 320, 340, 475}, usual, takes(40), takes(70), takes(90)),
		preset("max-interval", "Now and then even if nobody calls",
			throttle.Policy{Interval: 60 * ms, MaxInterval: 150 * ms},
			[]int{0, 220, 240}),
		preset("retry", "Repeat failures with backoff",
			throttle.Policy{Retry: throttle.Backoff{Initial: 100 * ms, Max: time.Second}},
			[]int{0, 180, 250}, fails, fails),
		preset("slow-run", "A run that takes longer than the interval",
			throttle.Every(100*ms),
			[]int{0, 40, 120, 340}, takes(180), usual),
		live(preset("flush", "Run what is pending at once",
			throttle.Every(150*ms),
			[]int{0, 40, 60, 170}), once+"Call a few times, and press Flush while a call waits."),
		live(preset("cancel", "Drop what is pending",
			throttle.Every(150*ms),
			[]int{0, 40, 60, 270}), once+"Call a few times, and press Cancel while a call waits."),
		batches,
	}
}

// PresetNamed returns the preset with that name.
func PresetNamed(name string) (p Preset, known bool) {
	for _, p := range Presets() {
		if p.Name == name {
			return p, true
		}
	}
	return Preset{}, false
}

// policiesURL is where POLICIES.md can be read.
const policiesURL = "https://github.com/throttle-go/throttle/blob/HEAD/docs/POLICIES.md"

// Section returns the URL of p's section.
func (p Preset) Section() string {
	return policiesURL + "#" + strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9', r == '-':
			return r
		default:
			return -1 // is left out
		}
	}, strings.ToLower(p.Title))
}
