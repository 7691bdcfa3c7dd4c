package throttledebug_test

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/throttledebug"
)

// A drawing is what a strip on the page shows. The marks are in the order of the drawing, each
// with its class and with its places on the axis, in seconds from now.
type drawing struct {
	label string
	marks []string
	ticks []string
}

// of returns the marks of these classes.
func (d drawing) of(classes ...string) []string {
	found := []string{}
	for _, mark := range d.marks {
		for _, class := range classes {
			if strings.HasPrefix(mark, class+" ") {
				found = append(found, mark)
			}
		}
	}
	return found
}

// strips returns the strips on page, those of lanes included.
func strips(t *testing.T, page string) []drawing {
	t.Helper()
	var all []drawing
	for part := range strings.SplitSeq(page, `<svg class="timeline strip" role="img"`) {
		if _, here, _ := strings.Cut(part, "aria-label="); strings.HasPrefix(here, `"the last `) {
			end := strings.LastIndex(part, "</svg>")
			require.Positive(t, end)
			all = append(all, parseStrip(t, "<svg"+part[:end+len("</svg>")]))
		}
	}
	return all
}

// stripOn returns the first strip on page.
func stripOn(t *testing.T, page string) drawing {
	t.Helper()
	all := strips(t, page)
	require.NotEmpty(t, all)
	return all[0]
}

func parseStrip(t *testing.T, text string) (d drawing) {
	t.Helper()
	var past time.Duration
	var class, element string // of the run around the current element; of the current text
	for decoder := xml.NewDecoder(strings.NewReader(text)); ; {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return d
		}
		require.NoError(t, err)
		switch token := token.(type) {
		case xml.StartElement:
			element = token.Name.Local
			at := make(map[string]string)
			for _, a := range token.Attr {
				at[a.Name.Local] = a.Value
			}
			place := func(percents ...string) (seconds string) {
				var sum float64
				for _, percent := range percents {
					share, err := strconv.ParseFloat(strings.TrimSuffix(percent, "%"), 64)
					require.NoError(t, err, text)
					sum += share / 100
				}
				text := strconv.FormatFloat(sum*1.2*past.Seconds()-past.Seconds(), 'f', 2, 64)
				if text == "-0.00" {
					return "0.00"
				}
				return text
			}
			switch {
			case at["aria-label"] != "":
				d.label = at["aria-label"]
				past, err = time.ParseDuration(strings.TrimPrefix(strings.Split(d.label, ",")[0], "the last "))
				require.NoError(t, err)
			case element == "g":
				class = at["class"]
			case element == "rect" && at["class"] == "bar":
				d.marks = append(d.marks, fmt.Sprintf("%s %s..%s", class, place(at["x"]), place(at["x"], at["width"])))
			case element == "rect":
				d.marks = append(d.marks, fmt.Sprintf("%s %s..%s", at["class"], place(at["x"]), place(at["x"], at["width"])))
			case element == "svg":
				d.marks = append(d.marks, class+" cross "+place(at["x"]))
			case element == "line" && at["x1"] == at["x2"]:
				d.marks = append(d.marks, at["class"]+" "+place(at["x1"]))
			case element == "line":
				d.marks = append(d.marks, fmt.Sprintf("%s %s..%s", at["class"], place(at["x1"]), place(at["x2"])))
			case element == "circle":
				d.marks = append(d.marks, at["class"]+" "+place(at["cx"]))
			case element == "text":
				d.ticks = append(d.ticks, place(at["x"]))
			}
		case xml.CharData:
			if said := strings.TrimSpace(string(token)); said != "" && element == "text" {
				d.ticks[len(d.ticks)-1] += " " + said
			} else if said != "" {
				d.marks = append(d.marks, "title "+said)
			}
		}
	}
}

func TestStrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var recorder throttledebug.Recorder
		results := []error{nil, nil, errFailed, fmt.Errorf("busy: %w", throttle.RetryIn(time.Second)), nil}
		reload := newThrottler(t, throttle.Every(time.Second), func() error {
			time.Sleep(100 * ms)
			result := results[0]
			results = results[1:]
			return result
		}, throttle.WithCallCount(), throttle.WithObserver(recorder.Observe))
		reload.Call()
		time.Sleep(9 * time.Second)
		reload.Call() // at the left end of the strip
		time.Sleep(200 * ms)
		reload.Call()
		reload.Call()
		time.Sleep(9800 * ms)
		synctest.Wait()
		got := stripOn(t, html(t, throttledebug.Throttler(reload), throttledebug.Runs(&recorder)))
		assert.Equal(t, "the last 10s, runs: 2", got.label)
		assert.Equal(t, []string{"-10.00 -10s", "-8.00 -8s", "-6.00 -6s", "-4.00 -4s", "-2.00 -2s", "0.00 now", "2.00 +2s"}, got.ticks)
		assert.Equal(t, []string{
			"window -10.00..-9.00", "edge -9.00", "window -9.00..-8.00", "edge -8.00", "now 0.00",
			"call -10.00", "wait -10.00", "wait -10.00", "call -9.80", "wait -9.80..-9.00", "wait -9.00",
			"title call: success, took 100ms, 1 calls", "run -10.00..-9.90", "start -10.00",
			"title call: failure, took 100ms, 2 calls", "run failed cross -9.00",
		}, got.marks[:len(got.marks)-8])
		reload.Call()
		time.Sleep(2 * time.Second)
		got = stripOn(t, html(t, throttledebug.Throttler(reload), throttledebug.Runs(&recorder)))
		assert.Equal(t, []string{
			"window -2.00..-0.90", "window -0.90..0.10", // the first one ends with the RetryIn
			"title call: retry_in, took 100ms, 1 calls", "run -2.00..-1.90", "title retry: success, took 100ms", "run -0.90..-0.80",
		}, got.of("window", "title", "run"))
	})
}

func TestStrip_ActiveRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reload := newThrottler(t, throttle.Every(time.Second), func() { time.Sleep(3 * time.Second) })
		now := func() []string {
			t.Helper()
			return stripOn(t, html(t, throttledebug.Throttler(reload))).of("run", "run active", "open", "wait", "due", "window")
		}
		assert.Empty(t, now())
		reload.Call()
		time.Sleep(500 * ms)
		reload.Call()
		assert.Equal(t, []string{"window -0.50..0.50", "wait pending 0.00..0.50", "due 0.50", "run active -0.50..0.00", "open 0.00"}, distinct(now()))
		time.Sleep(time.Second)
		assert.Equal(t, []string{"window -1.50..-0.50", "wait pending 0.00", "due 0.00", "run active -1.50..0.00", "open 0.00"}, distinct(now()),
			"a call that waits only for the active run to end")
		reload.Cancel()
		time.Sleep(2 * time.Second)
		assert.Equal(t, []string{"window -3.50..-2.50", "run -3.50..-0.50"}, now(), "the last run is known without a Recorder")
	})
}

// distinct returns texts without repetitions.
func distinct(texts []string) (once []string) {
	seen := make(map[string]bool)
	for _, text := range texts {
		if !seen[text] {
			once = append(once, text)
		}
		seen[text] = true
	}
	return once
}

// Keys wait and run side by side, so the strip of a Group shows only finished runs. The busiest
// keys have strips of their own, with all that a strip shows.
func TestStrip_Lanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var recorder throttledebug.Recorder
		group, err := throttle.NewGroup(throttle.Every(time.Second), func(context.Context, string) error {
			time.Sleep(100 * ms)
			return nil
		}, throttle.WithObserver(recorder.Observe))
		require.NoError(t, err)
		defer group.Close()
		for round := range 2 { // the later keys run twice
			for i := round * 2; i < 7; i++ {
				require.NoError(t, group.Call("key-"+strconv.Itoa(i*5)))
			}
			time.Sleep(2 * time.Second)
		}
		require.NoError(t, group.Call("key-30"))
		time.Sleep(300 * ms)
		require.NoError(t, group.Call("key-30"))
		require.NoError(t, group.Call("key-5"))
		synctest.Wait()

		page := html(t, throttledebug.Group(group), throttledebug.Runs(&recorder))
		var lanes []string
		for row := range strings.SplitSeq(page, `<li data-lane="`) {
			if lane, rest, _ := strings.Cut(row, `" class="`); strings.HasPrefix(lane, "key") {
				lanes = append(lanes, lane+" "+strings.Split(rest, `"`)[0])
			}
		}
		assert.Equal(t, []string{"key-10 idle", "key-15 idle", "key-20 idle", "key-25 idle", "key-30 waiting"}, lanes)

		drawn := strips(t, page)
		require.Len(t, drawn, 6)
		assert.Equal(t, "the last 10s, runs: 13", drawn[0].label)
		assert.Empty(t, drawn[0].of("window", "call", "run active"))
		assert.Equal(t, []string{"due 0.70"}, drawn[0].of("due"))
		assert.NotEmpty(t, drawn[0].ticks)
		assert.Equal(t, []string{
			"window -4.30..-3.30", "window -2.30..-1.30", "window -0.30..0.70", "due 0.70", "run -4.30..-4.20", "run -2.30..-2.20", "run -0.30..-0.20",
		}, drawn[5].of("window", "due", "run"))
		assert.Empty(t, drawn[5].ticks)
		time.Sleep(2 * time.Second)
		synctest.Wait()
	})
}

