package browser_test

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/throttledebug"
)

var pictures = flag.String("pictures", "", "write pictures of the page to this directory")

//go:embed contrast.js
var contrast string

// A view is how a browser shows a page.
type view struct {
	width  int64  // in CSS pixels
	scheme string // prefers-color-scheme
}

func (v view) String() string { return fmt.Sprintf("%s-%d", v.scheme, v.width) }

// views returns the views of a phone and a desktop, each in light and dark.
func views() []view {
	return []view{{390, "light"}, {390, "dark"}, {1200, "light"}, {1200, "dark"}}
}

// look makes the tab show its page in a view.
func (o *tab) look(t *testing.T, like view) {
	t.Helper()
	require.NoError(t, chromedp.Do(o.ctx, chromedp.EmulateViewport(like.width, 844)))
	call(t, o, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: like.scheme}},
	})
}

// picture writes a picture of the whole page if the flag -pictures is set.
func (o *tab) picture(t *testing.T, name string) {
	t.Helper()
	if *pictures == "" {
		return
	}
	const lossless = 100
	png, err := chromedp.Run(o.ctx, chromedp.FullScreenshot(lossless))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(*pictures, name+".png"), png, 0o600))
}

// legible is the least contrast of text for level AA of WCAG 2.
const legible = 4.5

// faint returns the texts that are hard to read, each preceded by its contrast.
func (o *tab) faint(t *testing.T) []string {
	t.Helper()
	return evaluate[[]string](t, o, contrast+"(%s)", legible)
}

// The tests must notice faint text. Otherwise every page would pass.
func TestTab_FaintText(t *testing.T) {
	t.Parallel()
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, err := io.WriteString(w, `<!doctype html><style>
			:root { color-scheme: light dark }
			@media (prefers-color-scheme: dark) { .night { color: #333 } }
		</style>
		<p>plain</p>
		<p style="color: #777">grey</p>
		<p style="opacity: 0.5">pale</p>
		<div style="background: black"><p style="color: white">reversed</p></div>
		<div style="background: black"><div style="background: #fff8"><p style="color: #ccc">veiled</p></div></div>
		<p class="night">night</p>
		<p style="color: white; display: none">unseen</p>
		<svg><text y="9" fill="#888">drawn</text></svg>`)
		assert.NoError(t, err)
	}))
	looking := open(t)
	looking.visit(t, server.URL)

	looking.look(t, view{390, "light"})
	assert.Equal(t, []string{"4.48 grey", "3.98 pale", "2.21 veiled", "3.54 drawn"}, looking.faint(t))
	looking.look(t, view{390, "dark"})
	night := fmt.Sprint(looking.faint(t))
	assert.Contains(t, night, "night")
	assert.NotContains(t, night, "plain")
}

