package main_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"

	"github.com/throttle-go/throttle"
	app "github.com/throttle-go/throttle/docs/playground"
)

func TestPage_Open(t *testing.T) {
	p := app.NewPage()
	v := p.View()
	assert.Equal(t, "leading-and-trailing", v.Preset)
	assert.Equal(t, "At once, then at most once per interval", v.Title)
	assert.Equal(t, "throttle.Every(100 * time.Millisecond)", v.Code)
	assert.Equal(t, "at most once per 100ms", v.Words)
	assert.Equal(t, "preset=leading-and-trailing", v.Fragment)
	assert.Equal(t, "Calls: 7. Runs: 5. Longest wait: 90ms.", v.Summary)
	assert.Empty(t, v.Notice)
	assert.Empty(t, v.Problems)

	p.Open("#interval=1s&colour=red&calls=0&burst=many")
	v = p.View()
	assert.Empty(t, v.Preset)
	assert.Empty(t, v.Section)
	assert.Equal(t, "throttle.Every(time.Second)", v.Code)
	assert.Equal(t, `This page ignores a part of its URL: nothing is called "colour"; burst: "many" is not a whole number.`, v.Notice)

	p.Open("#preset=burst")
	assert.Empty(t, p.View().Notice)
	assert.Equal(t, "burst", p.View().Preset)
}

// The same fragment shows the same, whatever the page has shown before.
func TestPage_OpenAgain(t *testing.T) {
	p := app.NewPage()
	for _, preset := range app.Presets() {
		s := preset.State
		s.Live = false
		p.Open(s.Fragment())
		first := p.View()
		p.Set("interval", "7ms")
		p.Set("script", "not a script")
		p.Open(first.Fragment)
		assert.Equal(t, first, p.View(), preset.Name)
		assert.Equal(t, preset.Name, first.Preset)
	}
}

func TestPage_Set(t *testing.T) {
	p := app.NewPage()
	p.Open("mode=script")
	for key, text := range map[string]string{
		"interval": "80", "burst": "2", "max-load": "0.5", "from": "start", "edges": "both", "quiet": "50ms", "max-wait": "1s", "max-calls": "5",
		"max-interval": "2s", "jitter": ".1", "retry-initial": "1", "retry-max": "10", "retry-max-attempts": "3", "retry-jitter": "1",
		"retry-eager": "true", "took": "30", "failing": "0.25", "repeat": "10", "shows": "2s", "script": "0 10\nruns: ok\nuntil: 90",
	} {
		p.Set(key, text)
	}
	v := p.View()
	assert.Empty(t, v.Problems)
	assert.Equal(t, "mode=script&interval=80ms&burst=2&max-load=0.5&edges=both&quiet=50ms&max-wait=1s&max-calls=5&max-interval=2s&jitter=0.1"+
		"&retry-initial=1ms&retry-max=10ms&retry-max-attempts=3&retry-jitter=1&retry-eager=true&took=30ms&failing=0.25&repeat=10ms&shows=2s"+
		"&calls=0,10&runs=ok&until=90", v.Fragment)
	assert.Equal(t, "80ms", v.Texts["interval"])
	assert.Equal(t, "0 10\nruns: ok\nuntil: 90", v.Texts["script"])
}

// A slider has every field of a position. It moves to the nearest one for any value.
func TestPage_Slide(t *testing.T) {
	p := app.NewPage()
	for _, group := range app.Groups() {
		for _, f := range group.Fields {
			if f.Kind != app.Slider {
				continue
			}
			for position := range f.Last + 1 {
				p.Slide(f.Key, position)
				assert.Equal(t, position, p.View().Positions[f.Key], f.Key)
			}
			p.Slide(f.Key, 0)
			assert.Contains(t, []string{"0", "0s"}, p.View().Texts[f.Key], "%s has no way back to its zero value", f.Key)
		}
	}
	for text, same := range map[string]string{"101ms": "100ms", "170ms": "180ms", "1h": "90s", "-1s": "0s", "1ns": "0s"} {
		p.Set("interval", same)
		want := p.View().Positions["interval"]
		p.Set("interval", text)
		assert.Equal(t, want, p.View().Positions["interval"], text)
		assert.NotEqual(t, same, p.View().Texts["interval"])
	}
	for key, texts := range map[string][2]string{"burst": {"99", "-3"}, "jitter": {"7", "-0.5"}} {
		p.Set(key, texts[0])
		assert.Positive(t, p.View().Positions[key])
		p.Set(key, texts[1])
		assert.Zero(t, p.View().Positions[key])
	}
}

