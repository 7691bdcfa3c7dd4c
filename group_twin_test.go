package throttle_test

// This file plays a script in fake time on the keys of a Group, and on one plain
// Throttler for each, its twin. A twin remembers all that ever happened to it, and
// a key is forgotten again and again; yet the two must do the same, always. What a
// key may still remember is reckoned in group_memory_test.go.

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/internal/testkit/reference"
)

// A duet plays one script.
type duet struct {
	t        *testing.T
	data     []byte
	script   *reference.Decoder // what is left of data
	begin    time.Time
	counting bool
	policy   throttle.Policy
	group    *throttle.Group[int]
	twins    []*twin // by key
	retired  []*throttle.Throttler
	asked    int
	asking   sync.WaitGroup
	timeline []string
	remade   map[string]int // by the feature of the policy: calls for keys that had been held before and were not now

	mu        sync.Mutex // guards the fields below, and the twins' that say so
	diary     [2][]string
	lastRun   throttle.Run // that has ended, of any twin
	lastIsOne bool         // no other ended at the same time
}

// A voice is one of the two that play.
type voice int

const (
	ofGroup voice = iota
	ofTwin
)

// A twin is a key with the Throttler that does the same as it.
type twin struct {
	key       int
	throttler *throttle.Throttler // nil until the key is called
	scripts   []reference.Script  // of the first runs; later ones return nil at once
	held      bool                // the key was, when last looked at
	forgotten bool                // the key was, since the twin was made

	// Guarded by the duet's mu.
	memory  memory
	started [2]int // runs, by voice
}

// playDuet plays what data says on so many keys, and returns how often a key was
// called anew that had been forgotten.
func playDuet(t *testing.T, keys int, data []byte) (remade map[string]int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := newDuet(t, keys, data)
		defer d.leaveNothingBehind()
		for step := 0; d.script.More() && step < 120; step++ {
			d.pass()
			d.compare("")
			what := d.act(d.twins[d.script.Pick(keys)])
			synctest.Wait()
			d.compare(what)
		}
		d.end()
		remade = d.remade
	})
	return remade
}

func newDuet(t *testing.T, keys int, data []byte) *duet {
	d := &duet{t: t, data: data, script: reference.NewDecoder(data), begin: time.Now(), remade: make(map[string]int)}
	d.counting = d.script.Pick(2) == 1
	d.policy = d.drawPolicy(throttle.Policy{}, d.script.Byte())
	for key := range keys {
		tw := &twin{key: key, memory: newMemory(d.policy)}
		for range 2 + d.script.Pick(6) {
			script := d.script.Script()
			script.RetryIn = min(script.RetryIn, time.Hour) // as in drawPolicy
			tw.scripts = append(tw.scripts, script)
		}
		d.twins = append(d.twins, tw)
	}
	d.group = throttle.Must(throttle.NewGroup(d.policy, func(_ context.Context, key int) error {
		return d.run(ofGroup, d.twins[key], func() { _ = d.group.Call(key) })
	}, d.options(ofGroup)...))
	return d
}

// drawPolicy draws a valid policy whose periodic runs are not too many to play,
// and whose waits end before time does: how far that is depends on when a
// Throttler was built. It has no Jitter, which each of the two would draw for
// itself.
func (d *duet) drawPolicy(last throttle.Policy, fields byte) throttle.Policy {
	p := d.script.Policy(last, fields)
	p.Retry.Jitter = 0
	for _, wait := range []*time.Duration{&p.Interval, &p.Quiet, &p.MaxWait, &p.MaxInterval, &p.Retry.Initial, &p.Retry.Max} {
		*wait = min(*wait, time.Hour)
	}
	if p.MaxInterval > 0 {
		p.MaxInterval = max(p.MaxInterval, 20*ms)
	}
	if p = reference.Mend(p); p.Validate() != nil {
		return reference.Mend(throttle.Policy{Interval: max(0, p.Interval), Burst: max(0, p.Burst)})
	}
	return p
}

func (d *duet) options(v voice) []throttle.Option {
	options := []throttle.Option{
		throttle.WithErrorHandler(func(err error) { d.write(v, "handler told of %v", err) }),
		throttle.WithObserver(func(run throttle.Run) { d.observe(v, run) }),
	}
	if d.counting {
		options = append(options, throttle.WithCallCount())
	}
	return options
}

func (d *duet) now() time.Duration { return time.Since(d.begin) }

