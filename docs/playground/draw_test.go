package main_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	app "github.com/throttle-go/throttle/docs/playground"
)

// draw returns the picture of a fragment.
func draw(t *testing.T, fragment string) app.Drawing {
	t.Helper()
	s, problems := app.ParseFragment(fragment)
	require.Empty(t, problems)
	drawn, err := app.Draw(s.Policy, s, "title")
	require.NoError(t, err)
	return drawn
}

// described returns the description of a picture.
func described(d app.Drawing) string {
	return regexp.MustCompile(`<desc>(.*)</desc>`).FindStringSubmatch(d.SVG)[1]
}

// lastTick returns the last label of a picture's time axis, with the unit.
func lastTick(d app.Drawing) string {
	ticks := regexp.MustCompile(`<text class="time"[^>]*>([^<]*)<`).FindAllStringSubmatch(d.SVG, -1)
	unit := regexp.MustCompile(`<text class="lane"[^>]*>(ms|s|min|h)<`).FindStringSubmatch(d.SVG)
	return ticks[len(ticks)-1][1] + unit[1]
}

func TestDraw(t *testing.T) {
	tests := map[string]struct{ fragment, summary, description string }{
		"nothing": {"mode=script", "Calls: 0. Runs: 0.", ""},
		"calls": {
			"interval=100ms&calls=0,30,60", "Calls: 3. Runs: 2. Longest wait: 70ms.",
			"Calls at 0, 30 and 60 ms. Run 1 (1 call) from 0 to 20 ms. Run 2 (2 calls) from 100 to 120 ms.",
		},
		"dropped calls": {
			"interval=100ms&edges=leading&calls=0,30,60", "Calls: 3. Dropped calls: 2. Runs: 1.",
			"Calls at 0 ms. Dropped calls at 30 and 60 ms. Run 1 (1 call) from 0 to 20 ms.",
		},
		"runs": {
			"calls=0,100,200,300,400&runs=50,fail,10fail,ok&took=1ms&failing=1", "Calls: 5. Runs: 5. Failed runs: 3.",
			"Calls at 0, 100, 200, 300 and 400 ms. Run 1 (1 call) from 0 to 50 ms. Run 2 (1 call, fails) from 100 to 101 ms. " +
				"Run 3 (1 call, fails) from 200 to 210 ms. Run 4 (1 call) from 300 to 301 ms. Run 5 (1 call, fails) from 400 to 401 ms.",
		},
		"calls after the end": {
			"interval=100ms&calls=0,30,60&until=50", "Calls: 2. Runs: 1.",
			"Calls at 0 and 30 ms. Run 1 (1 call) from 0 to 20 ms.",
		},
		"a retry without end": {
			"retry-initial=10ms&calls=0&failing=1&took=0s", "Calls: 1. Runs: 6. Failed runs: 6.",
			"Calls at 0 ms. Run 1 (1 call, fails) from 0 to 0 ms. Run 2 (attempt 2, fails) from 10 to 10 ms. Run 3 (attempt 3, fails) from 20 to 20 ms. " +
				"Run 4 (attempt 4, fails) from 30 to 30 ms. Run 5 (attempt 5, fails) from 40 to 40 ms. Run 6 (attempt 6, fails) from 50 to 50 ms.",
		},
		"periodic runs": {
			"max-interval=100ms&calls=0&took=0s", "Calls: 1. Runs: 3.",
			"Calls at 0 ms. Run 1 (1 call) from 0 to 0 ms. Run 2 (no call) from 100 to 100 ms. Run 3 (no call) from 200 to 200 ms.",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			drawn := draw(t, test.fragment)
			assert.Equal(t, test.summary, drawn.Summary)
			assert.Equal(t, test.description, described(drawn))
			assert.NotContains(t, drawn.SVG, "<style>")
		})
	}
}

func TestDraw_End(t *testing.T) {
	tests := map[string]struct{ fragment, want string }{
		"nothing happens":    {"mode=script", "1000ms"},
		"after the window":   {"interval=100ms&calls=0", "100ms"},
		"after the run":      {"calls=0&took=10s", "11s"},
		"as the script says": {"interval=100ms&calls=0,30&until=90", "90ms"},
		"after hours":        {"quiet=5h&calls=0", "5h"},
		"a window for ever":  {"from=end&interval=2540400h&calls=0&took=20ms", "20ms"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { assert.Equal(t, test.want, lastTick(draw(t, test.fragment))) })
	}
}

// A call that waits at the end of the picture has a line that leaves it.
func TestDraw_WaitAtEnd(t *testing.T) {
	wait := regexp.MustCompile(`<path class="wait" d="([^"]*)"`)
	drawn := draw(t, "quiet=100ms&calls=20&until=100")
	assert.Equal(t, "Calls: 1. Runs: 0.", drawn.Summary)
	lines := wait.FindAllStringSubmatch(drawn.SVG, -1)
	require.Len(t, lines, 1)
	assert.Regexp(t, `^M190\.4 [0-9.]+L616\.0 [0-9.]+$`, lines[0][1])
}

// However much a URL asks for, the picture is small and is there at once.
func TestDraw_Limits(t *testing.T) {
	t.Run("runs", func(t *testing.T) {
		drawn := draw(t, "interval=1ns&calls="+strings.Repeat("1,2,3,4,5,6,7,8,9,10,", 100)+"&took=0s&max-interval=1ns")
		assert.Contains(t, drawn.Summary, "The picture ends after 500 runs.")
	})
	t.Run("labels", func(t *testing.T) {
		assert.Contains(t, draw(t, "calls=0,100,200").SVG, "1 call<")
		drawn := draw(t, "calls=0,100,200,300,400,500,600,700,800,900,1000,1100,1200,1300,1400,1500,1600")
		assert.NotContains(t, drawn.SVG, "1 call<")
		assert.Contains(t, described(drawn), "Run 17 (1 call) from")
	})
	t.Run("description", func(t *testing.T) {
		drawn := draw(t, "interval=1s&calls="+strings.Repeat("1,", 100))
		assert.Equal(t, drawn.Summary, described(drawn))
	})
	t.Run("long times", func(t *testing.T) {
		draw(t, "interval=2540400h&quiet=2540400h&max-wait=2562047h&calls=0,1e12&took=2540400h&until=3e12")
		draw(t, "interval=2540400h&quiet=2540400h&calls=0,1e12&took=2540400h")
	})
}

func TestDraw_InvalidPolicy(t *testing.T) {
	_, err := app.Draw(throttle.Policy{MaxWait: time.Second}, app.Usual(), "title")
	var problem *throttle.PolicyError
	require.ErrorAs(t, err, &problem)
}

// The share of failures is exact, and failures are as far apart as possible.
func TestDraw_Failing(t *testing.T) {
	for share, want := range map[string]string{
		"0": "", "0.25": "4 8 12", "0.5": "2 4 6 8 10 12", "0.9": "2 3 4 5 6 7 8 9 10 12", "1": "1 2 3 4 5 6 7 8 9 10 11 12", "-1": "", "0.1": "10",
	} {
		drawn := draw(t, "calls=0,100,200,300,400,500,600,700,800,900,1000,1100&failing="+share)
		var failed []string
		for _, run := range regexp.MustCompile(`Run (\d+) \([^)]*fails\)`).FindAllStringSubmatch(described(drawn), -1) {
			failed = append(failed, run[1])
		}
		assert.Equal(t, want, strings.Join(failed, " "), share)
	}
}
