package reference

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/throttle-go/throttle"
)

// A GroupReport is the result of PlayGroup.
type GroupReport struct {
	Failure string // how group and twins disagree, with all you need to replay the script by hand; empty if they agree

	// How often a key was called that the Group had forgotten, for each feature of the
	// policy in force, see Features.
	Recalled map[string]int
}

// PlayGroup plays what data says on some keys of a Group and on one plain Throttler
// for each key, its twin, in a bubble of fake time. A twin remembers all that ever
// happened to it, while the Group forgets a key again and again. Still, both must do
// and report the same. PlayGroup fails t only if goroutines are left.
func PlayGroup(t *testing.T, keys int, data []byte) (report GroupReport) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		p := newGroupPlayer(keys, data)
		defer p.leaveNothingBehind()
		for step := 0; p.script.More() && step < 120 && p.failure == ""; step++ {
			p.pass()
			p.compare("time passes")
			if p.failure == "" {
				what := p.act(p.twins[p.script.Pick(keys)])
				synctest.Wait()
				p.compare(what)
			}
		}
		if p.failure == "" {
			p.end()
		}
		report = GroupReport{p.failure, p.recalled}
	})
	return report
}

// A groupPlayer plays one script.
type groupPlayer struct {
	script   *Decoder // the rest of the data
	begin    time.Time
	counting bool // calls are counted
	idle     bool // at the end, the keys are left alone for long
	policy   throttle.Policy
	group    *throttle.Group[int]
	twins    []*twin // by key
	retired  []*throttle.Throttler
	asked    int // waiting operations so far
	asking   sync.WaitGroup
	timeline []string
	failure  string // nothing is compared after the first
	recalled map[string]int

	mu sync.Mutex // guards the fields below, and those of the twins that say so
	// +checklocks:mu
	logs [2][]string // by form, since the last comparison
	// +checklocks:mu
	lastRun throttle.Run // the last run of any twin that has ended
	// +checklocks:mu
	lastIsOne bool // no other run ended at the same time
}

// A twinForm says which of the two plays.
type twinForm int

const (
	ofGroup twinForm = iota
	ofTwin
)

// A twin is a key, with the Throttler that must do the same.
type twin struct {
	key       int
	throttler *throttle.Throttler // nil until the key is called
	scripts   []Script            // of the first runs; later ones return nil at once
	held      bool                // the Group held the key when last looked at
	forgotten bool                // the Group has forgotten the key since the twin was made

	// Guarded by the player's mu.
	runs     [2]int           // started, by form
	instants [4]time.Duration // when something last happened to the twin: see the constants
}

// Instants of a twin that a script may wait from.
const (
	atFirstCall = iota // after the Group had forgotten the key
	atCall
	atStart
	atEnd
)

func newGroupPlayer(keys int, data []byte) *groupPlayer {
	p := &groupPlayer{script: NewDecoder(data), begin: time.Now(), recalled: make(map[string]int)}
	setup := p.script.Byte()
	p.counting, p.idle = setup&1 != 0, setup&2 != 0
	p.policy = p.drawPolicy(throttle.Policy{}, p.script.Byte())
	for key := range keys {
		tw := &twin{key: key}
		for range 2 + p.script.Pick(6) {
			script := p.script.Script()
			script.RetryIn = min(script.RetryIn, time.Hour) // as in drawPolicy
			tw.scripts = append(tw.scripts, script)
		}
		p.twins = append(p.twins, tw)
	}
	p.group = throttle.Must(throttle.NewGroup(p.policy, func(_ context.Context, key int) error {
		return p.run(ofGroup, p.twins[key], func() { _ = p.group.Call(key) })
	}, p.options(ofGroup)...))
	return p
}

// drawPolicy draws a valid policy with few enough periodic runs, and with waits that
// end before time does: where sums saturate depends on when a Throttler was built. It
// has no Jitter, because key and twin would each draw their own.
func (p *groupPlayer) drawPolicy(last throttle.Policy, fields byte) throttle.Policy {
	policy := p.script.Policy(last, fields)
	policy.Retry.Jitter = 0
	for _, wait := range []*time.Duration{
		&policy.Interval, &policy.Quiet, &policy.MaxWait, &policy.MaxInterval, &policy.Retry.Initial, &policy.Retry.Max,
	} {
		*wait = min(*wait, time.Hour)
	}
	if policy.MaxInterval > 0 {
		policy.MaxInterval = max(policy.MaxInterval, 20*time.Millisecond)
	}
	if policy = mend(policy); len(faults(policy)) > 0 {
		return mend(throttle.Policy{Interval: max(0, policy.Interval), Burst: max(0, policy.Burst)})
	}
	return policy
}

