package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

const columns = 96

// draw draws a timeline for each process: when it ran, and when it was killed.
func (r *record) draw(w io.Writer, begin time.Time, processes int) {
	all := slices.Concat(r.all("run"), r.all("kill"))
	end := begin
	for _, e := range all {
		if e.at.After(end) {
			end = e.at
		}
	}
	column := func(at time.Time) int {
		return max(0, int(int64(columns-1)*int64(at.Sub(begin))/max(1, int64(end.Sub(begin)))))
	}
	together := []rune(strings.Repeat("·", columns))
	for i := range processes {
		line := []rune(strings.Repeat("·", columns))
		for _, e := range all {
			switch {
			case e.kind == "run" && e.process == i:
				line[column(e.at)] = '█'
				together[column(e.at)] = '█'
			case e.process == i:
				line[column(e.at)] = '✗'
			}
		}
		fmt.Fprintf(w, "process %d  %s\n", i, string(line))
	}
	fmt.Fprintf(w, "together   %s\n", string(together))
	fmt.Fprintf(w, "           █ a run begins   ✗ kill -9, and a new process   %v in all\n\n", end.Sub(begin).Round(time.Millisecond))
}

// judge prints a summary of the record, and returns what is wrong with it.
func (r *record) judge(w io.Writer, interval time.Duration, last time.Time) error {
	runs, calls := r.all("run"), r.all("call")
	if len(runs) < 2 {
		return errors.New("there were fewer than two runs")
	}
	var wrong []error
	least, longest := time.Hour, time.Duration(0)
	for i := 1; i < len(runs); i++ {
		distance := runs[i].at.Sub(runs[i-1].at)
		least, longest = min(least, distance), max(longest, distance)
		if runs[i].detail <= runs[i-1].detail {
			wrong = append(wrong, fmt.Errorf("token %s came after %s", runs[i].detail, runs[i-1].detail))
		}
	}
	if least < interval {
		wrong = append(wrong, fmt.Errorf("two runs are only %v apart", least))
	}
	serving, served := r.runSince(last)
	if !served {
		wrong = append(wrong, errors.New("the last call was not served"))
	}
	fmt.Fprintf(w, "calls      %5d\n", len(calls))
	fmt.Fprintf(w, "runs       %5d   from %v to %v apart\n",
		len(runs), least.Round(time.Millisecond), longest.Round(time.Millisecond))
	fmt.Fprintf(w, "broken off %5d   half-way, and repeated by another process\n", len(runs)-len(r.all("end")))
	fmt.Fprintf(w, "killed     %5d\n", len(r.all("kill")))
	if served {
		fmt.Fprintf(w, "last call          served %v after process 0 made it, by process %d\n",
			serving.at.Sub(last).Round(time.Millisecond), serving.process)
	}
	return errors.Join(wrong...)
}
