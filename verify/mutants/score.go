package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// This file holds the count of the mutants.

// A score counts mutants by what became of them.
type score struct {
	file      string
	killed    int
	timedOut  int
	lived     int // explained or not
	explained int
	notViable int
}

// efficacy returns the share of mutants, in percent, that tests have killed, of all
// on which they came to an end. A mutant that makes them hang is noticed, too, but
// says as little about the tests as one that does not compile.
func (s *score) efficacy() float64 {
	if s.killed+s.lived == 0 {
		return 100
	}
	return 100 * float64(s.killed) / float64(s.killed+s.lived)
}

// count adds m.
func (s *score) count(m *mutant, explained map[string]string) {
	switch m.status {
	case killed:
		s.killed++
	case timedOut:
		s.timedOut++
	case lived:
		s.lived++
		if explained[m.key] != "" {
			s.explained++
		}
	case notViable:
		s.notViable++
	case notCovered: // none is left
	}
}

// printScore prints how many mutants of each file live, and why, and returns the sum.
func printScore(to io.Writer, mutants []*mutant, explained map[string]string) *score {
	total := &score{file: "all"}
	var files []*score
	for _, m := range mutants {
		if len(files) == 0 || files[len(files)-1].file != m.file {
			files = append(files, &score{file: m.file})
		}
		files[len(files)-1].count(m, explained)
		total.count(m, explained)
	}
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight)
	defer table.Flush()
	fmt.Fprintln(table, "file\tkilled\ttimed out\tlived\texplained\tnot viable\tefficacy\t")
	for _, s := range append(files, total) {
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t%.2f %%\t\n",
			s.file, s.killed, s.timedOut, s.lived, s.explained, s.notViable, s.efficacy())
	}
	return total
}