func (p *groupPlayer) options(form twinForm) []throttle.Option {
	options := []throttle.Option{
		throttle.WithErrorHandler(func(err error) { p.write(form, "the error handler gets %v", withoutKey(form, err)) }),
		throttle.WithObserver(func(run throttle.Run) { p.observe(form, run) }),
	}
	if p.counting {
		options = append(options, throttle.WithCallCount())
	}
	return options
}

// withoutKey returns the error that the group's handler gets as a *KeyError, so that it
// can be compared with that of the twin.
func withoutKey(form twinForm, err error) error {
	if form == ofTwin {
		return err
	}
	return err.(*throttle.KeyError).Err //nolint:errcheck,errorlint,forcetypeassert // nothing else is right
}

func (p *groupPlayer) now() time.Duration { return time.Since(p.begin) }

func (p *groupPlayer) write(form twinForm, format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writeLocked(form, format, args...)
}

// +checklocks:p.mu
func (p *groupPlayer) writeLocked(form twinForm, format string, args ...any) {
	p.logs[form] = append(p.logs[form], fmt.Sprintf("%v: ", p.now())+fmt.Sprintf(format, args...))
}

// run is the callback of both.
func (p *groupPlayer) run(form twinForm, tw *twin, call func()) error {
	p.mu.Lock()
	number, script := tw.runs[form], Script{}
	tw.runs[form]++
	if number < len(tw.scripts) {
		script = tw.scripts[number]
	}
	p.writeLocked(form, "run %d of key %d starts", number, tw.key)
	tw.instants[atStart] = p.now()
	p.mu.Unlock()
	defer func() { // even when it panics
		p.mu.Lock()
		defer p.mu.Unlock()
		p.writeLocked(form, "run %d of key %d ends", number, tw.key)
		tw.instants[atEnd] = p.now()
	}()
	p.callFromInside(tw, script.Early, call)
	time.Sleep(script.Length)
	p.callFromInside(tw, script.Late, call)
	return script.End(1000*tw.key + number)
}

func (p *groupPlayer) callFromInside(tw *twin, act Act, call func()) {
	if act != ActNone {
		p.note(tw, atCall)
		call()
	}
}

// note records that something happens to tw now.
func (p *groupPlayer) note(tw *twin, instant int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	tw.instants[instant] = p.now()
}

func (p *groupPlayer) observe(form twinForm, run throttle.Run) {
	p.mu.Lock()
	defer p.mu.Unlock()
	asked := "never"
	if !run.Asked.IsZero() {
		asked = run.Asked.Sub(p.begin).String()
	}
	p.writeLocked(form, "the observer gets %s, attempt %d, asked %v, due %v, from %v to %v, %d calls, error %v", run.Cause, run.Attempt,
		asked, run.Due.Sub(p.begin), run.Started.Sub(p.begin), run.Ended.Sub(p.begin), run.Calls, run.Err)
	if form == ofTwin {
		p.lastIsOne = !run.Ended.Equal(p.lastRun.Ended)
		p.lastRun = run
	}
}

// pass lets time pass: for a while, until the next run of a key, or until a duration
// of the policy has passed since something happened to it. The last two may end a
// nanosecond earlier.
func (p *groupPlayer) pass() {
	now, tw := p.now(), p.twins[p.script.Pick(len(p.twins))]
	to := now
	switch shape := p.script.Byte(); {
	case shape < 40:
	case shape < 100:
		to += p.script.Short()
	case shape < 200:
		to = p.drawInstant(tw) - time.Duration(shape%2)
	default:
		if tw.throttler != nil {
			to = tw.throttler.Stats().Next.Sub(p.begin) - time.Duration(shape%2)
		}
	}
	if to < now || to > now+time.Second {
		to = now + 10*time.Millisecond
	}
	time.Sleep(to - now)
	synctest.Wait()
}

