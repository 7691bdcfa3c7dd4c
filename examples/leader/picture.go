package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

const columns = 88

// ends names the ways in which a lead ends, by kind of event.
var ends = map[string]string{"cut": "was cut off", "kill": "was killed", "pause": "was stopped"}

// draw draws a line for each member: when it led, and when it synced.
func draw(w io.Writer, events []event, members int) {
	if len(events) == 0 {
		return
	}
	begin, end := events[0].at, events[len(events)-1].at
	column := func(at time.Time) int {
		return int(int64(columns-1) * int64(at.Sub(begin)) / max(1, int64(end.Sub(begin))))
	}
	for member := range members {
		line := []rune(strings.Repeat(" ", columns))
		fill := func(from, to int, with rune) {
			for i := from; i <= to; i++ {
				if line[i] == ' ' || line[i] == '·' {
					line[i] = with
				}
			}
		}
		lead := -1 // column of its beginning
		for _, e := range events {
			if e.member != member {
				continue
			}
			at := column(e.at)
			switch e.kind {
			case "call":
				fill(at, at, '·')
			case "lead":
				lead = at
			case "run":
				line[at] = '█'
			case "cut", "kill":
				line[at] = '✗'
			}
			if lead != -1 && (e.kind == "pause" || e.kind == "kill") {
				fill(lead, at, '─')
				lead = -1
			}
		}
		fmt.Fprintf(w, "replica %d   %s\n", member, strings.TrimRight(string(line), " "))
	}
	fmt.Fprintf(w, "            · has calls that wait   ─ leads   █ syncs   ✗ crashes   %v in all\n\n",
		end.Sub(begin).Round(time.Millisecond))
}
