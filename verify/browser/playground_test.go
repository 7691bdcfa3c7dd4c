package browser_test

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/internal/testkit/snippet"
)

// playgroundFiles returns the files of the playground, which are built once. The go command does
// not know that these tests depend on its sources: run them with -count=1.
var playgroundFiles = sync.OnceValues(func() (fs.FS, error) {
	dir, err := os.MkdirTemp("", "playground")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out, err := exec.Command("go", "run", "github.com/throttle-go/throttle/docs/playground", "-o", dir).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	files, built := fstest.MapFS{}, os.DirFS(dir)
	entries, err := fs.ReadDir(built, ".")
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		content, err := fs.ReadFile(built, entry.Name())
		if err != nil {
			return nil, err
		}
		files[entry.Name()] = &fstest.MapFile{Data: content}
	}
	return files, nil
})

// servePlayground returns the URL of the playground.
func servePlayground(t *testing.T) string {
	t.Helper()
	files, err := playgroundFiles()
	require.NoError(t, err)
	return serve(t, http.FileServerFS(files)).URL + "/"
}

// playing returns a tab with the playground, which must behave.
func playing(t *testing.T, fragment string) *tab {
	t.Helper()
	address := servePlayground(t)
	shown := open(t)
	shown.behaves(t)
	shown.play(t, address+"#"+fragment)
	return shown
}

// play opens the playground at address, and waits until it works.
func (o *tab) play(t *testing.T, address string) {
	t.Helper()
	o.visit(t, address)
	eventually(t, func(t *assert.CollectT) {
		assert.True(t, evaluate[bool](t, o, `document.querySelector("main")?.checkVisibility() ?? false`))
	})
}

// text returns the text of the element with that id.
func (o *tab) text(t require.TestingT, id string) string {
	return evaluate[string](t, o, `document.getElementById(%s).textContent`, id)
}

// reads waits until the element with that id has the text.
func (o *tab) reads(t *testing.T, id, want string) {
	t.Helper()
	eventually(t, func(t *assert.CollectT) { assert.Equal(t, want, o.text(t, id)) })
}

// press clicks the element.
func (o *tab) press(t *testing.T, selector string) {
	t.Helper()
	require.NoError(t, chromedp.Do(o.ctx, chromedp.Click(chromedp.CSS(selector))))
}

// focus gives the focus to the element, and selects its text.
func (o *tab) focus(t *testing.T, selector string) {
	t.Helper()
	evaluate[chromedp.Void](t, o, `(node => { node.focus(); node.select?.() })(document.querySelector(%s))`, selector)
}

// strike strikes keys, one after the other.
func (o *tab) strike(t *testing.T, keys string) {
	t.Helper()
	require.NoError(t, chromedp.Do(o.ctx, chromedp.KeyEvent(keys)))
}

// fill types text into a field of the policy, as the only text.
func (o *tab) fill(t *testing.T, key, text string) {
	t.Helper()
	o.focus(t, "#"+key)
	o.strike(t, text+"\r")
}

// drawn returns the picture.
func (o *tab) drawn(t require.TestingT) string {
	return evaluate[string](t, o, `document.getElementById("picture").innerHTML`)
}

// address returns the URL once it has the fragment.
func (o *tab) address(t *testing.T, fragment string) string {
	t.Helper()
	var address string
	eventually(t, func(t *assert.CollectT) {
		address = evaluate[string](t, o, `location.href`)
		assert.True(t, strings.HasSuffix(address, "#"+fragment), address)
	})
	return address
}

func TestPlayground_Presets(t *testing.T) {
	t.Parallel()
	shown := playing(t, "")
	type preset struct{ Name, Title string }
	presets := evaluate[[]preset](t, shown, `[...document.querySelectorAll("#preset option:enabled")].map(o => ({Name: o.value, Title: o.textContent}))`)
	require.Len(t, presets, 16)
	var codes []string
	for _, p := range presets {
		evaluate[chromedp.Void](t, shown, `(select => { select.value = %s; select.dispatchEvent(new Event("change")) })(document.getElementById("preset"))`, p.Name)
		assert.Equal(t, "#preset="+p.Name, evaluate[string](t, shown, `location.hash`))
		assert.Equal(t, "Read about “"+p.Title+"”", shown.text(t, "section"))
		assert.Regexp(t, `/docs/POLICIES\.md#[a-z0-9-]+$`, evaluate[string](t, shown, `document.getElementById("section").href`))
		if p.Name == "flush" || p.Name == "cancel" {
			assert.Equal(t, "live", evaluate[string](t, shown, `document.querySelector("[data-key=mode]:checked").value`))
		} else {
			assert.Equal(t, p.Title, evaluate[string](t, shown, `document.querySelector("#picture title").textContent`))
		}
		codes = append(codes, shown.text(t, "code")+"\n")
	}
	require.NoError(t, snippet.Check(codes, map[string]string{"time": "time", "throttle": "github.com/throttle-go/throttle"}))

	evaluate[chromedp.Void](t, shown, `history.back()`)
	shown.reads(t, "section", "Read about “"+presets[len(presets)-2].Title+"”")
}

