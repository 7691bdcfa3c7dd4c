//go:build js && wasm

package main

import (
	"sync/atomic"
	"syscall/js"
	"time"

	"github.com/throttle-go/throttle"
)

// main gives page.js the object playground, whose methods it calls, and then waits for ever.
func main() {
	a := newApp()
	methods := map[string]any{}
	add := func(name string, do func(args []js.Value) any) {
		methods[name] = js.FuncOf(func(_ js.Value, args []js.Value) any { return do(args) })
	}
	change := func(name string, do func(args []js.Value)) {
		add(name, func(args []js.Value) any {
			do(args)
			return a.view()
		})
	}
	act := func(name string, do func(*Live)) {
		add(name, func([]js.Value) any {
			if live := a.page.Live(); live != nil {
				do(live)
			}
			return nil
		})
	}
	change("open", func(args []js.Value) { a.page.Open(args[0].String()) })
	change("set", func(args []js.Value) { a.page.Set(args[0].String(), args[1].String()) })
	change("slide", func(args []js.Value) { a.page.Slide(args[0].String(), args[1].Int()) })
	change("times", func(args []js.Value) { a.page.Times(args[0].Float()) })
	act("press", (*Live).Press)
	act("release", (*Live).Release)
	act("flush", (*Live).Flush)
	act("cancel", (*Live).Cancel)
	add("frame", func([]js.Value) any { return a.frame() })
	js.Global().Set("playground", methods)
	select {}
}

// An app is what stands between page.js and a Page. Browsers call it from one goroutine.
type app struct {
	page  *Page
	still bool // the last frame was, so the next one need not be drawn

	fragment atomic.Pointer[string] // of the URL
	summary  atomic.Pointer[string]

	// Browsers refuse to change the address a hundred times in half a minute.
	address *throttle.Throttler

	// A screen reader reads out each change. It should say what a slider has led to, and not
	// each step on the way.
	announce *throttle.Throttler
}

func newApp() *app {
	a := &app{page: NewPage()}
	a.address = throttle.Must(throttle.New(throttle.Every(500*time.Millisecond), func() {
		js.Global().Get("history").Call("replaceState", nil, "", "#"+*a.fragment.Load())
	}))
	a.announce = throttle.Must(throttle.New(throttle.Policy{Interval: 3 * time.Second, Quiet: time.Second, MaxWait: 3 * time.Second}, func() {
		js.Global().Get("document").Call("getElementById", "announcement").Set("textContent", *a.summary.Load())
	}))
	return a
}

// view returns what page.js shows.
func (a *app) view() any {
	v := a.page.View()
	a.still = false
	if !v.Live {
		a.say(v.Summary)
	}
	a.fragment.Store(&v.Fragment)
	if js.Global().Get("location").Get("hash").String() != "#"+v.Fragment {
		a.address.Call()
	}
	texts, positions := map[string]any{}, map[string]any{}
	for key, text := range v.Texts {
		texts[key] = text
	}
	for key, position := range v.Positions {
		positions[key] = position
	}
	var problems []any
	for _, problem := range v.Problems {
		problems = append(problems, map[string]any{"key": problem.Key, "text": problem.Text, "full": problem.Full})
	}
	return map[string]any{
		"texts": texts, "positions": positions, "problems": problems,
		"notice": v.Notice, "stands": v.Stands, "fragment": v.Fragment,
		"preset": v.Preset, "section": v.Section, "title": v.Title, "note": v.Note,
		"code": v.Code, "words": v.Words, "live": v.Live,
		"svg": v.SVG, "summary": v.Summary,
	}
}

// frame returns what page.js shows in live mode; nil if that has not changed.
func (a *app) frame() any {
	if a.page.Live() == nil {
		return nil
	}
	f := a.page.Look()
	if f.Still && a.still {
		return nil
	}
	a.still = f.Still
	a.say(f.Summary)
	return map[string]any{
		"svg": f.SVG, "state": f.State,
		"calls": f.Calls, "dropped": f.Dropped, "runs": f.Runs, "failures": f.Failures,
	}
}

// say lets a screen reader read out the summary, if it is new.
func (a *app) say(summary string) {
	if old := a.summary.Swap(&summary); old == nil || *old != summary {
		a.announce.Call()
	}
}
