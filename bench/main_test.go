package main

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMain is the program's main where a check calls it again as a process of its
// own.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "-"+survive {
		if run(os.Args[1:], io.Discard) != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// tiny is enough effort to see that everything works, and too little for figures.
func tiny() effort {
	return effort{
		turn:      100 * time.Microsecond,
		turns:     2,
		instances: 50,
		idle:      10 * time.Millisecond,
		keys:      500,
		interval:  20 * time.Millisecond,
	}
}

// Every experiment works, and gives figures.
func TestEveryExperiment(t *testing.T) {
	var out bytes.Buffer
	all := subjects()
	r, err := tiny().measure(all, regexp.MustCompile(""), "go run .", &out)
	require.NoError(t, err, out.String())
	require.Len(t, r.Sections, len(all))

	seen := make(map[string]bool)
	for i, s := range r.Sections {
		assert.Contains(t, out.String(), s.Title)
		assert.GreaterOrEqual(t, len(s.Results), len(all[i].experiments))
		for _, got := range s.Results {
			name := fmt.Sprintf("%s/%s/%s", s.Name, got.what(), got.Peer)
			assert.False(t, seen[name], "%s stands in the table twice", name)
			seen[name] = true
			assert.GreaterOrEqual(t, got.Turns, 2, name)
			for _, value := range []float64{got.Ours, got.Theirs} {
				assert.False(t, math.IsNaN(value) || math.IsInf(value, 0) || value < 0, "%s: %v", name, value)
			}
		}
	}
}

// What the flags ask for is measured, printed and drawn.
func TestRun(t *testing.T) {
	drawn := filepath.Join(t.TempDir(), "bench.svg")
	var out bytes.Buffer
	require.NoError(t, run([]string{"-time", "1ms", "-run", "^call/one core/atomic", "-plot", drawn}, &out))
	assert.Regexp(t, `(?m)^go run . -time 1ms -run '\^call/one core/atomic' -plot `, out.String())
	assert.Regexp(t, `(?m)^\| one core \| atomic load, branch \| +[\d.]+ \| +[\d.]+–[\d.]+ \| +[\d.]+ ns \| +[\d.]+ ns \| +0 / 0 \| +\d+ \|$`,
		out.String())
	assert.NotContains(t, out.String(), "all cores")
	picture, err := os.ReadFile(drawn)
	require.NoError(t, err)
	assert.Contains(t, string(picture), "one core · atomic load, branch")
}

// What was saved can be printed and drawn as if it had just been measured.
func TestRunFromSaved(t *testing.T) {
	saved, drawn := filepath.Join(t.TempDir(), "bench.json"), filepath.Join(t.TempDir(), "bench.svg")
	r := sample()
	require.NoError(t, config{save: saved}.keep(r))
	var out, again bytes.Buffer
	require.NoError(t, printHeader(&out, r))
	require.NoError(t, printSections(&out, r.Sections))
	require.NoError(t, run([]string{"-from", saved, "-plot", drawn}, &again))
	assert.Equal(t, out.String(), again.String())
	picture, err := os.ReadFile(drawn)
	require.NoError(t, err)
	assert.Equal(t, plot(r), string(picture))
}

func TestRunRefuses(t *testing.T) {
	for name, args := range map[string][]string{
		"an argument":           {"all"},
		"an unknown flag":       {"-speed"},
		"a wrong regexp":        {"-run", "("},
		"no time":               {"-time", "0s", "-run", "none"},
		"to save a saved one":   {"-from", "a", "-json", "b"},
		"to run a saved one":    {"-from", "a", "-run", "call"},
		"to save a part":        {"-json", filepath.Join(t.TempDir(), "part"), "-run", "none"},
		"a file that is none":   {"-from", filepath.Join(t.TempDir(), "none")},
		"an unknown contestant": {"-survive", "nobody"},
	} {
		t.Run(name, func(t *testing.T) { assert.Error(t, run(args, io.Discard)) })
	}
	assert.NoError(t, run([]string{"-help"}, io.Discard))
}