func TestPlayground_Slider(t *testing.T) {
	t.Parallel()
	shown := playing(t, "interval=100ms&calls=0,30,60,110&until=500")
	still := shown.stays(t)
	before := shown.drawn(t)
	assert.Equal(t, "throttle.Every(100 * time.Millisecond)", shown.text(t, "code"))
	assert.Equal(t, "Calls: 4. Runs: 3. Longest wait: 90ms.", shown.text(t, "summary"))

	shown.focus(t, "[type=range][data-key=interval]")
	shown.strike(t, kb.ArrowRight)
	shown.reads(t, "code", "throttle.Every(120 * time.Millisecond)")
	assert.NotEqual(t, before, shown.drawn(t))
	assert.Equal(t, "120ms", evaluate[string](t, shown, `document.getElementById("interval").value`))
	assert.Equal(t, "120ms", evaluate[string](t, shown, `document.activeElement.ariaValueText`))
	shown.strike(t, kb.ArrowLeft)
	shown.reads(t, "code", "throttle.Every(100 * time.Millisecond)")
	assert.Equal(t, before, shown.drawn(t))

	shown.fill(t, "interval", "137")
	shown.reads(t, "code", "throttle.Every(137 * time.Millisecond)")
	assert.Equal(t, "137ms", evaluate[string](t, shown, `document.getElementById("interval").value`))
	evaluate[chromedp.Void](t, shown, `document.getElementById("retry-eager").click()`)
	eventually(t, func(t *assert.CollectT) {
		assert.Contains(t, shown.text(t, "problems"), "Retry.Eager true: needs Retry.Initial")
	})
	assert.True(t, still())
}

func TestPlayground_Script(t *testing.T) {
	t.Parallel()
	shown := playing(t, "interval=100ms&calls=0")
	shown.focus(t, "#text")
	shown.strike(t, "0 30 60\nruns: fail")
	shown.reads(t, "summary", "Calls: 3. Runs: 2. Failed runs: 1. Longest wait: 70ms.")
	shown.strike(t, " later")
	shown.reads(t, "script-problem", `runs: "later" is neither ok, fail, a number of milliseconds, nor one followed by fail`)
	assert.Equal(t, "0 30 60\nruns: fail later", evaluate[string](t, shown, `document.getElementById("text").value`))
	assert.Equal(t, "Calls: 3. Runs: 2. Failed runs: 1. Longest wait: 70ms.", shown.text(t, "summary"))
	shown.address(t, "mode=script&interval=100ms&calls=0,30,60&runs=fail")
}

func TestPlayground_Contradiction(t *testing.T) {
	t.Parallel()
	shown := playing(t, "interval=100ms&calls=0,30,60")
	before, code := shown.drawn(t), shown.text(t, "code")
	shown.fill(t, "max-wait", "1s")
	shown.reads(t, "max-wait-problem", "1s: needs Quiet")
	shown.fill(t, "retry-max", "2s")
	said := []string{
		"This policy is not valid. The last valid one stays in force, for the picture and the code.",
		"throttle: MaxWait 1s: needs Quiet", "throttle: Retry.Max 2s: needs Retry.Initial",
	}
	lines := func(t require.TestingT) []string {
		return evaluate[[]string](t, shown, `[...document.getElementById("problems").children].map(line => line.textContent)`)
	}
	eventually(t, func(t *assert.CollectT) { assert.Equal(t, said, lines(t)) })
	assert.Equal(t, []string{"max-wait", "max-wait", "retry-max", "retry-max"},
		evaluate[[]string](t, shown, `[...document.querySelectorAll("[aria-invalid=true]")].map(control => control.dataset.key)`))
	assert.Equal(t, code, shown.text(t, "code"))
	assert.Equal(t, before, shown.drawn(t))

	shown.fill(t, "quiet", "soon")
	shown.reads(t, "quiet-problem", `"soon" is not a duration, such as 100ms or 1.5s`)
	shown.fill(t, "quiet", "0.2s")
	shown.fill(t, "retry-initial", "1s")
	eventually(t, func(t *assert.CollectT) { assert.Empty(t, lines(t)) })
	assert.NotEqual(t, code, shown.text(t, "code"))
	assert.Zero(t, evaluate[int](t, shown, `document.querySelectorAll("[aria-invalid=true]").length`))
}

