package docs_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/internal/picture"
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
			drawing := timeline.SVG(events, s.title, picture.Describe(events))
			file := filepath.Join(pictures, s.name+".svg")
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(drawing), 0o644))
				return
			}
			committed, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, string(committed), drawing, "the library does not do what the picture shows; if that is intended, run make docs")
			if s.moments == nil && s.coalescer == nil { // the others do more than call
				predicted := s.measured(s.simulate(t, time.Duration(s.until)*ms))
				require.Equal(t, drawing, timeline.SVG(predicted, s.title, picture.Describe(predicted)), "drawn by Simulate")
			}
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