// Every field of a Policy has a control with the field's name.
func TestPage_Contradictions(t *testing.T) {
	p := app.NewPage()
	wrong := throttle.Policy{
		Interval: -1, Burst: -1, MaxLoad: 2, Quiet: -1, MaxWait: -1, MaxInterval: -1, Jitter: 2, MaxCalls: -1, Edges: throttle.Leading,
		Retry: throttle.Backoff{Initial: -1, Max: -1, MaxAttempts: -1, Jitter: 2},
	}
	s := app.Usual()
	s.Policy = wrong
	p.Open(s.Fragment() + "&calls=0,30,60")
	v := p.View()
	var said []string
	for _, problem := range v.Problems {
		said = append(said, problem.Full)
		assert.NotEmpty(t, problem.Key, problem.Full)
	}
	joined, ok := wrong.Validate().(interface{ Unwrap() []error })
	assert.True(t, ok)
	var want []string
	for _, err := range joined.Unwrap() {
		want = append(want, err.Error())
	}
	assert.Equal(t, want, said)
	assert.NotEmpty(t, v.Stands)
}

// An invalid policy leaves the last valid one in force.
func TestPage_InvalidPolicy(t *testing.T) {
	p := app.NewPage()
	p.Open("#interval=100ms&calls=0,30,60")
	valid := p.View()
	p.Set("max-wait", "1s")
	v := p.View()
	assert.Equal(t, []app.Problem{{Key: "max-wait", Text: "1s: needs Quiet", Full: "throttle: MaxWait 1s: needs Quiet"}}, v.Problems)
	assert.NotEmpty(t, v.Stands)
	assert.Equal(t, valid.Code, v.Code)
	assert.Equal(t, valid.Summary, v.Summary)
	assert.Equal(t, "mode=script&interval=100ms&max-wait=1s&calls=0,30,60", v.Fragment, "the URL has the contradiction")

	p.Set("quiet", "50ms")
	v = p.View()
	assert.Empty(t, v.Problems)
	assert.Empty(t, v.Stands)
	assert.Contains(t, v.Code, "Quiet")
}

func TestPage_UnreadableText(t *testing.T) {
	p := app.NewPage()
	p.Open("#interval=100ms&calls=0,30")
	p.Set("interval", "soon")
	p.Set("script", "0 later")
	v := p.View()
	assert.Equal(t, []app.Problem{
		{Key: "interval", Text: `"soon" is not a duration, such as 100ms or 1.5s`, Full: `Interval: "soon" is not a duration, such as 100ms or 1.5s`},
		{Key: "script", Text: `calls: "later" is not a number of milliseconds`, Full: `Script: calls: "later" is not a number of milliseconds`},
	}, v.Problems)
	assert.Equal(t, "soon", v.Texts["interval"], "the text stays")
	assert.Equal(t, "0 later", v.Texts["script"])
	assert.Empty(t, v.Stands, "the policy is valid")
	assert.Equal(t, "mode=script&interval=100ms&calls=0,30", v.Fragment)
	p.Slide("interval", 0)
	p.Set("script", "0")
	assert.Empty(t, p.View().Problems)
}

func TestPage_Mode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := app.NewPage()
		assert.Nil(t, p.Live())
		p.Set("mode", "live")
		assert.NotNil(t, p.Live())
		assert.Equal(t, "preset=leading-and-trailing&mode=live", p.View().Fragment)
		assert.Empty(t, p.View().SVG)
		was := p.Live()
		p.Open("#preset=flush")
		assert.Same(t, was, p.Live(), "what has happened stays in the picture")
		p.Set("mode", "script")
		assert.Nil(t, p.Live())
		assert.NotEmpty(t, p.View().SVG)
	})
}

// The live picture shows a few windows of any policy.
func TestPage_LookShows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := app.NewPage()
		for fragment, want := range map[string]string{
			"mode=live": "2s", "mode=live&interval=1s": "5s", "mode=live&quiet=100ms&max-wait=2s": "10s", "mode=live&interval=10h": "5m",
			"mode=live&interval=10h&shows=10s": "10s",
		} {
			p.Open(fragment)
			assert.Contains(t, p.Look().SVG, "<title>The last "+want+"</title>")
		}
		p.Set("mode", "script")
	})
}