// drawInstant draws an instant at which something may change for tw: some durations of
// the policy after something happened to it.
func (p *groupPlayer) drawInstant(tw *twin) time.Duration {
	retry := p.policy.Retry
	var waits []time.Duration
	for _, wait := range []time.Duration{p.policy.Interval, p.policy.Quiet, retry.Initial, 2 * retry.Initial, retry.Max} {
		if wait > 0 {
			waits = append(waits, wait)
		}
	}
	if len(waits) == 0 {
		return p.now()
	}
	p.mu.Lock()
	from := tw.instants[p.script.Pick(len(tw.instants))]
	p.mu.Unlock()
	times := 1
	if p.policy.Burst > 1 {
		times += p.script.Pick(p.policy.Burst)
	}
	return from + time.Duration(times)*waits[p.script.Pick(len(waits))]
}

// act does the next thing to tw on both sides, and describes it.
func (p *groupPlayer) act(tw *twin) (what string) {
	switch shape := p.script.Byte(); {
	case shape < 120:
		t := p.called(tw)
		p.write(ofGroup, "%v", p.group.Call(tw.key))
		t.Call()
		p.write(ofTwin, "%v", nil)
		return fmt.Sprintf("Call(%d)", tw.key)
	case shape < 150:
		t, within := p.called(tw), p.script.Duration()
		p.write(ofGroup, "%v", p.group.CallWithin(tw.key, within))
		t.CallWithin(within)
		p.write(ofTwin, "%v", nil)
		return fmt.Sprintf("CallWithin(%d, %v)", tw.key, within)
	case shape < 190:
		t := p.called(tw)
		p.await(tw, "Do", func(ctx context.Context) error { return p.group.Do(ctx, tw.key) }, t.Do)
	case shape < 210:
		p.await(tw, "Flush", func(ctx context.Context) error { return p.group.Flush(ctx, tw.key) }, tw.flush())
	case shape < 230:
		p.write(ofGroup, "%t", p.group.Cancel(tw.key))
		p.write(ofTwin, "%t", tw.throttler != nil && tw.throttler.Cancel())
		return fmt.Sprintf("Cancel(%d)", tw.key)
	case shape < 245:
		return p.setPolicy()
	default:
		return "nothing"
	}
	return fmt.Sprintf("waiting method %d, key %d", p.asked, tw.key)
}

// called returns the Throttler of tw, which is about to be called: a new one if this
// is the first call.
func (p *groupPlayer) called(tw *twin) *throttle.Throttler {
	if tw.throttler == nil {
		var t *throttle.Throttler
		t = throttle.Must(throttle.New(p.policy, func() error { return p.run(ofTwin, tw, t.Call) }, p.options(ofTwin)...))
		tw.throttler = t
	}
	if !tw.held {
		p.note(tw, atFirstCall)
	}
	if tw.forgotten && !tw.held {
		for _, feature := range features(p.policy) {
			p.recalled[feature]++
		}
	}
	p.note(tw, atCall)
	return tw.throttler
}

// flush returns Flush of tw's Throttler: without one there is nothing to wait for.
func (tw *twin) flush() func(context.Context) error {
	if tw.throttler == nil {
		return context.Context.Err
	}
	return tw.throttler.Flush
}

// await lets a goroutine wait on either side.
func (p *groupPlayer) await(tw *twin, name string, key, plain func(context.Context) error) {
	p.asked++
	number := p.asked
	for form, ask := range []func(context.Context) error{key, plain} {
		p.asking.Go(func() {
			err := ask(context.Background())
			p.write(twinForm(form), "%d: %s for key %d returns %v", number, name, tw.key, err)
		})
	}
}

