package main_test

import (
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/throttle-go/throttle"
	app "github.com/throttle-go/throttle/docs/playground"
)

// live plays with a Live in a bubble. Its runs take 20 ms.
func live(t *testing.T, p throttle.Policy, play func(t *testing.T, l *app.Live)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := app.NewLive(p, app.Usual())
		defer l.Close()
		play(t, l)
	})
}

// sleep sleeps for a number of milliseconds, and then until all goroutines are idle.
func sleep(milliseconds int) {
	time.Sleep(time.Duration(milliseconds) * ms)
	synctest.Wait()
}

// second returns what the picture of the last second shows, in short.
func second(l *app.Live) []string {
	shown := regexp.MustCompile(`<(?:path|rect|g|text) class="(call|dropped|run[a-z ]*|window|name|label)"[^>]*>([^<]*)`)
	var words []string
	for _, match := range shown.FindAllStringSubmatch(l.Look(time.Second).SVG, -1) {
		words = append(words, strings.TrimSpace(match[1]+" "+match[2]))
	}
	return words
}

func TestLive_Look(t *testing.T) {
	live(t, throttle.Every(100*ms), func(t *testing.T, l *app.Live) {
		assert.Equal(t, []string{"name now"}, second(l))
		assert.True(t, l.Look(time.Second).Still)
		l.Call()
		synctest.Wait()
		assert.Equal(t, "running", l.Look(time.Second).State)
		assert.Contains(t, second(l), "run active")
		sleep(30)
		l.Call()
		synctest.Wait()
		f := l.Look(time.Second)
		assert.Equal(t, "next run in 70 ms", f.State)
		assert.False(t, f.Still)
		assert.Equal(t, []string{"window", "name now", "call", "call", "run", "label 1 call"}, second(l))
		sleep(100)
		f = l.Look(time.Second)
		assert.Equal(t, "idle", f.State)
		assert.Equal(t, "Calls: 2. Runs: 2.", f.Summary)
		assert.Equal(t, [4]uint64{2, 0, 2, 0}, [4]uint64{f.Calls, f.Dropped, f.Runs, f.Failures})
		assert.False(t, f.Still, "the picture moves")
		sleep(2000)
		assert.Equal(t, []string{"name now"}, second(l))
		assert.True(t, l.Look(time.Second).Still)
	})
}

// A waiting call has a line up to when its run is due.
func TestLive_Due(t *testing.T) {
	live(t, throttle.Debounce(100*ms, 0), func(t *testing.T, l *app.Live) {
		sleep(500)
		l.Call()
		sleep(40)
		// The axis has 1125 ms on 532 pixels, from 84.
		assert.Contains(t, l.Look(time.Second).SVG, `<path class="wait" d="M320.4 `)
		assert.Regexp(t, `<path class="wait" d="M320\.4 [0-9.]+L367\.7 [0-9.]+M`, l.Look(time.Second).SVG)
	})
}

func TestLive_Dropped(t *testing.T) {
	live(t, throttle.Policy{Interval: 100 * ms, Edges: throttle.Leading}, func(t *testing.T, l *app.Live) {
		l.Call()
		sleep(30)
		l.Call()
		synctest.Wait()
		f := l.Look(time.Second)
		assert.Equal(t, "Calls: 2. Dropped calls: 1. Runs: 1.", f.Summary)
		assert.Subset(t, second(l), []string{"dropped", "run"})
	})
}

func TestLive_Flush(t *testing.T) {
	live(t, throttle.Debounce(time.Hour, 0), func(t *testing.T, l *app.Live) {
		l.Call()
		sleep(100)
		l.Flush()
		sleep(50)
		assert.Equal(t, "Calls: 1. Runs: 1.", l.Look(time.Second).Summary)
		assert.Subset(t, second(l), []string{"name Flush", "name now"})
	})
}