func (d *duet) write(v voice, format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writeLocked(v, format, args...)
}

func (d *duet) writeLocked(v voice, format string, args ...any) {
	d.diary[v] = append(d.diary[v], fmt.Sprintf("%v: ", d.now())+fmt.Sprintf(format, args...))
}

// run is the callback of both.
func (d *duet) run(v voice, tw *twin, call func()) error {
	d.mu.Lock()
	number, script := tw.started[v], reference.Script{}
	tw.started[v]++
	if number < len(tw.scripts) {
		script = tw.scripts[number]
	}
	d.writeLocked(v, "run %d of key %d starts", number, tw.key)
	if v == ofTwin {
		tw.memory.start(d.now())
	}
	d.mu.Unlock()
	defer func() { // even when it panics
		d.mu.Lock()
		defer d.mu.Unlock()
		d.writeLocked(v, "run %d of key %d ends", number, tw.key)
		if v == ofTwin {
			tw.memory.end(d.now(), script)
		}
	}()
	d.callFromInside(v, tw, script.Early, call)
	time.Sleep(script.Length)
	d.callFromInside(v, tw, script.Late, call)
	return script.End(1000*tw.key + number)
}

func (d *duet) callFromInside(v voice, tw *twin, act reference.Act, call func()) {
	if act == reference.ActNone {
		return
	}
	if v == ofTwin {
		d.remember((*memory).call, tw)
	}
	call()
}

func (d *duet) remember(happen func(*memory, time.Duration), tw *twin) {
	d.mu.Lock()
	defer d.mu.Unlock()
	happen(&tw.memory, d.now())
}

func (d *duet) observe(v voice, run throttle.Run) {
	d.mu.Lock()
	defer d.mu.Unlock()
	asked := "nobody"
	if !run.Asked.IsZero() {
		asked = run.Asked.Sub(d.begin).String()
	}
	d.writeLocked(v, "observer told of %s, attempt %d, asked by %v, due %v, from %v to %v, %d calls, error %v", run.Cause, run.Attempt,
		asked, run.Due.Sub(d.begin), run.Started.Sub(d.begin), run.Ended.Sub(d.begin), run.Calls, run.Err)
	if v == ofTwin {
		d.lastIsOne = !run.Ended.Equal(d.lastRun.Ended)
		d.lastRun = run
	}
}

// pass lets time pass, often until the very instant at which something happens.
func (d *duet) pass() {
	now, tw := d.now(), d.twins[d.script.Pick(len(d.twins))]
	to := now
	switch shape := d.script.Byte(); {
	case shape < 40:
	case shape < 100:
		to += d.script.Short()
	case shape < 200:
		d.mu.Lock()
		to = tw.memory.decidesUntil()
		d.mu.Unlock()
		to -= time.Duration(shape % 2)
	default:
		if tw.throttler != nil {
			to = tw.throttler.Stats().Next.Sub(d.begin) - time.Duration(shape%2)
		}
	}
	if to < now || to > now+time.Second {
		to = now + 10*ms
	}
	time.Sleep(to - now)
	synctest.Wait()
}

// act does the next thing to tw on both sides, and tells what.
func (d *duet) act(tw *twin) (what string) {
	switch shape := d.script.Byte(); {
	case shape < 120:
		t := d.called(tw)
		d.write(ofGroup, "%v", d.group.Call(tw.key))
		t.Call()
		d.write(ofTwin, "%v", nil)
		return fmt.Sprintf("Call(%d)", tw.key)
	case shape < 150:
		t, within := d.called(tw), d.script.Duration()
		d.write(ofGroup, "%v", d.group.CallWithin(tw.key, within))
		t.CallWithin(within)
		d.write(ofTwin, "%v", nil)
		return fmt.Sprintf("CallWithin(%d, %v)", tw.key, within)
	case shape < 190:
		t := d.called(tw)
		d.await(tw, "Do", func(ctx context.Context) error { return d.group.Do(ctx, tw.key) }, t.Do)
	case shape < 210:
		d.await(tw, "Flush", func(ctx context.Context) error { return d.group.Flush(ctx, tw.key) }, d.flush(tw))
	case shape < 230:
		d.cancel(tw)
		return fmt.Sprintf("Cancel(%d)", tw.key)
	case shape < 245:
		return d.setPolicy()
	default:
		return "nothing"
	}
	return fmt.Sprintf("waiting method %d, key %d", d.asked, tw.key)
}

