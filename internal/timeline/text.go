package timeline

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	gutter     = 8  // columns left of the axis, for the names of the rows
	minColumns = 16 // of the axis
	eighths    = 8  // heights of a block
)

// Text draws e in lines of at most width columns, but not less than 24.
//
// In the row of calls, a block is as many eighths high as there are calls in its column. If
// a column has more than eight, the blocks are to scale, and a last line gives the scale. A
// dropped call counts like any other. A run starts with a full block, or with a cross if it
// failed, and continues in grey. Text leaves out waits, values, marks, measures and labels.
func Text(e Events, width int) string {
	a := axis{end: e.end(), columns: max(width, gutter+minColumns) - gutter}
	var b strings.Builder
	row := func(name string, cells []rune) {
		line := fmt.Sprintf("%-*s%s", gutter, name, string(cells))
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	calls, scale := a.calls(slices.Concat(e.Calls, e.Dropped))
	row("calls", calls)
	row("runs", a.runs(e.Runs))
	if len(e.Windows) > 0 {
		row("windows", a.windows(e.Windows))
	}
	marks, labels := a.ticks()
	row("", marks)
	row("", labels)
	if scale > eighths {
		row("", []rune(fmt.Sprintf("a full block is %d calls", scale)))
	}
	return b.String()
}

// An axis places times from 0 to end in columns.
type axis struct {
	end     time.Duration
	columns int
}

func (a axis) contains(t time.Duration) bool { return 0 <= t && t <= a.end }

// column returns the column of t, or of the nearer end of the axis.
func (a axis) column(t time.Duration) int {
	column := float64(t) * float64(a.columns) / float64(a.end)
	return int(min(max(column, 0), float64(a.columns-1)))
}

// row returns an empty row.
func (a axis) row(cell string) []rune { return []rune(strings.Repeat(cell, a.columns)) }

// calls returns the row of calls, and the number of calls in a full block.
func (a axis) calls(calls []time.Duration) (row []rune, scale int) {
	counts := make([]int, a.columns)
	scale = eighths
	for _, call := range calls {
		if a.contains(call) {
			column := a.column(call)
			counts[column]++
			scale = max(scale, counts[column])
		}
	}
	row = a.row(" ")
	blocks := []rune("▁▂▃▄▅▆▇█")
	for column, count := range counts {
		if count > 0 {
			row[column] = blocks[(count*eighths-1)/scale]
		}
	}
	return row, scale
}

// runs returns the row of runs. Starts are drawn over the rest, and failures over everything,
// so that nothing hides them.
func (a axis) runs(runs []Run) []rune {
	row := a.row(" ")
	for _, run := range runs {
		a.fill(row, run.Span, '▒')
	}
	for _, run := range runs {
		a.mark(row, run.Start, '█')
	}
	for _, run := range runs {
		if run.Failed {
			a.mark(row, run.Start, '✗')
		}
	}
	return row
}

func (a axis) windows(windows []Span) []rune {
	row := a.row(" ")
	for _, window := range windows {
		a.fill(row, window, '─')
	}
	for _, window := range windows {
		a.mark(row, window.End, '┤')
	}
	for _, window := range windows {
		a.mark(row, window.Start, '├')
	}
	return row
}

// fill fills the part of s that is on the axis, up to but not including its end.
func (a axis) fill(row []rune, s Span, cell rune) {
	if s.End <= max(s.Start, 0) || s.Start > a.end {
		return
	}
	last := a.column(s.End - 1)
	for column := a.column(s.Start); column <= last; column++ {
		row[column] = cell
	}
}

// mark sets the cell at t, if t is on the axis.
func (a axis) mark(row []rune, t time.Duration, cell rune) {
	if a.contains(t) {
		row[a.column(t)] = cell
	}
}

// ticks returns the row of the axis and the row of labels below it.
func (a axis) ticks() (marks, labels []rune) {
	step := tickStep(a.end, func(step time.Duration) bool {
		widest := tickLabel(a.end-a.end%step, step)
		return a.column(step) >= len(widest)+2
	})
	marks, labels = a.row("─"), a.row(" ")
	var tick time.Duration
	free := 0 // the first column where the next label may start
	for range a.end/step + 1 {
		column := a.column(tick)
		marks[column] = '┬'
		label := []rune(tickLabel(tick, step))
		// The last label may move to the left. If it still has no room, it is left out.
		if start := min(column, a.columns-len(label)); start >= free {
			copy(labels[start:], label)
			free = start + len(label) + 1
		}
		tick += step
	}
	return marks, labels
}
