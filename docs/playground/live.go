package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/internal/picture"
	"github.com/throttle-go/throttle/internal/timeline"
)

// How much of the past a Live keeps. What is older than that leaves the picture too early.
const (
	keptCalls = 1000
	keptRuns  = 500
	keptEras  = 32
)

// holdDelay is how long a button must be held until the calls repeat. A click is shorter.
const holdDelay = 400 * time.Millisecond

// A Live is a Throttler in real time, with what happened to it lately. Its methods may be
// called concurrently.
type Live struct {
	throttler *throttle.Throttler
	begun     time.Time // instants are the time since then

	calling sync.Mutex // held during a call, so that each call knows whether it was dropped

	mu sync.Mutex // guards the fields below

	// +checklocks:mu
	state State // how runs end, and how often a held button calls
	// +checklocks:mu
	entered int // runs
	// +checklocks:mu
	calls []time.Duration // but those in dropped
	// +checklocks:mu
	dropped []time.Duration
	// +checklocks:mu
	canceled []timeline.Wait
	// +checklocks:mu
	marks []timeline.Mark
	// +checklocks:mu
	runs []picture.Run // the last one may be active
	// +checklocks:mu
	eras []era
	// +checklocks:mu
	release chan struct{} // closed when the held button is released; nil if it is not held
}

// An era is the time during which a policy is in force.
type era struct {
	from   time.Duration // until the next era
	policy throttle.Policy
}

// NewLive returns a Live with the policy p, which must be valid, and the callback of s.
func NewLive(p throttle.Policy, s State) *Live {
	l := &Live{begun: time.Now(), state: s, eras: []era{{policy: p}}}
	l.throttler = throttle.Must(throttle.New(p, l.run,
		throttle.WithCallCount(),
		throttle.WithErrorHandler(func(error) {}), // the picture shows failures
		throttle.WithTracer(l.start),
	))
	return l
}

// Close ends l. What is pending is dropped.
func (l *Live) Close() {
	l.Release()
	_ = l.throttler.Close() // nobody waits for the calls that it drops
}

// Set makes p the policy, which must be valid, and s the state.
func (l *Live) Set(p throttle.Policy, s State) {
	now := l.now()
	l.mu.Lock()
	l.state = s
	isNew := l.eras[len(l.eras)-1].policy != p
	if isNew {
		l.eras = latest(append(l.eras, era{now, p}), keptEras)
	}
	l.mu.Unlock()
	if isNew {
		_ = l.throttler.SetPolicy(p) // it is valid, and l is not closed
	}
}

// Call calls.
func (l *Live) Call() {
	l.calling.Lock()
	defer l.calling.Unlock()
	now, before := l.now(), l.throttler.Stats().Dropped
	l.throttler.Call()
	dropped := l.throttler.Stats().Dropped > before

	l.mu.Lock()
	defer l.mu.Unlock()
	if dropped {
		l.dropped = latest(append(l.dropped, now), keptCalls)
	} else {
		l.calls = latest(append(l.calls, now), keptCalls)
	}
}

// Press calls, and goes on to call until Release, if that does not come soon.
func (l *Live) Press() {
	release := make(chan struct{})
	l.mu.Lock()
	l.releaseLocked()
	l.release = release
	l.mu.Unlock()
	l.Call()
	go l.repeat(release) // until Release
}

// repeat calls until release is closed.
func (l *Live) repeat(release chan struct{}) {
	timer := time.NewTimer(holdDelay)
	defer timer.Stop()
	for {
		select {
		case <-release:
			return
		case <-timer.C:
			l.Call()
			l.mu.Lock()
			timer.Reset(max(l.state.Repeat, time.Millisecond))
			l.mu.Unlock()
		}
	}
}

// Release ends what Press has begun.
func (l *Live) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.releaseLocked()
}

// releaseLocked ends the last Press.
//
// +checklocks:l.mu
func (l *Live) releaseLocked() {
	if l.release != nil {
		close(l.release)
		l.release = nil
	}
}

// Flush runs what is pending at once. It does not wait for the run.
func (l *Live) Flush() {
	l.mark("Flush")
	go func() { _ = l.throttler.Flush(context.Background()) }() // it ends with the run; the picture shows how
}

// Cancel drops what is pending.
func (l *Live) Cancel() {
	now, stats := l.mark("Cancel"), l.throttler.Stats()
	l.mu.Lock()
	asked, waits := l.firstPendingLocked(stats)
	if waits {
		l.canceled = latest(append(l.canceled, timeline.Wait{Span: timeline.Span{Start: asked, End: now}, Dropped: true}), keptCalls)
	}
	l.mu.Unlock()
	l.throttler.Cancel()
}

func (l *Live) mark(label string) (now time.Duration) {
	now = l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.marks = latest(append(l.marks, timeline.Mark{At: now, Label: label}), keptCalls)
	return now
}

// firstPendingLocked returns when the first pending call was made, and whether there is one.
//
// +checklocks:l.mu
func (l *Live) firstPendingLocked(stats throttle.Stats) (asked time.Duration, waits bool) {
	if !stats.Pending {
		return 0, false
	}
	earliest := time.Duration(math.MinInt64)
	if !stats.LastStart.IsZero() {
		earliest = l.at(stats.LastStart)
	}
	if n := len(l.canceled); n > 0 {
		earliest = max(earliest, l.canceled[n-1].End)
	}
	i := slices.IndexFunc(l.calls, func(call time.Duration) bool { return call > earliest })
	if i < 0 {
		return 0, false // a failed run waits for its retry
	}
	return l.calls[i], true
}

