package browser_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/throttledebug"
)

// A hostile is a text that tries to be more than text, and how the page shows it.
type hostile struct{ text, shown string }

func hostiles() []hostile {
	same := func(text string) hostile { return hostile{text, text} }
	return []hostile{
		same(`<img src=x onerror="hacked=1">`),
		same(`"><script>hacked=1</script><b title="`),
		same(`' autofocus onfocus='hacked=1`),
		same(`</main></textarea></style></script><svg onload=hacked=1>`),
		same(`</title><iframe srcdoc="<script>top.hacked=1</script>"></iframe>`),
		same(`{{.}} ${hacked=1} &lt;b&gt; &#60;i&#62;`),
		same("data: {}\n\nevent: close"),
		same("\u202egnp.exe\u2066 \u2067"), // directional controls that are never closed
		{"not\xff\xfeUTF-8", "not\ufffdUTF-8"},
		{strings.Repeat("W", 2000), strings.Repeat("W", 1024) + "…"},
	}
}

// harmless asserts that no text has become markup or script.
func (o *tab) harmless(t *testing.T) {
	t.Helper()
	assert.False(t, evaluate[bool](t, o, `"hacked" in window`), "a script ran")
	assert.Empty(t, evaluate[[]string](t, o, `[...document.querySelectorAll("main :is(script, img, iframe, object, embed, b, style, link, meta)")].map(e => e.outerHTML)`))
	assert.Equal(t, 1, evaluate[int](t, o, `document.scripts.length`))
	assert.Empty(t, evaluate[[]string](t, o, `[...document.querySelectorAll("*")].flatMap(e => e.getAttributeNames())
		.filter(name => name.startsWith("on") || name === "srcdoc" || name === "autofocus")`))
}

// isolates asserts that right-to-left texts do not change the order of the text around them.
// Blocks are isolated anyway.
func (o *tab) isolates(t *testing.T, texts string) {
	t.Helper()
	seen := evaluate[[]string](t, o, `[...document.querySelectorAll(%s)].map(e => getComputedStyle(e)).map(style =>
		style.display === "inline" ? style.unicodeBidi : "isolate")`, texts)
	assert.NotEmpty(t, seen)
	for _, is := range seen {
		assert.Equal(t, "isolate", is)
	}
}

func TestPage_HostileText(t *testing.T) {
	t.Parallel()
	var recorder throttledebug.Recorder
	options := []throttledebug.Option{throttledebug.Runs(&recorder), throttledebug.Actions()}
	var throttlers []*throttle.Throttler
	for _, h := range hostiles() {
		failing := throttler(t, throttle.Every(time.Hour), func(context.Context) error { return errors.New(h.text) },
			throttle.WithName(h.text), throttle.WithObserver(recorder.Observe))
		throttlers = append(throttlers, failing)
		options = append(options, throttledebug.Throttler(failing))
	}
	shown, _ := visiting(t, options...)
	for part, h := range hostiles() {
		assert.Equal(t, h.shown, field(t, shown, part, name))
	}
	shown.harmless(t)

	// The texts so far came with the page. The script adds the following ones.
	for _, failing := range throttlers {
		failing.Call()
	}
	for part, h := range hostiles() {
		shown.shows(t, part, fault+" .message", h.shown)
		shown.shows(t, part, ".recent td > div", "failure: "+h.shown)
	}
	shown.harmless(t)
	shown.isolates(t, "h2, .message, .recent td > div")
}

func TestPage_HostilePanic(t *testing.T) {
	t.Parallel()
	text := hostiles()[0].text
	reload := throttler(t, throttle.Every(time.Hour), func(context.Context) error { panic(text) })
	reload.Call()
	shown, _ := visiting(t, throttledebug.Throttler(reload))
	eventually(t, func(t *assert.CollectT) { assert.Contains(t, field(t, shown, 0, fault+" .message"), text) })
	shown.harmless(t)
}

func TestPage_HostileKeys(t *testing.T) {
	t.Parallel()
	fail := func(_ context.Context, key string) error { return errors.New("of " + key) }
	var recorder throttledebug.Recorder
	tenants, err := throttle.NewGroup(throttle.Policy{Interval: time.Hour}, fail,
		throttle.WithObserver(recorder.Observe), throttle.WithErrorHandler(func(error) {}))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, tenants.Close()) })
	shown, _ := visiting(t, throttledebug.Group(tenants), throttledebug.Runs(&recorder), throttledebug.Actions())

	var want []string
	for _, h := range hostiles() {
		require.NoError(t, tenants.Call(h.text))
		want = append(want, h.shown)
	}
	eventually(t, func(t *assert.CollectT) { assert.ElementsMatch(t, want, rows(t, shown)) })
	shown.harmless(t)
	for _, h := range hostiles() {
		require.NoError(t, tenants.Call(h.text)) // so that there is something to cancel
	}
	eventually(t, func(t *assert.CollectT) {
		sent := evaluate[[]string](t, shown, `[...document.querySelectorAll("[data-key] input[name=key]")].map(input => input.value)`)
		assert.ElementsMatch(t, want, sent, "values that the forms send")
	})
	shown.harmless(t)
	shown.isolates(t, "[data-key] .name")
}

func TestPage_HostileSearch(t *testing.T) {
	t.Parallel()
	tenants := group(t, throttle.Every(time.Hour), func(context.Context, string) error { return nil }, "one")
	shown, server := visiting(t, throttledebug.Group(tenants))
	for _, h := range hostiles()[:6] {
		shown.visit(t, server.URL+"?q0="+url.QueryEscape(h.text))
		shown.shows(t, 0, "[data-field=matching]", "0 found")
		assert.Equal(t, h.text, evaluate[string](t, shown, `document.querySelector("input[type=search]").value`))
		shown.harmless(t)
	}
}
