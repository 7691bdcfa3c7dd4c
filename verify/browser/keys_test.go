package browser_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/throttledebug"
)

// rows returns the keys on the page, of all groups.
func rows(t require.TestingT, in *tab) []string {
	return evaluate[[]string](t, in, `[...document.querySelectorAll("[data-key] .name")].map(key => key.textContent)`)
}

// searchBox is the search box of the first part.
const searchBox = chromedp.CSS("#part-0 input[type=search]")

func TestPage_SearchKeys(t *testing.T) {
	t.Parallel()
	var keys []string
	for i := range 120 {
		keys = append(keys, fmt.Sprintf("tenant-%03d", i))
	}
	tenants := group(t, throttle.Debounce(time.Hour, 0), func(context.Context, string) error { return nil }, keys...)
	shown, _ := visiting(t, throttledebug.Group(tenants))
	still := shown.stays(t)
	found := func(want []string, matching string) {
		t.Helper()
		eventually(t, func(t *assert.CollectT) {
			assert.Equal(t, want, rows(t, shown))
			assert.Equal(t, matching, field(t, shown, 0, "[data-field=matching]"))
		})
	}

	found(keys[:50], "the first 50 are shown")
	require.NoError(t, chromedp.Do(shown.ctx, chromedp.SendKeys(searchBox, "T-07")))
	found(keys[70:80], "10 found")
	require.NoError(t, tenants.Call("late-t-075"))
	found(append([]string{"late-t-075"}, keys[70:80]...), "11 found")
	require.NoError(t, chromedp.Do(shown.ctx, chromedp.SendKeys(searchBox, "no")))
	found([]string{}, "0 found")
	assert.True(t, still())

	evaluate[chromedp.Void](t, shown, `document.activeElement.select()`)
	require.NoError(t, chromedp.Do(shown.ctx, chromedp.KeyEvent("-119")))
	found(keys[119:], "1 found")
	require.NoError(t, chromedp.Do(shown.ctx, chromedp.Reload()))
	assert.False(t, still())
	found(keys[119:], "1 found")
	searched, err := chromedp.Run(shown.ctx, chromedp.Value(searchBox))
	require.NoError(t, err)
	assert.Equal(t, "-119", searched)
}
