package docs_test

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/internal/picture"
	"github.com/throttle-go/throttle/internal/timeline"
)

const ms = time.Millisecond

// A record is what happened when a scenario was played.
type record struct {
	events timeline.Events
	calls  []time.Duration // of the scenario, dropped or not
	starts []time.Duration // of its runs
	ends   []time.Duration
}

// A point is an instant of a record.
type point func(record) time.Duration

func call(n int) point      { return func(r record) time.Duration { return r.calls[n] } }
func start(n int) point     { return func(r record) time.Duration { return r.starts[n] } }
func end(n int) point       { return func(r record) time.Duration { return r.ends[n] } }
func windowEnd(n int) point { return func(r record) time.Duration { return r.events.Windows[n].End } }

// A subject is the Throttler or Coalescer that a scenario is played on.
type subject struct {
	call      func(value string)
	stats     func() throttle.Stats
	setPolicy func(throttle.Policy) error
	close     func() error
	throttler *throttle.Throttler // nil for a Coalescer
}

// A stage is a scenario that is being played in a synctest bubble.
type stage struct {
	scenario

	t       *testing.T
	begun   time.Time
	subject subject
	entered int        // runs
	batches [][]string // the values of each run
	runs    []throttle.Run
	record  record
}

// play plays s up to until, calls last, and returns what happened.
func (s scenario) play(t *testing.T, until time.Duration, last func(subject)) (played record) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g := &stage{scenario: s, t: t, begun: time.Now()}
		g.build()
		for _, step := range g.steps() {
			if step.at > until {
				break
			}
			g.sleepUntil(step.at)
			step.do()
			synctest.Wait()
		}
		g.sleepUntil(until)
		last(g.subject)
		require.NoError(t, g.subject.close())
		time.Sleep(time.Hour) // for the active run to end
		synctest.Wait()
		g.writeRuns()
		played = g.record
	})
	return played
}

func (g *stage) build() {
	opts := []throttle.Option{
		throttle.WithCallCount(),
		throttle.WithErrorHandler(func(error) {}), // errors are in runs
		throttle.WithObserver(func(r throttle.Run) { g.runs = append(g.runs, r) }),
	}
	if g.coalescer != nil {
		c, err := g.coalescer(g.policy, g.run, opts...)
		require.NoError(g.t, err)
		call := func(value string) { require.NoError(g.t, c.Call(value)) }
		g.subject = subject{call, c.Stats, c.SetPolicy, c.Close, nil}
		return
	}
	t, err := throttle.New(g.policy, func(ctx context.Context) error { return g.run(ctx, nil) }, opts...)
	require.NoError(g.t, err)
	g.subject = subject{func(string) { t.Call() }, t.Stats, t.SetPolicy, t.Close, t}
}

// run is the callback.
func (g *stage) run(_ context.Context, batch []string) error {
	outcome := g.outcome(g.entered)
	g.entered++
	g.batches = append(g.batches, batch)
	time.Sleep(time.Duration(outcome.took) * ms)
	return outcome.err
}

// outcome returns how run number n ends.
func (s scenario) outcome(n int) outcome {
	if n < len(s.runs) {
		return s.runs[n]
	}
	return outcome{took: usual}
}

// A step is something that happens to the subject.
type step struct {
	at time.Duration
	do func()
}

// steps returns the steps of the scenario, in order.
func (g *stage) steps() []step {
	var steps []step
	for i, at := range g.scenario.calls {
		value := string(rune('a' + i))
		steps = append(steps, step{time.Duration(at) * ms, func() { g.call(value) }})
	}
	for _, m := range g.moments {
		steps = append(steps, step{time.Duration(m.at) * ms, func() { g.act(m) }})
	}
	slices.SortStableFunc(steps, func(a, b step) int { return cmp.Compare(a.at, b.at) })
	return steps
}

func (g *stage) call(value string) {
	now := g.now()
	g.record.calls = append(g.record.calls, now)
	dropped := g.subject.stats().Dropped
	g.subject.call(value)
	if g.subject.stats().Dropped > dropped {
		g.record.events.Dropped = append(g.record.events.Dropped, now)
		return
	}
	g.record.events.Calls = append(g.record.events.Calls, now)
	if g.coalescer != nil {
		g.record.events.Values = append(g.record.events.Values, timeline.Mark{At: now, Label: value})
	}
}

func (g *stage) act(m moment) {
	now := g.now()
	g.record.events.Marks = append(g.record.events.Marks, timeline.Mark{At: now, Label: m.label})
	if m.flush != nil {
		go func() { assert.NoError(g.t, m.flush(g.t.Context(), g.subject.throttler)) }()
		return
	}
	asked, waits := g.firstPending()
	require.Equal(g.t, waits, m.cancel(g.subject.throttler))
	if waits {
		g.record.events.Waits = append(g.record.events.Waits,
			timeline.Wait{Span: timeline.Span{Start: asked, End: now}, Dropped: true})
	}
}

