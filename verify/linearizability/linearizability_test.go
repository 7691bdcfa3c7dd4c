package linearizability_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/internal/testkit/effort"
)

// checkTimeout bounds the check of one history, which usually takes milliseconds.
const checkTimeout = 30 * time.Second

func scenes() []scene {
	const (
		interval = 40 * time.Microsecond
		quiet    = 20 * time.Microsecond
	)
	counting := []throttle.Option{throttle.WithCallCount()}
	return []scene{
		{name: "no limit"},
		{name: "every", policy: throttle.Every(interval)},
		{name: "from end", policy: throttle.Policy{Interval: interval, From: throttle.FromEnd}},
		{name: "burst", policy: throttle.Policy{Interval: interval, Burst: 3}},
		{name: "trailing only", policy: throttle.Policy{Interval: interval, Edges: throttle.Trailing}},
		{name: "leading only", policy: throttle.Policy{Interval: interval, Edges: throttle.Leading}, leadingOnly: true},
		{name: "debounce", policy: throttle.Debounce(quiet, 0)},
		{name: "debounce with a bound", policy: throttle.Debounce(quiet, 2*quiet)},
		{name: "counted", policy: throttle.Every(interval), options: counting},
		{name: "debounce, counted", policy: throttle.Debounce(quiet, 0), options: counting},
	}
}

// TestThrottler_Linearizable checks histories of real goroutines in real time. In each of them
// Call, CallWithin, Do, Flush, Cancel, Pause, Resume, Wait, Close, Shutdown, SetPolicy, Stats
// and the runs must behave as if one came after the other, each at an instant between its begin
// and its return.
// This implies G1 (no overlap), G3 (no lost call), G4 (no idle run) and G7 (Close is final)
// under every schedule.
func TestThrottler_Linearizable(t *testing.T) {
	seen := sightings{}
	each := 250 * effort.Factor()
	for _, scene := range scenes() {
		t.Run(scene.name, func(t *testing.T) {
			for range each {
				history := play(t, scene, 3+rand.IntN(4))
				seen.add(history)
				if !linearizable(t, model{leadingOnly: scene.leadingOnly}, history, seen) {
					return
				}
			}
		})
	}
	t.Logf("occurred:\n%s", seen)
	if seen[histories] == each*len(scenes()) { // -run selected all
		seen.require(t)
	}
}

// linearizable reports whether history is linearizable, and prints it if not.
func linearizable(t *testing.T, m model, history []porcupine.Operation, seen sightings) bool {
	t.Helper()
	result, info := porcupine.CheckOperationsVerbose(m.forPorcupine(), history, checkTimeout)
	if result == porcupine.Illegal {
		// Now and then this is because Close undid a start. The check is much faster
		// without such starts, so they come second.
		m.undoes = true
		if result, info = porcupine.CheckOperationsVerbose(m.forPorcupine(), history, checkTimeout); result == porcupine.Ok {
			seen[undoneStart]++
		}
	}
	if result == porcupine.Ok {
		return true
	}
	t.Errorf("linearizable: %s\n%s", result, timeline(history, info))
	visualize(t, m, info)
	return false
}

// visualize writes a page that shows the history, and logs where.
func visualize(t *testing.T, m model, info porcupine.LinearizationInfo) {
	t.Helper()
	page, err := os.CreateTemp("", "history-*.html") //nolint:usetesting // it is for the reader, after the test
	if err != nil {
		t.Error(err)
		return
	}
	defer page.Close()
	if err := porcupine.Visualize(m.forPorcupine(), info, page); err != nil {
		t.Error(err)
	}
	t.Logf("%s shows the history", page.Name())
}

// timeline returns history as a table, ordered by the begin of the operations. It marks the
// operations that do not fit after the longest part that does.
func timeline(history []porcupine.Operation, info porcupine.LinearizationInfo) string {
	longest := info.PartialLinearizations()[0]
	fits := slices.MaxFunc(append(longest, nil), func(a, b []int) int { return cmp.Compare(len(a), len(b)) })
	var table strings.Builder
	lines := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	for i, operation := range history {
		client := "run"
		if operation.ClientId >= firstCaller {
			client = fmt.Sprintf("caller %d", operation.ClientId-firstCaller)
		}
		until := "?"
		if operation.Return != later {
			until = strconv.FormatInt(operation.Return, 10)
		}
		place := "does not fit"
		if at := slices.Index(fits, i); at >= 0 {
			place = fmt.Sprintf("%d.", at+1)
		}
		q, a := parts(operation)
		fmt.Fprintf(lines, "%d\tto %s\t%s\t%s\t%s\n", operation.Call, until, client, describe(q, a), place)
	}
	lines.Flush()
	return table.String()
}

// parts returns the request and the answer of an operation.
func parts(operation porcupine.Operation) (request, answer) {
	return operation.Input.(request), operation.Output.(answer) //nolint:errcheck,forcetypeassert // they have no other types
}