// setPolicy gives all of them another policy. What the Group has forgotten under the
// old policy stays forgotten, so a key that it does not hold gets a new twin. If it
// holds a key whose twin remembers more than the key, nothing happens.
func (p *groupPlayer) setPolicy() string {
	next := p.drawPolicy(p.policy, p.script.Byte())
	if slices.ContainsFunc(p.twins, func(tw *twin) bool { return tw.held && tw.forgotten }) {
		return "no SetPolicy"
	}
	if (next.Quiet > 0) != (p.policy.Quiet > 0) {
		// Without Quiet, not every call is remembered; Play tests what comes of that.
		next = mend(throttle.Policy{Interval: next.Interval, Burst: next.Burst, From: next.From, Quiet: p.policy.Quiet, Retry: next.Retry})
	}
	p.policy = next
	p.write(ofGroup, "%v", p.group.SetPolicy(next))
	p.write(ofTwin, "%v", nil)
	for _, tw := range p.twins {
		if tw.held {
			if err := tw.throttler.SetPolicy(next); err != nil {
				p.fail(fmt.Sprintf("SetPolicy of the twin: %v", err))
			}
			continue
		}
		if tw.throttler != nil {
			p.retired = append(p.retired, tw.throttler)
		}
		tw.throttler, tw.forgotten = nil, false
	}
	return "SetPolicy " + policyText(next)
}

// fail keeps the first problem, with all you need to replay the script by hand.
func (p *groupPlayer) fail(why string) {
	if p.failure == "" {
		p.failure = why + "\n" + policyText(p.policy) + "\n" + strings.Join(p.timeline, "\n")
	}
}

// compare compares what the Group and the twins did since the last comparison.
func (p *groupPlayer) compare(what string) {
	p.timeline = append(p.timeline, fmt.Sprintf("%8v  %s", p.now(), what))
	p.look()
	p.mu.Lock()
	group, twins := slices.Sorted(slices.Values(p.logs[ofGroup])), slices.Sorted(slices.Values(p.logs[ofTwin]))
	p.logs = [2][]string{}
	p.mu.Unlock()
	group, twins = append(group, p.statsText(p.group.Stats())), append(twins, p.statsText(p.twinStats()))
	p.timeline = append(p.timeline, differences("    ONLY THE TWINS:   ", twins, "    ONLY THE GROUP:   ", group)...)
	if !slices.Equal(group, twins) {
		p.fail("group and twins disagree")
	}
}

// look finds out which keys the Group holds. It may forget only a key whose twin has
// nothing to do.
func (p *groupPlayer) look() {
	keys := slices.Collect(p.group.Keys())
	if n := p.group.Len(); n != len(keys) {
		p.fail(fmt.Sprintf("Len is %d, the keys are %v", n, keys))
	}
	for _, tw := range p.twins {
		held := slices.Contains(keys, tw.key)
		tw.forgotten = tw.forgotten || tw.held && !held
		tw.held = held
		if tw.throttler == nil || held {
			continue
		}
		if s := tw.throttler.Stats(); s.Pending || s.Running || !s.Next.IsZero() {
			p.fail(fmt.Sprintf("key %d is not held, but its twin is at work: %+v", tw.key, s))
		}
	}
}

