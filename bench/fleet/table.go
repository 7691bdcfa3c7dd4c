//go:build linux

package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/throttle-go/throttle/bench/internal/measure"
)

func printHeader(w io.Writer, command string) {
	fmt.Fprintf(w, "a throttle that a fleet shares\n\n%v\n%s\nload average before: %s\n",
		measure.DescribeMachine(time.Now()), command, loadAverage())
}

func printFindings(w io.Writer, found []finding, e effort) {
	printClaims(w, found)
	printMessages(w, found)
	printLoad(w, found, e)
	printFleets(w, found, e)
	printCrowds(w, found)
	printDemand(w, found)
}

func printClaims(w io.Writer, found []finding) {
	section(w, "A claim beside a bare operation that reads and writes as much",
		"ratio: claim/bare, the median of turns, with its quartiles; then the medians of both, in one of the goroutines.",
		"Each goroutine has its own key, and the store remembers as many claims of it as it ever does. Redis: EVALSHA of a script",
		"that reads and writes what a grant does, without a question. PostgreSQL: UPDATE of a number of a row RETURNING it, by",
		"primary key. A granted claim with its finish is compared with two bare operations. A deferred claim that joins calls which",
		"are pending already does not wait for PostgreSQL's disk, and the bare operation does.")
	rows := [][]string{{"store", "operation", "goroutines", "ratio", "p25-p75", "claim µs", "bare µs", "turns"}}
	for _, f := range found {
		for _, c := range f.claims {
			rows = append(rows, []string{
				f.store, c.operation, strconv.Itoa(c.parallel), measure.FormatRatio(c.ratio.P50),
				measure.FormatRatio(c.ratio.P25) + "-" + measure.FormatRatio(c.ratio.P75),
				micros(c.claim), micros(c.bare), strconv.Itoa(c.turns),
			})
		}
	}
	align(w, rows, 2)
}

func printMessages(w io.Writer, found []finding) {
	section(w, "Messages of one process's throttlers, counted",
		"Averages; \"of\" is the number of runs or calls. A run that waited did so for the interval, after one call; a call that",
		"coalesced joined another one in the interval. errors: reported to error handlers, such as late grants.")
	rows := [][]string{{"store", "for", "claims", "finishes", "errors", "of", "a call takes"}}
	for _, f := range found {
		m := f.counted
		for _, of := range []struct {
			what  string
			count totals
			n     int64
			call  string
		}{
			{"a run at once", m.atOnce, m.runs, ""},
			{"a run that waited", m.waited, m.runs, ""},
			{"a call that coalesced", m.coalesced, m.calls, measure.Nanosecond.Format(m.call)},
		} {
			each := func(n int64) string { return measure.Count.Format(float64(n) / float64(of.n)) }
			rows = append(rows, []string{
				f.store, of.what, each(of.count.Claims), each(of.count.Finishes), each(of.count.Errors),
				strconv.FormatInt(of.n, 10), of.call,
			})
		}
	}
	align(w, rows, 2)
}

func printLoad(w io.Writer, found []finding, e effort) {
	section(w, fmt.Sprintf("%d keys claimed by %d processes of %d goroutines, as fast as they can", e.keys, e.processes, e.goroutines),
		"CPU: CPU time of all processes of the store. Per claim, and in the script alone: for keys with few remembered claims /",
		fmt.Sprintf("for %d keys with as many as the store remembers. Per run: a granted claim and its finish, one after the other.",
			fewKeys(e.keys)),
		fmt.Sprintf("Per wake: the notification of one of %d listeners.", e.listeners),
		"B: bytes of a state, and of the store per key: after the first claim / after this load / at most.")
	rows := [][]string{{"store", "claims/s", "CPU µs/claim", "in script", "CPU µs/run", "CPU µs/wake", "B/state", "B/key"}}
	for _, f := range found {
		l := f.load
		script := "-"
		if l.all.script > 0 {
			script = slashed(micros, l.all.script, l.few.script)
		}
		rows = append(rows, []string{
			f.store, whole(l.all.claims), slashed(micros, l.all.cpu, l.few.cpu), script, micros(f.runs.grant), micros(f.runs.wake),
			slashed(whole, l.state, l.hotState, l.most), slashed(whole, l.key, l.hotKey, l.most+l.hotKey-l.hotState),
		})
	}
	align(w, rows, 1)
}

