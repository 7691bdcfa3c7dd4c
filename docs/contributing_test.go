package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestContributing_Rooms checks that the map in CONTRIBUTING.md and the tree agree: what
// the map names exists, and every Go package and every file of the root is on it.
func TestContributing_Rooms(t *testing.T) {
	rooms := roomsOf(t)
	for _, room := range rooms {
		if _, err := os.Stat(filepath.Join("..", room)); err != nil {
			t.Error(err)
		}
	}
	require.NoError(t, filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := filepath.Rel("..", path)
		require.NoError(t, err)
		folder := filepath.ToSlash(filepath.Dir(file))
		if folder == "." {
			assert.Contains(t, rooms, file)
			return nil
		}
		assert.True(t, slices.ContainsFunc(rooms, func(room string) bool {
			return strings.HasPrefix(folder+"/", room+"/")
		}), "%s is in no room", file)
		return nil
	}))
}

// roomsOf returns the names in the first columns of the tables that show the tree.
func roomsOf(t *testing.T) (rooms []string) {
	t.Helper()
	_, text, _ := strings.Cut(pages(t)["../CONTRIBUTING.md"], "\n## Rooms\n")
	text, _, _ = strings.Cut(text, "\n## ")
	for line := range strings.Lines(text) {
		if cells := strings.Split(line, "|"); len(cells) > 2 {
			for _, name := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[1], -1) {
				rooms = append(rooms, name[1])
			}
		}
	}
	require.NotEmpty(t, rooms)
	return rooms
}
