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

	"github.com/throttle-go/throttle/internal/testkit/flagstest"
)

// TestMain is the main of the child process that a check starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "-"+survive {
		if run(os.Args[1:], io.Discard) != nil {
			os.Exit(1)
		}
		return
	}
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0") // end these child processes at once
	os.Exit(m.Run())
}

// tiny is enough effort to test that everything works, too little for real figures.
func tiny() effort {
	return effort{
		turn:      100 * time.Microsecond,
		turns:     2,
		instances: 50,
		idle:      10 * time.Millisecond,
		keys:      500,
		interval:  5 * time.Millisecond,
	}
}

// Every experiment works and gives figures.
func TestEffort_Measure(t *testing.T) {
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
			assert.False(t, seen[name], "%s is in the table twice", name)
			seen[name] = true
			assert.GreaterOrEqual(t, got.Turns, 2, name)
			for _, value := range []float64{got.Ours, got.Theirs} {
				assert.False(t, math.IsNaN(value) || math.IsInf(value, 0) || value < 0, "%s: %v", name, value)
			}
		}
	}
}

// -run selects the rows that are measured and printed.
func TestRun_Part(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run([]string{"-time", "1ms", "-run", "^call/one core/atomic"}, &out))
	assert.Regexp(t, `(?m)^go run . -time 1ms -run '\^call/one core/atomic'$`, out.String())
	assert.Regexp(t, `(?m)^\| one core \| atomic load, branch \| +[\d.]+ \| +[\d.]+–[\d.]+ \| +[\d.]+ \S?s \| +[\d.]+ \S?s \| +0 / 0 \| +\d+ \|$`,
		out.String())
	assert.NotContains(t, out.String(), "all cores")
}

// Saved figures are printed and drawn like new ones.
func TestRun_FromSaved(t *testing.T) {
	saved, drawing := filepath.Join(t.TempDir(), "bench.json"), filepath.Join(t.TempDir(), "bench.svg")
	r := sample()
	r.Sections = append(r.Sections, withRatios(0.12, 0.011, 0.2, 0.08, 0.13, 7.95).Sections...)
	require.NoError(t, config{save: saved}.keep(r))
	var out, again bytes.Buffer
	require.NoError(t, printHeader(&out, r))
	require.NoError(t, printSections(&out, r.Sections))
	require.NoError(t, run([]string{"-from", saved, "-plot", drawing}, &again))
	assert.Equal(t, out.String(), again.String())
	got, err := os.ReadFile(drawing)
	require.NoError(t, err)
	want, err := plot(r)
	require.NoError(t, err)
	assert.Equal(t, want, string(got))
}

func TestFlags(t *testing.T) {
	program := filepath.Join(flagstest.Build(t, "."), "bench")
	flagstest.Check(t, program, "-run (", "-time 0s", "-time long", "-from a -json b", "-from a -run call",
		"-json part -run none", "-plot part -run none")
}

func TestRun_Refuses(t *testing.T) {
	require.ErrorIs(t, run([]string{"-from", filepath.Join(t.TempDir(), "none")}, io.Discard), os.ErrNotExist)
	require.EqualError(t, run([]string{"-survive", "nobody"}, io.Discard), `unknown contestant "nobody"`)
}