// twinStats adds up the Stats of all twins.
func (p *groupPlayer) twinStats() (sum throttle.Stats) {
	for _, t := range p.retired {
		addStats(&sum, t.Stats())
	}
	for _, tw := range p.twins {
		if tw.throttler != nil {
			addStats(&sum, tw.throttler.Stats())
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.lastRun.Ended.IsZero() {
		sum.LastDuration, sum.LastError = p.lastRun.Ended.Sub(p.lastRun.Started), p.lastRun.Err
	}
	return sum
}

func (p *groupPlayer) statsText(s throttle.Stats) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.lastIsOne {
		s.LastDuration, s.LastError = 0, nil // they may be those of either key
	}
	return fmt.Sprintf("runs %d, failures %d, panics %d, dropped %d, calls %d, last start %s, took %v, error %v; pending %t, running %t, closed %t, next %s",
		s.Runs, s.Failures, s.Panics, s.Dropped, s.Calls, p.instant(s.LastStart), s.LastDuration, s.LastError,
		s.Pending, s.Running, s.Closed, p.instant(s.Next))
}

// instant returns at as a time since the script's beginning.
func (p *groupPlayer) instant(at time.Time) string {
	if at.IsZero() {
		return "none"
	}
	return at.Sub(p.begin).String()
}

// addStats adds the Stats of one Throttler to sum.
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

// end leaves the keys alone for a day, in half of the scripts, and then shuts all
// down. Either way no key may be left.
func (p *groupPlayer) end() {
	if p.idle && p.policy.MaxInterval == 0 {
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		p.compare("a day later")
		if n := p.group.Len(); n != 0 {
			p.fail(fmt.Sprintf("%d keys are held though nothing has happened for a day", n))
		}
	}
	group, twins := p.shutDown()
	p.mu.Lock()
	groupLog, twinLog := slices.Sorted(slices.Values(p.logs[ofGroup])), slices.Sorted(slices.Values(p.logs[ofTwin]))
	p.mu.Unlock()
	switch n := p.group.Len(); {
	case !slices.Equal(groupLog, twinLog):
		p.fail(fmt.Sprintf("Shutdown of group and twins disagree\ngroup: %s\ntwins: %s", strings.Join(groupLog, "\n"), strings.Join(twinLog, "\n")))
	case !slices.Equal(group, twins):
		p.fail(fmt.Sprintf("the group's Shutdown returns %q, those of the twins return %q", group, twins))
	case n != 0:
		p.fail(fmt.Sprintf("%d keys are held after Shutdown", n))
	}
}

// shutDown shuts all down, and returns the errors of the group's Shutdown and of the
// twins'.
func (p *groupPlayer) shutDown() (group, twins []string) {
	p.asking.Go(func() { group = joinedTexts(p.group.Shutdown(context.Background())) })
	var mu sync.Mutex // guards twins
	for _, tw := range p.twins {
		if tw.throttler != nil {
			p.asking.Go(func() {
				if err := tw.throttler.Shutdown(context.Background()); err != nil {
					mu.Lock()
					defer mu.Unlock()
					twins = append(twins, err.Error())
				}
			})
		}
	}
	p.asking.Wait()
	synctest.Wait()
	slices.Sort(twins)
	return group, twins
}

// joinedTexts returns the texts of the errors that err joins, without their keys, sorted.
func joinedTexts(err error) (texts []string) {
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range all.Unwrap() {
			texts = append(texts, withoutKey(ofGroup, err).Error())
		}
	}
	slices.Sort(texts)
	return texts
}

// leaveNothingBehind lets a script end without a deadlock even if it failed: the
// deadlock would hide the failure.
func (p *groupPlayer) leaveNothingBehind() {
	_ = p.group.Close()
	for _, tw := range p.twins {
		if tw.throttler != nil {
			_ = tw.throttler.Close()
		}
	}
	time.Sleep(time.Hour)
	p.asking.Wait()
	synctest.Wait()
}

// policyFeatures are what a policy may have that a key has to remember something for.
func policyFeatures() map[string]func(throttle.Policy) bool {
	return map[string]func(throttle.Policy) bool{
		"Interval":          func(p throttle.Policy) bool { return p.Interval > 0 },
		"Burst":             func(p throttle.Policy) bool { return p.Burst > 1 },
		"FromEnd":           func(p throttle.Policy) bool { return p.Interval > 0 && p.From == throttle.FromEnd },
		"Quiet":             func(p throttle.Policy) bool { return p.Quiet > 0 },
		"MaxWait":           func(p throttle.Policy) bool { return p.MaxWait > 0 },
		"MaxCalls":          func(p throttle.Policy) bool { return p.MaxCalls > 0 },
		"leading only":      func(p throttle.Policy) bool { return p.Edges == throttle.Leading },
		"trailing only":     func(p throttle.Policy) bool { return p.Edges == throttle.Trailing },
		"leading and Quiet": func(p throttle.Policy) bool { return p.Edges&throttle.Leading != 0 && p.Quiet > 0 },
		"Retry":             func(p throttle.Policy) bool { return p.Retry.Initial > 0 },
		"MaxAttempts":       func(p throttle.Policy) bool { return p.Retry.MaxAttempts > 0 },
		"Eager":             func(p throttle.Policy) bool { return p.Retry.Eager },
	}
}

// Features returns the names of all policy features that a GroupReport counts, sorted.
func Features() []string { return slices.Sorted(maps.Keys(policyFeatures())) }

func features(p throttle.Policy) (names []string) {
	for name, has := range policyFeatures() {
		if has(p) {
			names = append(names, name)
		}
	}
	return names
}
