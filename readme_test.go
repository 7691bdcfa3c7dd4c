package throttle_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The tests in docs check that the README's code compiles and that its links work.

func TestReadme_Length(t *testing.T) {
	assert.LessOrEqual(t, strings.Count(readFile(t, "README.md"), "\n"), 160, "lines: move what is not for everyone to docs")
}

func TestReadme_Commands(t *testing.T) {
	readme := readFile(t, "README.md")
	require.Contains(t, readme, "\n    go run ./examples/snapshot ")
	require.Contains(t, readme, "\n    make test ")
}

// TestReadme_Figures checks that every figure and every verdict on a peer is in the
// tables of docs/EVIDENCE.md too.
func TestReadme_Figures(t *testing.T) {
	measured := map[string][]string{}
	for _, row := range tableRows(readFile(t, "docs/EVIDENCE.md")) {
		measured[row.section+"/"+row.cells[0]+"/"+row.cells[1]] = row.cells
	}

	figures, verdicts := 0, 0
	for _, row := range tableRows(readFile(t, "README.md")) {
		switch len(row.cells) {
		case 5: // what, row, ratio, ours, peer's
			name := strings.Trim(row.cells[1], "`")
			require.Contains(t, measured, name)
			of := measured[name] // setting, peer, ratio, quartiles, ours, peer's, ...
			require.Equal(t, []string{of[2], of[4], of[5]}, row.cells[2:], name)
			figures++
		case 8: // peer, verdicts
			require.Equal(t, measured["promises/"+row.cells[0]+"/"+row.cells[1]], row.cells)
			verdicts++
		}
	}
	require.Equal(t, 6, figures)
	require.Equal(t, 6, verdicts)
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(text)
}

// A tableRow is a row of a table in Markdown.
type tableRow struct {
	section string // of the comparison: the first part of its rows' names
	cells   []string
}

// tableRows returns the rows of all tables in text, without the heads. A table's
// section comes from the last bench command above it.
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