func TestLive_Cancel(t *testing.T) {
	live(t, throttle.Debounce(100*ms, 0), func(t *testing.T, l *app.Live) {
		l.Call()
		sleep(50)
		l.Cancel()
		sleep(200)
		assert.Equal(t, "Calls: 1. Runs: 0.", l.Look(time.Second).Summary)
		assert.Equal(t, []string{"name Cancel", "name now", "call", "dropped"}, second(l))
		l.Call()
		sleep(50)
		assert.Equal(t, 2, strings.Count(l.Look(time.Second).SVG, `class="wait"`), "that of the canceled call, and of the new one")
		l.Cancel()
		l.Cancel()
		assert.Equal(t, 2, strings.Count(l.Look(time.Second).SVG, `class="wait"`))
	})
}

func TestLive_Press(t *testing.T) {
	live(t, throttle.Every(100*ms), func(t *testing.T, l *app.Live) {
		l.Press()
		sleep(399)
		assert.EqualValues(t, 1, l.Look(time.Second).Calls, "a click")
		sleep(1)
		assert.EqualValues(t, 2, l.Look(time.Second).Calls)
		sleep(100)
		assert.EqualValues(t, 4, l.Look(time.Second).Calls, "one every 50 ms")
		l.Release()
		sleep(1000)
		assert.EqualValues(t, 4, l.Look(time.Second).Calls)
		l.Release()
		l.Press()
		l.Press()
		sleep(400)
		assert.EqualValues(t, 7, l.Look(time.Second).Calls, "the second ends the first")
	})
}

func TestLive_Failures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := app.Usual()
		s.Failing = 0.5
		l := app.NewLive(throttle.Policy{Retry: throttle.Backoff{Initial: 100 * ms}}, s)
		defer l.Close()
		l.Call()
		sleep(50)
		l.Call()
		sleep(50)
		assert.Equal(t, "Calls: 2. Runs: 2. Failed runs: 1.", l.Look(time.Second).Summary)
		assert.Equal(t, "next run in 70 ms", l.Look(time.Second).State)
		assert.Subset(t, second(l), []string{"run failed", "label 1 call", "label 1 call, fails"})
		assert.Contains(t, second(l), "window", "the delay")
		sleep(200)
		assert.Equal(t, "Calls: 2. Runs: 3. Failed runs: 1.", l.Look(time.Second).Summary)
	})
}

// Windows of the past stay as they were.
func TestLive_Set(t *testing.T) {
	live(t, throttle.Every(100*ms), func(t *testing.T, l *app.Live) {
		windows := regexp.MustCompile(`<rect class="window" x="([^"]*)" y="[^"]*" width="([^"]*)"`)
		l.Call()
		sleep(200)
		before := windows.FindAllStringSubmatch(l.Look(time.Second).SVG, -1)
		assert.Len(t, before, 1)
		l.Set(throttle.Every(400*ms), app.Usual())
		after := windows.FindAllStringSubmatch(l.Look(time.Second).SVG, -1)
		if assert.Len(t, after, 2, "the new policy prolongs the window") {
			assert.Equal(t, before[0], after[0])
			assert.Equal(t, "178.6", after[1][1], "it does so from now on, at 200 ms")
		}
		l.Call()
		synctest.Wait()
		assert.Equal(t, "next run in 200 ms", l.Look(time.Second).State)

		s := app.Usual()
		s.Took = 300 * ms
		l.Set(throttle.Every(400*ms), s)
		sleep(210)
		assert.Equal(t, "running", l.Look(time.Second).State)
		for range 100 { // as a slider does
			sleep(1)
			l.Set(throttle.Every(time.Second), s)
			l.Set(throttle.Every(400*ms), s)
		}
		assert.Contains(t, second(l), "run active")
	})
}

// A long session does not make the page slow.
func TestLive_Long(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := app.Usual()
		s.Took = 0
		l := app.NewLive(throttle.Policy{}, s)
		defer l.Close()
		for range 10000 {
			l.Call()
			sleep(1)
		}
		assert.EqualValues(t, 10000, l.Look(time.Second).Runs)
		size := len(l.Look(time.Minute).SVG)
		assert.Less(t, size, 2_000_000)
		assert.NotContains(t, second(l), "label 1 call")
	})
}

func TestLive_Close(t *testing.T) {
	synctest.Test(t, func(*testing.T) {
		l := app.NewLive(throttle.Policy{MaxInterval: 10 * ms}, app.Usual())
		l.Press()
		sleep(1000)
		l.Close()
		synctest.Wait() // the bubble ends only if all goroutines do
	})
}