func printFleets(w io.Writer, found []finding, e effort) {
	h := found[0].fleet
	section(w, fmt.Sprintf("%d processes, each of which calls every key every %v; interval %v, guard %v, a run takes %v",
		h.replicas, pace, e.interval, h.spacing-e.interval, h.busy),
		"runs: per key and second, and the most that interval and guard allow. claims: per replica and key, from one grant to the",
		"next possible one. messages: claims, finishes and renewals. looks: per process, for keys that are due. cores: of the store.",
		"errors: as above.")
	rows := [][]string{{
		"store", "keys", "calls/s", "runs/s", "claims", "finishes/run", "messages/run", "messages/s", "looks/s", "cores", "errors",
	}}
	for _, f := range found {
		h := f.fleet
		seconds := h.took.Seconds()
		runs := float64(max(1, h.Runs))
		sent := float64(h.Claims + h.Finishes + h.Renewals)
		rows = append(rows, []string{
			f.store, strconv.Itoa(h.keys), whole(float64(h.Calls) / seconds), slashed(fixed, float64(h.Runs)/float64(h.keys)/seconds, 1/h.spacing.Seconds()),
			fixed(h.each(h.Claims)), fixed(float64(h.Finishes) / runs), fixed(sent / runs), whole(sent / seconds), fixed(h.looks()),
			fixed(float64(h.cpu) / float64(h.took)), strconv.FormatInt(h.Errors, 10),
		})
	}
	align(w, rows, 1)
}

func printDemand(w io.Writer, found []finding) {
	p := largeFleet()
	section(w, fmt.Sprintf("%d replicas, %d keys, all hot on every replica, an interval of %v and a guard of %v, computed",
		p.replicas, p.keys, p.interval, p.guard),
		"claims: per replica and key, between two runs: one, and the number counted above. wakes: each replica hears of the end of",
		"each run. cores: of the store, from the CPU times of claims of few keys, of runs and of wakes; a look counts as a claim.",
		"Redis has one core for all of this. MB: at most.")
	rows := [][]string{{"store", "claims", "claims/s", "finishes/s", "wakes/s", "looks/s", "cores", "MB", "claims/s above"}}
	for _, f := range found {
		for _, claims := range []float64{1, f.fleet.each(f.fleet.Claims)} {
			d := p.demand(claims, f.fleet.looks(), f.load, f.runs)
			rows = append(rows, []string{
				f.store, fixed(claims), whole(d.claims), whole(d.runs), whole(d.wakes), whole(d.looks), fixed(d.cores),
				fixed(d.bytes / 1e6), whole(f.load.all.claims),
			})
		}
	}
	align(w, rows, 1)
}

func section(w io.Writer, title string, notes ...string) {
	fmt.Fprintf(w, "\n%s\n", title)
	for _, note := range notes {
		fmt.Fprintf(w, "  %s\n", note)
	}
	fmt.Fprintln(w)
}

func whole(n float64) string { return strconv.FormatFloat(n, 'f', 0, 64) }

func fixed(n float64) string { return strconv.FormatFloat(n, 'f', 2, 64) }

// micros writes nanoseconds as microseconds.
func micros(ns float64) string { return strconv.FormatFloat(ns/1000, 'f', 1, 64) }

// slashed writes numbers side by side, separated by slashes.
func slashed(write func(float64) string, numbers ...float64) string {
	words := make([]string, len(numbers))
	for i, n := range numbers {
		words[i] = write(n)
	}
	return strings.Join(words, " / ")
}

// align prints rows in columns, the first few to the left and the others to the right.
func align(w io.Writer, rows [][]string, left int) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			padding := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i < left {
				line.WriteString(cell + padding + "  ")
			} else {
				line.WriteString(padding + cell + "  ")
			}
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}