func (l *Live) now() time.Duration           { return time.Since(l.begun) }
func (l *Live) at(t time.Time) time.Duration { return t.Sub(l.begun) }

// run is the callback.
func (l *Live) run(ctx context.Context) error {
	l.mu.Lock()
	took, fails := l.state.Took, failsAt(l.entered, l.state.Failing)
	l.entered++
	l.mu.Unlock()
	select {
	case <-time.After(took):
	case <-ctx.Done(): // l is closed
	}
	if fails {
		return errFailed
	}
	return nil
}

// start records a run that starts.
func (l *Live) start(_ context.Context, run throttle.Run, _ []context.Context) (traced context.Context, end func(throttle.Run)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.runs = latest(append(l.runs, picture.Observed(run, l.begun)), keptRuns)
	return nil, l.end
}

// end records how the last run ended.
func (l *Live) end(run throttle.Run) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.runs[len(l.runs)-1] = picture.Observed(run, l.begun)
}

// latest returns s without its oldest elements if there are far more than most.
func latest[T any](s []T, most int) []T {
	if len(s) > 2*most {
		return slices.Clone(s[len(s)-most:])
	}
	return s
}

// A Frame is what the page shows at an instant of live mode.
type Frame struct {
	Drawing

	Calls, Dropped, Runs, Failures uint64

	State string // in words
	Still bool   // nothing moves
}

// Look returns what happened during the past, up to now.
func (l *Live) Look(past time.Duration) Frame {
	stats := l.throttler.Stats()
	e := l.events(past, stats)
	f := Frame{Calls: stats.Calls, Dropped: stats.Dropped, Runs: stats.Runs, Failures: stats.Failures, State: "idle"}
	switch {
	case stats.Running:
		f.State = "running"
	case !stats.Next.IsZero():
		f.State = fmt.Sprintf("next run in %d ms", max(time.Until(stats.Next), 0).Milliseconds())
	}
	f.Still = !stats.Running && stats.Next.IsZero() && len(e.Calls)+len(e.Dropped)+len(e.Runs)+len(e.Windows)+len(e.Marks) == 1
	f.Summary = summary(int(stats.Calls), int(stats.Dropped), int(stats.Runs), int(stats.Failures)) //nolint:gosec // nobody clicks so often
	f.SVG = svg(e, "The last "+formatDuration(past), f.Summary)
	return f
}

// events returns the events of a picture of the past and, to the right of a mark, of a short
// time to come.
func (l *Live) events(past time.Duration, stats throttle.Stats) timeline.Events {
	now := l.now()
	first := max(now-past, 0) // at the left end

	l.mu.Lock()
	defer l.mu.Unlock()
	runs := slices.Clone(l.runs)
	if n := len(runs); n > 0 && runs[n-1].Active {
		runs[n-1].End = now
	}
	visible := slices.Clone(runs)
	visible = slices.DeleteFunc(visible, func(r picture.Run) bool { return r.End < first })
	e := picture.Events(throttle.Policy{}, from(l.calls, first), from(l.dropped, first), visible)
	for _, window := range l.windowsLocked(runs) {
		if window.End > first {
			e.Windows = append(e.Windows, window)
		}
	}
	for _, wait := range l.canceled {
		if wait.End >= first {
			e.Waits = append(e.Waits, wait)
		}
	}
	if asked, waits := l.firstPendingLocked(stats); waits && !stats.Next.IsZero() {
		e.Waits = append(e.Waits, timeline.Wait{Span: timeline.Span{Start: asked, End: max(l.at(stats.Next), now)}})
	}
	for _, mark := range l.marks {
		if mark.At >= first {
			e.Marks = append(e.Marks, mark)
		}
	}
	e.Marks = append(e.Marks, timeline.Mark{At: now, Label: "now"})
	shift(&e, -first)
	e.End = past + past/8
	return e
}

// windowsLocked returns the windows of runs, each era's by its policy.
//
// +checklocks:l.mu
func (l *Live) windowsLocked(runs []picture.Run) []timeline.Span {
	var all []timeline.Span
	for i, era := range l.eras {
		until := time.Duration(math.MaxInt64)
		if i+1 < len(l.eras) {
			until = l.eras[i+1].from
		}
		for _, window := range picture.Windows(era.policy, runs) {
			window.Start, window.End = max(window.Start, era.from), min(window.End, until)
			if window.Start < window.End {
				all = append(all, window)
			}
		}
	}
	return all
}

// from returns a copy of the times from first on. They are in order.
func from(times []time.Duration, first time.Duration) []time.Duration {
	i, _ := slices.BinarySearch(times, first)
	return slices.Clone(times[i:])
}

// shift moves all events of e.
func shift(e *timeline.Events, by time.Duration) {
	for i := range e.Calls {
		e.Calls[i] += by
	}
	for i := range e.Dropped {
		e.Dropped[i] += by
	}
	for i := range e.Marks {
		e.Marks[i].At += by
	}
	move := func(s *timeline.Span) { s.Start, s.End = s.Start+by, s.End+by }
	for i := range e.Waits {
		move(&e.Waits[i].Span)
	}
	for i := range e.Runs {
		move(&e.Runs[i].Span)
	}
	for i := range e.Windows {
		move(&e.Windows[i])
	}
}
