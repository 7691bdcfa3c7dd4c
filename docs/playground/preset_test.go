package main_test

import (
	"html"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	app "github.com/throttle-go/throttle/docs/playground"
	"github.com/throttle-go/throttle/internal/testkit/snippet"
)

// sections returns the sections of POLICIES.md that have a picture, in order.
func sections(t *testing.T) (titles, texts []string) {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "POLICIES.md"))
	require.NoError(t, err)
	for _, section := range strings.Split(string(page), "\n## ")[1:] {
		title, text, _ := strings.Cut(section, "\n")
		if strings.Contains(text, "](policies/") {
			titles, texts = append(titles, title), append(texts, text)
		}
	}
	return titles, texts
}

// The presets are the sections of POLICIES.md, with their policies.
func TestPresets(t *testing.T) {
	titles, texts := sections(t)
	var presets []string
	for i, p := range app.Presets() {
		presets = append(presets, p.Title)
		require.Less(t, i, len(texts))
		assert.Contains(t, texts[i], "](policies/"+p.Name+".svg)")
		assert.Equal(t, policyOf(t, snippet.Blocks(texts[i])[0]), p.State.Policy, p.Name)
		require.NoError(t, p.State.Policy.Validate(), p.Name)
	}
	assert.Equal(t, titles, presets)
}

// The page shows the same calls, runs and windows as the pictures of POLICIES.md, which show
// what a Throttler did.
func TestPresets_Pictures(t *testing.T) {
	description := regexp.MustCompile(`<desc>(.*)</desc>`)
	windows := regexp.MustCompile(`<rect class="window" (x="[^"]*") y="[^"]*" (width="[^"]*")`)
	for _, p := range app.Presets() {
		t.Run(p.Name, func(t *testing.T) {
			if p.Note != "" {
				t.Skip("a script cannot show it")
			}
			committed, err := os.ReadFile(filepath.Join("..", "policies", p.Name+".svg"))
			require.NoError(t, err)
			drawn, err := app.Draw(p.State.Policy, p.State, p.Title)
			require.NoError(t, err)
			assert.Contains(t, drawn.SVG, "<title>"+html.EscapeString(p.Title)+"</title>")
			assert.Equal(t, description.FindStringSubmatch(string(committed))[1], description.FindStringSubmatch(drawn.SVG)[1])
			assert.Equal(t, windowsOf(windows, string(committed)), windowsOf(windows, drawn.SVG))
		})
	}
}

func windowsOf(pattern *regexp.Regexp, svg string) (windows []string) {
	for _, window := range pattern.FindAllStringSubmatch(svg, -1) {
		windows = append(windows, window[1]+" "+window[2])
	}
	return windows
}

func TestPreset_Section(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "POLICIES.md"))
	require.NoError(t, err)
	for _, p := range app.Presets() {
		anchor, found := strings.CutPrefix(p.Section(), "https://github.com/throttle-go/throttle/blob/HEAD/docs/POLICIES.md#")
		require.True(t, found)
		assert.Contains(t, string(page), "](#"+anchor+")") // another test checks these links
	}
}
