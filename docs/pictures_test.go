package docs_test

import (
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/internal/timeline"
)

const pictures = "policies" // the folder

var update = flag.Bool("update", false, "write the pictures instead of comparing them")

// TestPictures checks that each picture shows what the library does in its scenario.
func TestPictures(t *testing.T) {
	var names []string
	for _, s := range scenarios {
		names = append(names, s.name+".svg")
		t.Run(s.name, func(t *testing.T) {
			events := s.draw(t)
			drawing := timeline.SVG(events, s.title, describe(events))
			file := filepath.Join(pictures, s.name+".svg")
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(drawing), 0o644))
				return
			}
			committed, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, string(committed), drawing, "the library does not do what the picture shows; if that is intended, run make docs")
		})
	}
	assert.ElementsMatch(t, names, picturesOnDisk(t), "pictures in the folder")
}

func picturesOnDisk(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(pictures)
	require.NoError(t, err)
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// describe returns the alternative text of a picture of e.
func describe(e timeline.Events) string {
	var b strings.Builder
	list := func(what string, times []time.Duration) {
		if len(times) > 0 {
			b.WriteString(what + " at ")
			for i, at := range times {
				switch {
				case i == 0:
				case i == len(times)-1:
					b.WriteString(" and ")
				default:
					b.WriteString(", ")
				}
				b.WriteString(milliseconds(at))
			}
			b.WriteString(" ms. ")
		}
	}
	list("Calls", e.Calls)
	list("Dropped calls", e.Dropped)
	for _, mark := range e.Marks {
		list(mark.Label, []time.Duration{mark.At})
	}
	for i, run := range e.Runs {
		b.WriteString("Run " + strconv.Itoa(i+1) + " (" + run.Label + ") from " +
			milliseconds(run.Start) + " to " + milliseconds(run.End) + " ms. ")
	}
	return strings.TrimSpace(b.String())
}

func milliseconds(d time.Duration) string {
	return strconv.FormatFloat(float64(d)/float64(ms), 'f', -1, 64)
}
