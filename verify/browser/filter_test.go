package browser_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/throttledebug"
)

// flaky returns the options for three groups, item-1 to item-3. The runs of item-3 fail while the
// value is true; run starts one.
func flaky(t *testing.T) (fails *atomic.Bool, run func(), show []throttledebug.Option) {
	t.Helper()
	fails = new(atomic.Bool)
	for i := 1; i <= 3; i++ {
		made, err := throttle.NewGroup(throttle.Policy{}, func(context.Context, int) error {
			if i == 3 && fails.Load() {
				return errors.New("refused")
			}
			return nil
		}, throttle.WithName(fmt.Sprintf("item-%d", i)), throttle.WithErrorHandler(func(error) {}))
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, made.Close()) })
		run = func() { assert.NoError(t, made.Call(0)) }
		show = append(show, throttledebug.Group(made))
	}
	return fails, run, show
}

// showsCards waits until the page shows cards with these names.
func (o *tab) showsCards(t *testing.T, want ...string) {
	t.Helper()
	eventually(t, func(t *assert.CollectT) {
		assert.Equal(t, want, evaluate[[]string](t, o, `[...document.querySelectorAll("h2")].map(name => name.textContent)`))
	})
}

// choose clicks the link to a filter.
func (o *tab) choose(t *testing.T, filter string) {
	t.Helper()
	require.NoError(t, chromedp.Do(o.ctx, chromedp.Click(chromedp.CSS("[data-filter="+filter+"]"))))
}

func TestPage_Filter(t *testing.T) {
	t.Parallel()
	fails, run, show := flaky(t)
	shown, _ := visiting(t, show...)
	still := shown.stays(t)
	fails.Store(true)
	run()
	shown.showsCards(t, "item-3", "item-1", "item-2")
	shown.choose(t, "failing")
	shown.showsCards(t, "item-3")
	assert.Equal(t, "?show=failing", evaluate[string](t, shown, `location.search`))
	assert.Equal(t, "1 failing", evaluate[string](t, shown, `document.querySelector("nav [aria-current]").textContent`))
	fails.Store(false)
	run()
	eventually(t, func(t *assert.CollectT) {
		assert.Equal(t, "No throttle is failing now.", evaluate[string](t, shown, `document.querySelector("main > p")?.textContent ?? ""`))
	})
	assert.True(t, still())
	evaluate[chromedp.Void](t, shown, `void history.back()`)
	shown.showsCards(t, "item-1", "item-2", "item-3")
}

func TestPage_FilterWithoutScript(t *testing.T) {
	t.Parallel()
	fails, run, show := flaky(t)
	fails.Store(true)
	run()
	server := serve(t, throttledebug.Handler(show...))
	shown := open(t)
	shown.behaves(t)
	call(t, shown, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	shown.visit(t, server.URL)
	shown.choose(t, "failing")
	shown.showsCards(t, "item-3")
}

// When cards move, the focus stays.
func TestPage_CardMoves(t *testing.T) {
	t.Parallel()
	fails, run, show := flaky(t)
	fails.Store(true)
	run()
	shown, _ := visiting(t, show...)
	shown.showsCards(t, "item-3", "item-1", "item-2")
	for _, box := range []string{"q0", "q2"} {
		for _, failing := range []bool{false, true} {
			evaluate[chromedp.Void](t, shown, `void document.getElementById(%s).focus()`, box)
			fails.Store(failing)
			run()
			if failing {
				shown.showsCards(t, "item-3", "item-1", "item-2")
			} else {
				shown.showsCards(t, "item-1", "item-2", "item-3")
			}
			assert.Equal(t, box, evaluate[string](t, shown, `document.activeElement.id`))
		}
	}
}