// All strips of a page have the same axis: the one that suits the policies, or the one that the
// query asks for.
func TestStrip_Axis(t *testing.T) {
	part := func(p throttle.Policy) throttledebug.Option {
		return throttledebug.Throttler(newThrottler(t, p, func() {}))
	}
	axis := func(query string, show ...throttledebug.Option) string {
		t.Helper()
		drawn := strips(t, get(t, throttledebug.Handler(show...), query).Body.String())
		require.Len(t, drawn, len(show))
		for _, d := range drawn {
			assert.Equal(t, drawn[0].ticks, d.ticks)
			assert.Equal(t, drawn[0].label, d.label)
		}
		return drawn[0].label
	}
	for _, test := range []struct {
		policy throttle.Policy
		past   string
	}{
		{throttle.Policy{}, "10s"},
		{throttle.Every(time.Second), "10s"},
		{throttle.Every(time.Second + 1), "30s"},
		{throttle.Debounce(6*time.Second, 0), "1m"},
		{throttle.Policy{MaxInterval: time.Minute}, "10m"},
		{throttle.Policy{Retry: throttle.Backoff{Initial: 5 * time.Minute}}, "1h"},
		{throttle.Every(30 * time.Minute), "6h"},
		{throttle.Every(time.Hour), "24h"},
		{throttle.Every(1000 * time.Hour), "24h"},
	} {
		assert.Equal(t, "the last "+test.past+", runs: 0", axis("", part(test.policy)))
	}
	short, middle, long := part(throttle.Every(ms)), part(throttle.Every(5*time.Second)), part(throttle.Every(time.Hour))
	assert.Equal(t, "the last 1m, runs: 0", axis("", long, short, middle))
	assert.Equal(t, "the last 1s, runs: 0", axis("?last=1s", long, short, middle))
	assert.Equal(t, "the last 1m, runs: 0", axis("?last=2s", long, short, middle), "not offered")
	page := get(t, throttledebug.Handler(long), "?last=6h&show=pending&q0=x").Body.String()
	assert.Contains(t, page, `<a href="?last=10s&amp;q0=x&amp;show=pending">10s</a> <a href="?last=30s&amp;q0=x&amp;show=pending">30s</a>`)
	assert.Contains(t, page, `<a href="?last=6h&amp;q0=x&amp;show=pending" aria-current="true">6h</a>`)
}

// If the Recorder may have dropped runs, the strip marks the time before the oldest run that it
// keeps.
func TestStrip_FullRecorder(t *testing.T) {
	for _, test := range []struct {
		runs  int
		apart time.Duration
		want  []string
	}{
		{63, 10 * ms, []string{}},
		{64, 10 * ms, []string{"unrecorded -10.00..-0.64"}},
		{64, 100 * ms, []string{"unrecorded -10.00..-6.40"}},
		{100, time.Second, []string{}},
	} {
		synctest.Test(t, func(t *testing.T) {
			var recorder throttledebug.Recorder
			for range test.runs {
				recorder.Observe(finished("", nil))
				time.Sleep(test.apart)
			}
			page := html(t, throttledebug.Throttler(newThrottler(t, throttle.Policy{}, func() {})), throttledebug.Runs(&recorder))
			assert.Equal(t, test.want, stripOn(t, page).of("unrecorded"))
		})
	}
}

// The legend explains all marks that strips have.
func TestStrip_Legend(t *testing.T) {
	page, _, found := strings.Cut(html(t), "<main>")
	require.True(t, found)
	_, legend, found := strings.Cut(page, `<ul class="legend"`)
	require.True(t, found)
	for _, mark := range []string{"call", "wait", "bar", "failed", "cross", "active", "open", "window", "edge", "wait pending", "due", "unrecorded"} {
		assert.Contains(t, legend, `class="`+mark+`"`)
	}
	for _, said := range []string{"the first call for a run", "> run<", "failed run", "active run", "window: spacing holds off the next run", "next run is due", "no longer recorded"} {
		assert.Contains(t, legend, said)
	}
}
