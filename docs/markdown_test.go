package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/internal/testkit/snippet"
)

// packages maps the names that the pages' Go code may use to import paths.
var packages = map[string]string{
	"context": "context", "errors": "errors", "fmt": "fmt", "http": "net/http", "iter": "iter", "maps": "maps",
	"os": "os", "signal": "os/signal", "slices": "slices", "slog": "log/slog", "sync": "sync", "syscall": "syscall", "time": "time",
	"fleet": "github.com/throttle-go/throttle/fleet", "throttle": "github.com/throttle-go/throttle", "throttledebug": "github.com/throttle-go/throttle/throttledebug",
}

// adapters are the packages that this module cannot import. A test of each compiles
// the blocks of README.md and GUIDE.md that use it.
var adapters = []string{"throttleprom", "throttleotel", "throttlequeue", "fleetredis"}

// TestMarkdown_Code checks that all Go code in the project's pages compiles. The code of
// MIGRATING.md, which needs other libraries, runs in verify/migrating.
func TestMarkdown_Code(t *testing.T) {
	var all []string
	for file, text := range pages(t) {
		if file == "../docs/MIGRATING.md" {
			continue
		}
		blocks := snippet.Blocks(text)
		for _, adapter := range adapters {
			_, blocks = snippet.Split(blocks, adapter)
		}
		all = append(all, blocks...)
	}
	require.NotEmpty(t, all)
	require.NoError(t, snippet.Check(all, packages))
}

// TestMarkdown_Links checks that each link to a file or a heading leads somewhere.
func TestMarkdown_Links(t *testing.T) {
	all := pages(t)
	for file, text := range all {
		links := regexp.MustCompile(`\]\(([^)\s]*)\)`).FindAllStringSubmatch(text, -1)
		for _, link := range links {
			path, heading, hasHeading := strings.Cut(link[1], "#")
			if strings.Contains(path, "://") {
				continue
			}
			target := file
			if path != "" {
				target = filepath.Join(filepath.Dir(file), path)
				if _, err := os.Stat(target); !assert.NoError(t, err, "%s links to %s", file, link[1]) {
					continue
				}
			}
			if hasHeading {
				assert.Contains(t, anchors(all[target]), heading, "%s links to %s", file, link[1])
			}
		}
	}
}

// pages returns the text of every page of the project, by its path.
func pages(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, pattern := range []string{"../*.md", "../docs/*.md"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		require.NotEmpty(t, files, pattern)
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			texts[file] = string(text)
		}
	}
	return texts
}

// anchors returns the names by which links refer to the headings of text.
func anchors(text string) (names []string) {
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		names = append(names, anchor(heading[1]))
	}
	return names
}

// anchor returns the name by which a link refers to a heading.
func anchor(title string) string {
	return strings.ReplaceAll(regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(title), ""), " ", "-")
}
