package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// writeTable writes results as a table for readers. The policy comes last: it is text of any
// length, and all other columns are numbers, aligned to the right.
func (s scenario) writeTable(w io.Writer, results []result) error {
	_, err := fmt.Fprintf(w, "%s in %v. Each policy is watched for %v.\n\n",
		count(len(s.calls), "call"), rounded(s.calls[len(s.calls)-1]), rounded(s.end))
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(table, "\truns\tsaved\trunning\tload\tdropped\tp50\tp99\tlongest\tstale\t  policy\n")
	for _, r := range results {
		mark := " "
		if r.front {
			mark = "*"
		}
		fmt.Fprintf(table, "%s\t%d\t%s\t%v\t%s\t%d\t%v\t%v\t%v\t%s\t  %v\n",
			mark, r.runs, percent(s.saved(r)), rounded(r.running), percent(s.share(r.running)), r.dropped,
			rounded(r.p50), rounded(r.p99), rounded(r.longest), percent(s.share(r.stale)), r.policy)
	}
	return table.Flush()
}

// saved returns how many runs r saves, as a share of one run per call. It is negative if
// there are more runs than calls.
func (s scenario) saved(r result) float64 {
	return 1 - float64(r.runs)/float64(len(s.calls))
}

// share returns d as a share of the watch.
func (s scenario) share(d time.Duration) float64 {
	if s.end == 0 {
		return 0
	}
	return float64(d) / float64(s.end)
}

func percent(share float64) string { return fmt.Sprintf("%.1f%%", 100*share) }

// rounded rounds d to three digits or more.
func rounded(d time.Duration) time.Duration {
	unit := time.Nanosecond
	for d/unit >= 1000 && unit < time.Second {
		unit *= 10
	}
	return d.Round(unit)
}
