package throttledebug_test

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/throttledebug"
)

// namesOn returns the names on page, in the order of the cards.
func namesOn(page string) []string {
	shown := []string{}
	for _, found := range regexp.MustCompile(`<h2 dir="auto">(.*?)</h2>`).FindAllStringSubmatch(page, -1) {
		shown = append(shown, found[1])
	}
	return shown
}

// The page counts the throttles in each state, and each count is a link to these throttles.
func TestHandler_Filters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		names := []string{"idle", "failing", "running", "both", "pending", "paused", "closed"}
		var throttlers []*throttle.Throttler
		for _, name := range names {
			throttlers = append(throttlers, newThrottler(t, throttle.Every(time.Hour), func() error {
				switch name {
				case "failing":
					return errFailed
				case "running", "both":
					time.Sleep(time.Minute)
				}
				return nil
			}, throttle.WithName(name)))
		}
		for _, i := range []int{1, 2, 3, 3, 4, 4} {
			throttlers[i].Call()
			synctest.Wait()
		}
		throttlers[3].Pause()
		throttlers[5].Pause()
		throttlers[5].Call()
		require.NoError(t, throttlers[6].Close())
		var show []throttledebug.Option
		for _, throttler := range throttlers {
			show = append(show, throttledebug.Throttler(throttler))
		}
		handler := throttledebug.Handler(show...)
		page := func(query string) string { return get(t, handler, query).Body.String() }

		whole := page("")
		for filter, want := range map[string][]string{
			"failing": {"failing"},
			"running": {"both", "running"},
			"pending": {"both", "paused", "pending"},
			"paused":  {"both", "paused"},
			"closed":  {"closed"},
		} {
			link := regexp.MustCompile(`<a href="\?show=` + filter + `" data-filter="` + filter + `"><span data-field="count">(\d)</span> ` + filter + `</a>`).FindStringSubmatch(whole)
			require.NotNil(t, link, filter)
			assert.Len(t, want, int(link[1][0]-'0'), filter)
			shown := page("?show=" + filter)
			assert.Equal(t, want, namesOn(shown), filter)
			assert.Contains(t, shown, `data-filter="`+filter+`" aria-current="true"`)
		}
		assert.Contains(t, whole, `<a href="?" data-filter="all" aria-current="true">all <span data-field="count">7</span></a>`)
		assert.Len(t, namesOn(page("?show=odd")), 7, "there is no such filter")
		assert.Len(t, decode(t, handler, "&show=closed").Throttles, 7, "JSON has no filter")
		assert.Contains(t, whole, `running</span> <span class="pausing" data-field="pausing">then paused</span> <span data-field="next">a run waits for Resume</span>`)

		// A position among the options stays, whatever the filter. The filter stays in links and
		// in a search for keys.
		shown := page("?show=closed&last=1h&q0=x")
		assert.Contains(t, shown, `<section id="part-6" class="closed"`)
		assert.Contains(t, shown, `<a href="?last=1h&amp;q0=x&amp;show=paused"`)
		assert.Contains(t, shown, `role="search"><input type="hidden" name="last" value="1h"><input type="hidden" name="show" value="closed">`)

		time.Sleep(time.Hour)
		synctest.Wait()
		assert.Contains(t, page("?show=running"), "<p>No throttle is running now.</p>")
	})
}

// Failing throttles come first. Names and keys are in natural order.
func TestHandler_Order(t *testing.T) {
	natural := []string{"", "-", "0", "00", "1", "1a", "2", "02", "002", "2.9", "2.10", "10", "99999999999999999999", "100000000000000000000", "a", "a1b2", "a1b10", "a2", "a10", "b"}
	failing := []string{"c2", "c10"}
	group := newGroup[string](t, throttle.Every(time.Hour))
	show := []throttledebug.Option{throttledebug.Group(group)}
	for i := range natural {
		name := natural[i*7%len(natural)]
		require.NoError(t, group.Do(t.Context(), name))
		show = append(show, throttledebug.Throttler(newThrottler(t, throttle.Policy{}, func() {}, throttle.WithName(name))))
	}
	for i := range failing {
		reload := newThrottler(t, throttle.Policy{}, func(context.Context) error { return errFailed }, throttle.WithName(failing[1-i]))
		require.Error(t, reload.Do(t.Context()))
		show = append(show, throttledebug.Throttler(reload))
	}

	const unnamed = "<i>no name</i>"
	page := html(t, show...)
	assert.Equal(t, append(append(failing, natural[1:]...), unnamed, unnamed), namesOn(page))
	assert.Equal(t, 2, strings.Count(page, `class="idle failing"`))
	var keys []string
	for _, key := range look(t, "", show...).Throttles[0].Keys.First {
		keys = append(keys, key.Key)
	}
	assert.Equal(t, natural, keys)
}