// Whoever opens a shared URL sees the same picture.
func TestPlayground_SharedURL(t *testing.T) {
	t.Parallel()
	address := servePlayground(t)
	shown := open(t)
	shown.behaves(t)
	shown.play(t, address+"#preset=burst")
	shown.fill(t, "burst", "2")
	shown.fill(t, "jitter", "0.5")
	shown.fill(t, "max-interval", "190ms")
	shown.fill(t, "failing", "0.25")
	shared := shown.address(t, "mode=script&interval=180ms&burst=2&max-interval=190ms&jitter=0.5&failing=0.25&calls=0,60,120,140,155,400&until=500")

	fresh := open(t)
	fresh.behaves(t)
	fresh.play(t, shared)
	assert.Equal(t, shown.drawn(t), fresh.drawn(t))
	assert.Equal(t, shown.text(t, "code"), fresh.text(t, "code"))
	values := `[...document.querySelectorAll("[data-key]:not([type=radio])")].map(control => control.value)`
	assert.Equal(t, evaluate[[]string](t, shown, values), evaluate[[]string](t, fresh, values))
	assert.Empty(t, fresh.text(t, "notice"))
}

func TestPlayground_BadURL(t *testing.T) {
	t.Parallel()
	shown := playing(t, "")
	evaluate[chromedp.Void](t, shown, `void (location.hash = "#interval=soon&<img%20src=x%20onerror=hacked=1>&quiet=20ms&jitter=%zz&preset=<b>bold</b>", location.reload())`)
	eventually(t, func(t *assert.CollectT) { assert.NotEmpty(t, shown.text(t, "notice")) })
	notice := shown.text(t, "notice")
	for _, bad := range []string{`interval: "soon" is not a duration`, `nothing is called "<img src"`, `"jitter=%zz" is not escaped`, `no preset is called "<b>bold</b>"`} {
		assert.Contains(t, notice, bad)
	}
	assert.True(t, evaluate[bool](t, shown, `document.getElementById("notice").checkVisibility()`))
	assert.Equal(t, "throttle.Debounce(20*time.Millisecond, 0)", shown.text(t, "code"))
	assert.Zero(t, evaluate[int](t, shown, `document.querySelectorAll("img, b").length`))

	evaluate[chromedp.Void](t, shown, `void (location.hash = "#preset=retry")`)
	shown.reads(t, "notice", "")
	assert.False(t, evaluate[bool](t, shown, `document.getElementById("notice").checkVisibility()`))
}

func TestPlayground_Copy(t *testing.T) {
	t.Parallel()
	shown := playing(t, "preset=debounce")
	for what, want := range map[string]string{
		"code": "throttle.Debounce(60*time.Millisecond, 0)",
		"link": evaluate[string](t, shown, `location.href`),
	} {
		shown.press(t, "[data-copy="+what+"]")
		shown.reads(t, "copied", "copied the "+what)
		shown.focus(t, "#text")
		call(t, shown, input.DispatchKeyEvent, input.DispatchKeyEventParams{
			Type: input.DispatchKeyEventTypeRawKeyDown, Key: "v", Code: "KeyV", Modifiers: int64(chromedp.ModifierCtrl), Commands: []string{"paste"},
		})
		eventually(t, func(t *assert.CollectT) {
			assert.Equal(t, want, evaluate[string](t, shown, `document.getElementById("text").value`))
		})
	}
}

func TestPlayground_Factor(t *testing.T) {
	t.Parallel()
	shown := playing(t, "preset=leading-and-trailing")
	shown.press(t, `[data-factor="10"]`)
	shown.reads(t, "code", "throttle.Every(time.Second)")
	assert.Equal(t, "0 300 600 1100 3300 3500 3700\nuntil: 5000", evaluate[string](t, shown, `document.getElementById("text").value`))
	shown.press(t, `[data-factor="0.1"]`)
	shown.address(t, "preset=leading-and-trailing")
}