// gallery returns options for a page with a part in each state, and with long texts.
func gallery(t *testing.T) []throttledebug.Option {
	t.Helper()
	var recorder throttledebug.Recorder
	options := []throttledebug.Option{throttledebug.Runs(&recorder), throttledebug.Actions()}
	add := func(name string, p throttle.Policy, fn func(context.Context) error) *throttle.Throttler {
		made := throttler(t, p, fn, throttle.WithName(name), throttle.WithObserver(recorder.Observe))
		options = append(options, throttledebug.Throttler(made))
		return made
	}
	add("idle", throttle.Every(time.Second), succeed)
	add("waiting", throttle.Debounce(90*time.Minute, 0), succeed).Call()
	add("running", throttle.Every(time.Second), func(ctx context.Context) error {
		<-ctx.Done()
		return nil
	}).Call()
	require.NoError(t, add("closed", throttle.Every(time.Second), succeed).Close())
	add("failing", throttle.Policy{Interval: time.Hour, Retry: throttle.Backoff{Initial: time.Minute}},
		func(context.Context) error {
			return fmt.Errorf("load: %w", &fs.PathError{Op: "open", Path: "tenants.conf", Err: fs.ErrNotExist})
		}).Call()
	add("panicking", throttle.Every(time.Hour), func(context.Context) error { panic("no map") }).Call()
	often := add("often", throttle.Every(100*time.Millisecond), succeed)
	for range 2 {
		require.NoError(t, often.Do(t.Context()))
	}

	var long []string
	for _, h := range hostiles() {
		long = append(long, h.text)
	}
	add(strings.Join(long, " "), throttle.Every(time.Hour), func(context.Context) error { return errors.New(strings.Join(long, "\n")) }).Call()
	tenants := group(t, throttle.Debounce(time.Hour, 0), func(context.Context, string) error { return nil }, long...)
	options = append(options, throttledebug.Group(tenants))

	paused := add("paused", throttle.Every(time.Second), succeed)
	paused.Pause()
	paused.Call()
	replica, err := fleet.New(fleet.NewMemory(), "shared", throttle.Every(time.Hour), succeed, fleet.WithObserver(recorder.Observe))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, replica.Close()) })
	require.NoError(t, replica.Do(t.Context()))
	rows, err := throttle.NewKeyedCoalescer(throttle.Every(time.Hour), throttle.Batch[int](),
		func(context.Context, string, []int) error { return nil }, throttle.WithName("rows"), throttle.WithObserver(recorder.Observe), throttle.WithErrorHandler(func(error) {}))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, rows.Close()) })
	for i := range 24 { // some wait behind the window of the first
		require.NoError(t, rows.Call(fmt.Sprintf("row-%d", i%8), i))
	}
	return append(options, throttledebug.Fleet(replica), throttledebug.Keyed(rows), throttledebug.Engine("memory", fleet.NewMemory()))
}

// All text is legible, and nothing is wider than the screen.
func TestPage_Layout(t *testing.T) {
	t.Parallel()
	shown, _ := visiting(t, gallery(t)...)
	for part, want := range []string{"idle", "waiting", "running", "closed", "waiting"} {
		shown.shows(t, part, state, want)
	}
	shown.shows(t, 5, "[data-field=failures]", "1, panics: 1")
	evaluate[chromedp.Void](t, shown, `document.querySelectorAll("details").forEach(details => { details.open = true })`)

	backgrounds := make(map[string]string)
	for _, like := range views() {
		shown.look(t, like)
		shown.picture(t, like.String())
		assert.Empty(t, shown.faint(t), like)
		assert.LessOrEqual(t, evaluate[int64](t, shown, `document.documentElement.scrollWidth`), like.width, like)
		assert.Empty(t, evaluate[[]string](t, shown, `[...document.querySelectorAll("body *")]
			.filter(e => e.checkVisibility() && !e.closest("svg") && !e.closest("pre, table"))
			.filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth)
			.map(e => e.outerHTML.slice(0, 200))`), "cut off, %s", like)
		assert.Empty(t, evaluate[[]float64](t, shown, `[...document.querySelectorAll(".recent td:last-child")]
			.map(e => e.getBoundingClientRect()).filter(({width, height}) => width < 150 || height > 200).map(({height}) => height)`),
			"an error in the row of a run takes too much room, %s", like)
		backgrounds[like.scheme] = evaluate[string](t, shown, `getComputedStyle(document.body).backgroundColor`)
	}
	assert.NotEqual(t, backgrounds["light"], backgrounds["dark"])
}

// Screen readers have a name for every control.
func TestPage_Accessibility(t *testing.T) {
	t.Parallel()
	shown, _ := visiting(t, gallery(t)...)
	nodes := call(t, shown, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{}).Nodes
	var controls int
	for _, node := range nodes {
		if node.Ignored || node.Role == nil || node.Name == nil {
			continue
		}
		switch role := string(node.Role.Value); role {
		case `"button"`, `"searchbox"`, `"image"`, `"heading"`, `"link"`:
			controls++
			assert.NotEqual(t, `""`, string(node.Name.Value), role)
		}
	}
	assert.Greater(t, controls, 30)
}