// called returns the throttler of tw, which is about to be called: a new one if
// this is the first call.
func (d *duet) called(tw *twin) *throttle.Throttler {
	if tw.throttler == nil {
		var t *throttle.Throttler
		t = throttle.Must(throttle.New(d.policy, func() error { return d.run(ofTwin, tw, t.Call) }, d.options(ofTwin)...))
		tw.throttler = t
	}
	if tw.forgotten && !tw.held {
		for _, feature := range features(d.policy) {
			d.remade[feature]++
		}
	}
	d.remember((*memory).call, tw)
	return tw.throttler
}

// flush returns Flush of tw's throttler: without one there is nothing to wait for.
func (d *duet) flush(tw *twin) func(context.Context) error {
	if tw.throttler == nil {
		return context.Context.Err
	}
	return tw.throttler.Flush
}

// await lets a goroutine on either side wait.
func (d *duet) await(tw *twin, name string, key, plain func(context.Context) error) {
	d.asked++
	number := d.asked
	for v, ask := range []func(context.Context) error{key, plain} {
		d.asking.Go(func() {
			err := ask(context.Background())
			d.write(voice(v), "%d: %s for key %d returns %v", number, name, tw.key, err)
		})
	}
}

func (d *duet) cancel(tw *twin) {
	d.write(ofGroup, "%t", d.group.Cancel(tw.key))
	d.write(ofTwin, "%t", tw.throttler != nil && tw.throttler.Cancel())
	d.remember((*memory).cancel, tw)
}

// setPolicy gives all another policy. What was forgotten under the old one stays
// forgotten, so the twin of a key that is not held is from now on a new one; and
// if the twin of one that is held remembers more than it, all stays as it is.
func (d *duet) setPolicy() string {
	next := d.drawPolicy(d.policy, d.script.Byte())
	if slices.ContainsFunc(d.twins, func(tw *twin) bool { return tw.held && tw.forgotten }) {
		return "no SetPolicy"
	}
	if (next.Quiet > 0) != (d.policy.Quiet > 0) {
		// Without Quiet not every call is remembered. That is the business of
		// the Throttler's own model.
		next = reference.Mend(throttle.Policy{Interval: next.Interval, Burst: next.Burst, From: next.From, Quiet: d.policy.Quiet, Retry: next.Retry})
	}
	d.policy = next
	d.write(ofGroup, "%v", d.group.SetPolicy(next))
	d.write(ofTwin, "%v", nil)
	for _, tw := range d.twins {
		if tw.held {
			d.remember(func(m *memory, _ time.Duration) { m.adopt(next) }, tw)
			if err := tw.throttler.SetPolicy(next); err != nil {
				d.t.Errorf("SetPolicy of the twin: %v", err)
			}
			continue
		}
		if tw.throttler != nil {
			d.retired = append(d.retired, tw.throttler)
		}
		tw.throttler, tw.forgotten = nil, false
		d.mu.Lock()
		tw.memory = newMemory(next)
		d.mu.Unlock()
	}
	return "SetPolicy " + reference.PolicyText(next)
}

// compare holds the group against the twins.
func (d *duet) compare(what string) {
	d.t.Helper()
	d.look()
	d.mu.Lock()
	defer d.mu.Unlock()
	if what != "" {
		d.timeline = append(d.timeline, fmt.Sprintf("%8v  %s", d.now(), what))
	}
	got, want := slices.Sorted(slices.Values(d.diary[ofGroup])), slices.Sorted(slices.Values(d.diary[ofTwin]))
	d.diary = [2][]string{}
	got, want = append(got, d.groupTold()), append(want, d.twinsTold())
	d.timeline = append(d.timeline, reference.Differences("    ONLY THE TWINS:   ", want, "    ONLY THE GROUP:   ", got)...)
	if !slices.Equal(got, want) {
		d.t.Fatalf("group and twins disagree\nbytes: %q\n%s\n%s", d.data, reference.PolicyText(d.policy), strings.Join(d.timeline, "\n"))
	}
}

// look finds out which keys have to be held.
func (d *duet) look() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, tw := range d.twins {
		was := tw.held
		tw.held = false
		if tw.throttler != nil {
			s := tw.throttler.Stats()
			tw.held = s.Pending || s.Running || !s.Next.IsZero() || d.now() < tw.memory.decidesUntil()
		}
		tw.forgotten = tw.forgotten || was && !tw.held
	}
}