// A page that cannot load says so.
func TestPlayground_Broken(t *testing.T) {
	t.Parallel()
	files, err := playgroundFiles()
	require.NoError(t, err)
	static := http.FileServerFS(files)
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".wasm") {
			http.NotFound(w, r)
			return
		}
		static.ServeHTTP(w, r)
	}))
	shown := open(t)
	shown.visit(t, server.URL)
	eventually(t, func(t *assert.CollectT) { assert.Contains(t, shown.text(t, "status"), "The page does not work") })
	assert.True(t, evaluate[bool](t, shown, `document.getElementById("status").checkVisibility()`))
}

// All text is legible, and nothing is wider than the screen.
func TestPlayground_Layout(t *testing.T) {
	t.Parallel()
	const problems = "&max-wait=1s&burst=3&from=end&retry-max=1s&retry-eager=true&retry-initial=2s&max-load=1"
	long := "interval=1h7m3.123456789s&burst=3&quiet=123456us&max-wait=2m3.456789s&max-interval=100h&jitter=0.123456789&max-calls=12345&retry-initial=1.23456789s" +
		"&retry-max=1h&retry-jitter=0.5&retry-max-attempts=12&retry-eager=true&calls=" + strings.Repeat("100,123.456789,", 30)
	shown := playing(t, "")
	backgrounds := make(map[string]string)
	for _, page := range []struct{ name, fragment string }{
		{"script", "preset=retry"}, {"live", "preset=flush&mode=live&shows=1m"}, {"problems", "calls=0" + problems + "&colour=red"}, {"long", long},
	} {
		evaluate[chromedp.Void](t, shown, `void (location.hash = %s)`, "#"+page.fragment)
		if page.name == "live" {
			evaluate[chromedp.Void](t, shown, `void [1, 2, 3].forEach(() => document.getElementById("call").click())`)
			shown.reads(t, "calls", "3")
			shown.reads(t, "state", "idle")
		}
		for _, like := range append(views(), view{1400, "light"}, view{1400, "dark"}) {
			shown.look(t, like)
			where := page.name + " " + like.String()
			shown.picture(t, "playground-"+strings.ReplaceAll(where, " ", "-"))
			assert.Empty(t, shown.faint(t), where)
			assert.LessOrEqual(t, evaluate[int64](t, shown, `document.documentElement.scrollWidth`), like.width, where)
			assert.Empty(t, evaluate[[]string](t, shown, `[...document.querySelectorAll("body *")]
				.filter(e => e.checkVisibility() && !e.closest("svg") && !e.closest("pre"))
				.filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth)
				.map(e => e.outerHTML.slice(0, 200))`), "cut off, %s", where)
			backgrounds[like.scheme] = evaluate[string](t, shown, `getComputedStyle(document.body).backgroundColor`)
		}
	}
	assert.NotEqual(t, backgrounds["light"], backgrounds["dark"])
}

// Screen readers have a name for every control, and words for the picture.
func TestPlayground_Accessibility(t *testing.T) {
	t.Parallel()
	shown := playing(t, "preset=slow-run")
	var controls int
	var image string
	for _, node := range call(t, shown, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{}).Nodes {
		if node.Ignored || node.Role == nil || node.Name == nil {
			continue
		}
		switch role := string(node.Role.Value); role {
		case `"button"`, `"textbox"`, `"slider"`, `"combobox"`, `"checkbox"`, `"radio"`, `"heading"`, `"link"`, `"image"`, `"group"`:
			controls++
			assert.NotEqual(t, `""`, string(node.Name.Value), role)
			if role == `"image"` {
				image = string(node.Name.Value)
			}
		}
	}
	assert.Greater(t, controls, 40)
	assert.Equal(t, `"A run that takes longer than the interval"`, image)
	assert.Contains(t, evaluate[string](t, shown, `document.querySelector("#picture desc").textContent`), "Run 2 (2 calls) from 180 to 200 ms.")
	assert.Equal(t, []string{}, evaluate[[]string](t, shown, `[...document.querySelectorAll("[aria-describedby]")]
		.flatMap(control => control.getAttribute("aria-describedby").split(" ")).filter(id => !document.getElementById(id))`))
	shown.reads(t, "announcement", "Calls: 4. Runs: 3. Longest wait: 140ms.")
}
