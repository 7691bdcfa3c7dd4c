package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/throttle-go/throttle/bench/internal/measure"
)

// The printed text is also Markdown, about 120 columns wide at most: docs/EVIDENCE.md
// takes the sections unchanged, below its own heading.

// printHeader prints the origin of the figures and explains the columns.
func printHeader(w io.Writer, r report) error {
	_, err := fmt.Fprintf(w, `# throttle beside its peers

%v
%s

ratio: ours/peer, the median of turns, with its quartiles; below 1, ours takes less. Behind it the medians of both sides,
the allocations of a call (ours / the peer's), and how many turns each side had.
`, r.Machine, r.Command)
	return err
}

func printSection(w io.Writer, s section) error {
	matching := "^" + s.Name + "/"
	rows := resultRows(s.Results)
	if s.Matrix != nil {
		matching = "^" + s.Name + "$"
		rows = matrixRows(s.Matrix)
	}
	var text strings.Builder
	fmt.Fprintf(&text, "\n### %s\n\n    cd bench && go run . -run '%s'\n\n%s", s.Title, matching, align(rows))
	for i, note := range s.Notes {
		if i == 0 {
			text.WriteByte('\n')
		}
		text.WriteString(wrap("- "+note, "  ", 118))
	}
	_, err := io.WriteString(w, text.String())
	return err
}

func printSections(w io.Writer, all []section) error {
	for _, s := range all {
		if err := printSection(w, s); err != nil {
			return err
		}
	}
	return nil
}

// resultRows returns the cells of a table, the head first.
func resultRows(results []result) [][]string {
	rows := [][]string{{"setting", "peer", "ratio", "p25–p75", "ours", "peer's", "allocs", "turns"}}
	for _, r := range results {
		ratio, quartiles, allocations := "–", "–", "–"
		if r.Ratio != nil {
			ratio = measure.FormatRatio(r.Ratio.P50)
			quartiles = measure.FormatRatio(r.Ratio.P25) + "–" + measure.FormatRatio(r.Ratio.P75)
		}
		if len(r.Allocs) == 2 {
			allocations = measure.Count.Format(r.Allocs[0]) + " / " + measure.Count.Format(r.Allocs[1])
		}
		rows = append(rows, []string{
			r.what(), r.Peer, ratio, quartiles, r.Unit.Format(r.Ours), r.Unit.Format(r.Theirs), allocations,
			strconv.Itoa(r.Turns),
		})
	}
	return rows
}

func matrixRows(m *matrix) [][]string {
	rows := [][]string{append([]string{"peer"}, m.Promises...)}
	for _, p := range m.Peers {
		row := []string{p.Peer}
		for _, kept := range p.Kept {
			row = append(row, map[bool]string{true: "yes", false: "no"}[kept])
		}
		rows = append(rows, row)
	}
	return rows
}

// align returns rows as a Markdown table. Its columns line up in plain text too: the
// first two to the left, the others to the right.
func align(rows [][]string) string {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var text strings.Builder
	for i, row := range rows {
		for j, cell := range row {
			text.WriteString("| ")
			padding := strings.Repeat(" ", widths[j]-utf8.RuneCountInString(cell))
			if j < 2 {
				text.WriteString(cell + padding)
			} else {
				text.WriteString(padding + cell)
			}
			text.WriteByte(' ')
		}
		text.WriteString("|\n")
		if i == 0 {
			text.WriteString(ruler(widths))
		}
	}
	return text.String()
}

// ruler returns the line below the head.
func ruler(widths []int) string {
	var text strings.Builder
	for i, width := range widths {
		if i < 2 {
			text.WriteString("|" + strings.Repeat("-", width+2))
		} else {
			text.WriteString("|" + strings.Repeat("-", width+1) + ":")
		}
	}
	return text.String() + "|\n"
}

// wrap breaks text into lines of at most width characters, all but the first
// indented.
func wrap(text, indent string, width int) string {
	var lines strings.Builder
	column := 0
	for i, word := range strings.Fields(text) {
		length := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case column+1+length > width:
			lines.WriteString("\n" + indent)
			column = len(indent)
		default:
			lines.WriteByte(' ')
			column++
		}
		lines.WriteString(word)
		column += length
	}
	return lines.String() + "\n"
}