// firstPending returns when the first pending call was made, and whether there is one.
func (g *stage) firstPending() (asked time.Duration, waits bool) {
	stats := g.subject.stats()
	for _, call := range g.record.events.Calls {
		if stats.Pending && call > stats.LastStart.Sub(g.begun) {
			return call, true
		}
	}
	return 0, false
}

func (g *stage) now() time.Duration { return time.Since(g.begun) }

// sleepUntil sleeps until d, and then until all goroutines are idle.
func (g *stage) sleepUntil(d time.Duration) {
	time.Sleep(d - g.now())
	synctest.Wait()
}

// writeRuns records the runs that the observer has seen.
func (g *stage) writeRuns() {
	runs := make([]picture.Run, len(g.runs))
	for i, run := range g.runs {
		runs[i] = picture.Observed(run, g.begun)
	}
	g.record.addRuns(g.policy, runs)
	for i, batch := range g.batches {
		if g.coalescer != nil {
			g.record.events.Runs[i].Label = strings.Join(batch, " ")
		}
	}
}

// addRuns adds runs under p to the record, without their windows.
func (r *record) addRuns(p throttle.Policy, runs []picture.Run) {
	drawn := picture.Events(p, nil, nil, runs)
	r.events.Runs, r.events.Waits = drawn.Runs, append(r.events.Waits, drawn.Waits...)
	for _, run := range runs {
		r.starts, r.ends = append(r.starts, run.Start), append(r.ends, run.End)
	}
}

// simulate is play by Simulate, with the windows.
func (s scenario) simulate(t *testing.T, until time.Duration) (predicted record) {
	t.Helper()
	r := &predicted
	for _, at := range s.calls {
		r.calls = append(r.calls, time.Duration(at)*ms)
	}
	run := func(n int) (time.Duration, error) {
		outcome := s.outcome(n)
		return time.Duration(outcome.took) * ms, outcome.err
	}
	dropped := make(map[int]bool)
	all, err := throttle.Simulate(s.policy, slices.Values(r.calls), run,
		throttle.WithDropped(func(n int, _ time.Duration) { dropped[n] = true }))
	require.NoError(t, err)
	var runs []picture.Run
	for run := range all {
		if run.Started > until {
			break
		}
		runs = append(runs, picture.Simulated(run))
	}
	for n, at := range r.calls {
		if dropped[n] {
			r.events.Dropped = append(r.events.Dropped, at)
		} else {
			r.events.Calls = append(r.events.Calls, at)
		}
	}
	r.addRuns(s.policy, runs)
	r.events.Windows = picture.Windows(s.policy, runs)
	return predicted
}

// draw plays s, and returns the events for its picture.
//
// The windows come from the library, not from the policy's fields. For the start and
// the end of each run, draw plays the scenario again up to there, and then makes a
// call under a policy of spacing and backoff alone. That call's run is due at the
// window's end. With Burst there is no window while a token is left, and with
// FromEnd none before a run's end.
func (s scenario) draw(t *testing.T) timeline.Events {
	t.Helper()
	until := time.Duration(s.until) * ms
	played := s.play(t, until, func(subject) {})
	for i := range played.starts {
		played.events.Windows = append(played.events.Windows, s.windows(t, played, i)...)
	}
	return s.measured(played)
}

// measured returns what happened until the end of the picture, with the distances to show.
func (s scenario) measured(r record) timeline.Events {
	for _, m := range s.measures {
		r.events.Measures = append(r.events.Measures,
			timeline.Measure{Span: timeline.Span{Start: m.from(r), End: m.to(r)}, Label: m.label})
	}
	r.events.End = time.Duration(s.until) * ms
	return r.events
}

// windows returns the windows of run n: one from its start and one from its end, or
// a single one if they meet. They last until the next run at most.
func (s scenario) windows(t *testing.T, played record, n int) (windows []timeline.Span) {
	t.Helper()
	next := time.Duration(math.MaxInt64)
	if n+1 < len(played.starts) {
		next = played.starts[n+1]
	}
	from := []time.Duration{played.starts[n], played.ends[n]}
	if s.policy.From == throttle.FromEnd {
		from = from[1:] // before that, the active run holds calls off
	}
	for _, from := range from {
		window := timeline.Span{Start: from, End: min(s.earliestRun(t, from), next)}
		last := len(windows) - 1
		switch {
		case window.End <= window.Start:
		case last >= 0 && windows[last].End >= window.Start:
			windows[last].End = max(windows[last].End, window.End)
		default:
			windows = append(windows, window)
		}
	}
	return windows
}

// earliestRun returns the earliest time at which a call made at now could start a run.
func (s scenario) earliestRun(t *testing.T, now time.Duration) time.Duration {
	t.Helper()
	due := now
	s.play(t, now, func(asked subject) {
		base := time.Now().Add(-now)
		p := s.policy
		require.NoError(t, asked.setPolicy(throttle.Policy{
			Interval: p.Interval, Burst: p.Burst, MaxLoad: p.MaxLoad, From: p.From, Retry: p.Retry,
		}))
		asked.call("")
		if next := asked.stats().Next; !next.IsZero() {
			due = next.Sub(base)
		}
	})
	return due
}
