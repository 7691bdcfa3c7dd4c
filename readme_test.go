package throttle_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/internal/testkit/snippet"
)

// This file holds the README to what it shows: its Go compiles, its commands are
// the two it promises, its links lead to files, and its figures are those of
// docs/EVIDENCE.md.

// packages are what the README's declarations may use without an import clause,
// by the name they go by.
var packages = map[string]string{
	"context": "context", "errors": "errors", "http": "net/http", "signal": "os/signal",
	"slog": "log/slog", "syscall": "syscall", "time": "time",
	"throttle": "github.com/throttle-go/throttle", "throttledebug": "github.com/throttle-go/throttle/throttledebug",
}

func TestReadmeCompiles(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	blocks := snippet.Blocks(string(readme))
	for _, elsewhere := range []string{"throttleprom", "throttleotel", "fleetredis"} { // each has this test, too
		_, blocks = snippet.Split(blocks, elsewhere)
	}
	require.NotEmpty(t, blocks)
	require.NoError(t, snippet.Check(blocks, packages))
}

func TestReadmeNamesTheTwoCommands(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	require.Contains(t, string(readme), "    go run ./examples/snapshot ")
	require.Contains(t, string(readme), "    make test ")
}

func TestReadmeLinksToFiles(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	links := regexp.MustCompile(`\]\(([\w/-]+\.\w+)\)`).FindAllStringSubmatch(string(readme), -1)
	require.NotEmpty(t, links)
	for _, link := range links {
		require.FileExists(t, link[1])
	}
}

// TestReadmeFiguresAreEvidence holds that every figure of speed or memory, and every
// verdict on a peer, stands in the table that the evidence shows, too.
func TestReadmeFiguresAreEvidence(t *testing.T) {
	evidence, err := os.ReadFile("docs/EVIDENCE.md")
	require.NoError(t, err)
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	measured := map[string][]string{}
	for _, row := range tableRows(string(evidence)) {
		measured[row.section+"/"+row.cells[0]+"/"+row.cells[1]] = row.cells
	}

	claims, verdicts := 0, 0
	for _, row := range tableRows(string(readme)) {
		switch len(row.cells) {
		case 5: // what, row, ratio, ours, peer's
			name := strings.Trim(row.cells[1], "`")
			require.Contains(t, measured, name)
			of := measured[name] // setting, peer, ratio, quartiles, ours, peer's, ...
			require.Equal(t, []string{of[2], of[4], of[5]}, row.cells[2:], name)
			claims++
		case 8: // peer, verdicts
			require.Equal(t, measured["promises/"+row.cells[0]+"/"+row.cells[1]], row.cells)
			verdicts++
		}
	}
	require.Greater(t, claims, 15)
	require.Equal(t, 9, verdicts)
}

// A tableRow is a row of a table in Markdown, without its head.
type tableRow struct {
	section string // of the comparison: the first part of its rows' names
	cells   []string
}

// tableRows returns the rows of all tables in text. What a command measures is the
// section of the tables below it.
func tableRows(text string) (rows []tableRow) {
	section, inTable := "", false
	for line := range strings.Lines(text) {
		if _, pattern, found := strings.Cut(line, "go run . -run '^"); found {
			section = pattern[:strings.IndexAny(pattern, "/$")]
		}
		switch {
		case !strings.HasPrefix(line, "|"):
			inTable = false
		case strings.HasPrefix(line, "|-"):
			inTable = true
		case inTable:
			cells := strings.Split(strings.Trim(line, "| \n"), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			rows = append(rows, tableRow{section, cells})
		}
	}
	return rows
}
