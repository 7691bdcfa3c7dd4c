package browser_test

import (
	"testing"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// With this policy only the first call runs at once during a test.
const hourly = "mode=live&interval=1h&took=0s"

// called returns the number of calls, which the page may show a little later.
func (o *tab) called(t require.TestingT) int {
	return evaluate[int](t, o, `playground.frame().calls`)
}

// passes waits until the page's clock has gone on for a number of milliseconds.
func (o *tab) passes(t *testing.T, milliseconds float64) {
	t.Helper()
	const now = `performance.now()`
	begun := evaluate[float64](t, o, now)
	eventually(t, func(t *assert.CollectT) {
		assert.Greater(t, evaluate[float64](t, o, now), begun+milliseconds)
	})
}

func TestPlayground_Click(t *testing.T) {
	t.Parallel()
	shown := playing(t, hourly)
	still := shown.stays(t)
	inPicture := func(class string) int {
		return evaluate[int](t, shown, `document.querySelectorAll("#picture ." + %s).length`, class)
	}
	shown.press(t, "#call")
	shown.reads(t, "calls", "1")
	shown.reads(t, "runs", "1")
	shown.press(t, "#call")
	shown.reads(t, "calls", "2")
	eventually(t, func(t *assert.CollectT) { assert.Regexp(t, `^next run in 3\d{6} ms$`, shown.text(t, "state")) })
	assert.Equal(t, "1", shown.text(t, "runs"))

	shown.press(t, "#flush")
	shown.reads(t, "runs", "2")
	shown.reads(t, "state", "idle")
	shown.press(t, "#call")
	shown.reads(t, "calls", "3")
	eventually(t, func(t *assert.CollectT) { assert.Contains(t, shown.text(t, "state"), "next run") })
	shown.press(t, "#cancel")
	shown.reads(t, "state", "idle")
	assert.Equal(t, "2", shown.text(t, "runs"))
	// This picture shows five minutes.
	assert.Equal(t, []int{3, 2, 1}, []int{inPicture("call"), inPicture("run"), inPicture("dropped")})
	assert.Equal(t, []string{"Flush", "Cancel", "now"}, evaluate[[]string](t, shown, `[...document.querySelectorAll("#picture .name")].map(name => name.textContent)`))
	assert.True(t, still())
	shown.reads(t, "announcement", "Calls: 3. Runs: 2.")
}

// While the mouse holds the button, calls repeat.
func TestPlayground_Hold(t *testing.T) {
	t.Parallel()
	shown := playing(t, hourly+"&repeat=20ms")
	type point struct{ X, Y float64 }
	middle := evaluate[point](t, shown, `(box => ({X: box.x + box.width / 2, Y: box.y + box.height / 2}))(document.getElementById("call").getBoundingClientRect())`)
	mouse := func(event input.DispatchMouseEventType) {
		call(t, shown, input.DispatchMouseEvent, input.DispatchMouseEventParams{
			Type: event, X: middle.X, Y: middle.Y, Button: input.MouseButtonLeft, ClickCount: 1,
		})
	}
	mouse(input.DispatchMouseEventTypeMousePressed)
	eventually(t, func(t *assert.CollectT) { assert.Greater(t, shown.called(t), 5) })
	mouse(input.DispatchMouseEventTypeMouseReleased)
	shown.endsToCall(t)
	assert.Equal(t, 1, evaluate[int](t, shown, `playground.frame().runs`), "all calls but the first one wait")
}

// endsToCall asserts that no more calls come.
func (o *tab) endsToCall(t *testing.T) {
	t.Helper()
	last := o.called(t)
	o.passes(t, 700) // longer than the delay before calls repeat
	assert.Equal(t, last, o.called(t))
}

// Everything works with the keyboard alone.
func TestPlayground_Keyboard(t *testing.T) {
	t.Parallel()
	shown := playing(t, hourly+"&repeat=20ms")
	space := func(event input.DispatchKeyEventType) {
		call(t, shown, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: event, Key: " ", Code: "Space", WindowsVirtualKeyCode: 32})
	}
	space(input.DispatchKeyEventTypeRawKeyDown)
	eventually(t, func(t *assert.CollectT) { assert.Greater(t, shown.called(t), 3) })
	space(input.DispatchKeyEventTypeKeyUp)
	shown.endsToCall(t)
	assert.Zero(t, evaluate[float64](t, shown, `scrollY`), "the space bar has scrolled")

	// reach moves the focus to the element.
	reach := func(id string) {
		t.Helper()
		for range 100 {
			if evaluate[bool](t, shown, `document.activeElement?.id === %s`, id) {
				return
			}
			shown.strike(t, "\t")
		}
		t.Fatal("the tab key does not reach " + id)
	}
	reach("call")
	before := shown.called(t)
	shown.strike(t, "\r")
	eventually(t, func(t *assert.CollectT) { assert.Equal(t, before+1, shown.called(t)) })
	shown.strike(t, " ")
	eventually(t, func(t *assert.CollectT) { assert.Equal(t, before+2, shown.called(t)) })
	reach("flush")
	shown.strike(t, " ")
	shown.reads(t, "runs", "2")
	reach("max-interval")
	shown.strike(t, "2h\r")
	eventually(t, func(t *assert.CollectT) { assert.Contains(t, shown.text(t, "code"), "2 * time.Hour") })
	assert.Equal(t, before+2, shown.called(t), "keys in other controls call")
}

// A screen reader clicks without pointer and key.
func TestPlayground_PlainClick(t *testing.T) {
	t.Parallel()
	shown := playing(t, hourly)
	evaluate[chromedp.Void](t, shown, `document.getElementById("call").click()`)
	shown.reads(t, "calls", "1")
	shown.endsToCall(t)
}

func TestPlayground_LivePolicy(t *testing.T) {
	t.Parallel()
	shown := playing(t, hourly)
	shown.press(t, "#call")
	shown.press(t, "#call")
	eventually(t, func(t *assert.CollectT) { assert.Contains(t, shown.text(t, "state"), "next run") })
	shown.fill(t, "interval", "0")
	shown.reads(t, "runs", "2")
	shown.fill(t, "failing", "1")
	shown.press(t, "#call")
	shown.reads(t, "failures", "1")
	assert.Equal(t, 1, evaluate[int](t, shown, `document.querySelectorAll("#picture .failed").length`))

	// An invalid policy changes nothing.
	shown.fill(t, "max-wait", "1s")
	shown.reads(t, "max-wait-problem", "1s: needs Quiet")
	shown.press(t, "#call")
	shown.reads(t, "runs", "4")
	shown.press(t, "[data-key=mode][value=script]")
	eventually(t, func(t *assert.CollectT) {
		assert.False(t, evaluate[bool](t, shown, `document.getElementById("call").checkVisibility()`))
	})
}

// Even a policy that lets runs follow each other without a rest leaves time for the page.
func TestPlayground_Busy(t *testing.T) {
	t.Parallel()
	shown := playing(t, "mode=live&max-interval=1ns&took=0s&shows=5m&failing=0.5&retry-initial=1ns")
	eventually(t, func(t *assert.CollectT) {
		assert.Greater(t, evaluate[int](t, shown, `playground.frame().runs`), 2000)
	})
	shown.press(t, "#call")
	shown.reads(t, "calls", "1")
	shown.press(t, "[data-key=mode][value=script]")
	eventually(t, func(t *assert.CollectT) { assert.Regexp(t, "^Calls: 0", shown.text(t, "summary")) })
}