func (d *duet) groupTold() string {
	keys := slices.Sorted(d.group.Keys())
	if n := d.group.Len(); n != len(keys) {
		d.t.Errorf("Len is %d, the keys are %v", n, keys)
	}
	return d.told(keys, d.group.Stats())
}

func (d *duet) twinsTold() string {
	var keys []int
	var sum throttle.Stats
	for _, t := range d.retired {
		addStats(&sum, t.Stats())
	}
	for _, tw := range d.twins {
		if tw.held {
			keys = append(keys, tw.key)
		}
		if tw.throttler != nil {
			addStats(&sum, tw.throttler.Stats())
		}
	}
	if !d.lastRun.Ended.IsZero() {
		sum.LastDuration, sum.LastError = d.lastRun.Ended.Sub(d.lastRun.Started), d.lastRun.Err
	}
	return d.told(keys, sum)
}

// told puts Stats, and the keys that are held, into words.
func (d *duet) told(keys []int, s throttle.Stats) string {
	instant := func(at time.Time) string {
		if at.IsZero() {
			return "none"
		}
		return at.Sub(d.begin).String()
	}
	if !d.lastIsOne {
		s.LastDuration, s.LastError = 0, nil // of which key they are is open
	}
	return fmt.Sprintf("holds %v; runs %d, failures %d, panics %d, dropped %d, calls %d, last start %s, took %v, error %v; pending %t, running %t, closed %t, next %s",
		keys, s.Runs, s.Failures, s.Panics, s.Dropped, s.Calls, instant(s.LastStart), s.LastDuration, s.LastError,
		s.Pending, s.Running, s.Closed, instant(s.Next))
}

// addStats adds what Stats tells of a throttler to sum.
func addStats(sum *throttle.Stats, s throttle.Stats) {
	sum.Runs += s.Runs
	sum.Failures += s.Failures
	sum.Panics += s.Panics
	sum.Dropped += s.Dropped
	sum.Calls += s.Calls
	sum.Pending = sum.Pending || s.Pending
	sum.Running = sum.Running || s.Running
	if s.LastStart.After(sum.LastStart) {
		sum.LastStart = s.LastStart
	}
	if sum.Next.IsZero() || !s.Next.IsZero() && s.Next.Before(sum.Next) {
		sum.Next = s.Next
	}
}

// end shuts all down, and compares for the last time.
func (d *duet) end() {
	told, want := d.shutDown()
	d.mu.Lock()
	defer d.mu.Unlock()
	if group, twins := slices.Sorted(slices.Values(d.diary[ofGroup])), slices.Sorted(slices.Values(d.diary[ofTwin])); !slices.Equal(group, twins) {
		d.t.Errorf("Shutdown of group and twins disagree\nbytes: %q\ngroup: %s\ntwins: %s", d.data, strings.Join(group, "\n"), strings.Join(twins, "\n"))
	}
	if !slices.Equal(told, want) {
		d.t.Errorf("bytes: %q\nthe group's Shutdown returns %q, those of the twins %q", d.data, told, want)
	}
	if n := d.group.Len(); n != 0 {
		d.t.Errorf("bytes: %q\n%d keys are held after Shutdown", d.data, n)
	}
}

// shutDown shuts all down, and returns the errors of the group's Shutdown and of
// the twins'.
func (d *duet) shutDown() (group, twins []string) {
	d.asking.Go(func() { group = joined(d.group.Shutdown(context.Background())) })
	for _, tw := range d.twins {
		if tw.throttler != nil {
			d.asking.Go(func() {
				if err := tw.throttler.Shutdown(context.Background()); err != nil {
					d.mu.Lock()
					defer d.mu.Unlock()
					twins = append(twins, err.Error())
				}
			})
		}
	}
	d.asking.Wait()
	synctest.Wait()
	slices.Sort(twins)
	return group, twins
}

// joined returns the texts of the errors that err joins, sorted.
func joined(err error) (texts []string) {
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range all.Unwrap() {
			texts = append(texts, err.Error())
		}
	}
	slices.Sort(texts)
	return texts
}

// leaveNothingBehind lets a script that has failed end without a deadlock, which
// would hide the failure.
func (d *duet) leaveNothingBehind() {
	_ = d.group.Close()
	for _, tw := range d.twins {
		if tw.throttler != nil {
			_ = tw.throttler.Close()
		}
	}
	time.Sleep(time.Hour)
	d.asking.Wait()
	synctest.Wait()
}
