package reference

import (
	"context"
	"errors"
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
	// policy in force; and how often what else Features lists was reached.
	Reached map[string]int
}

// PlayGroup plays what data says on some keys of a Group and on one plain Throttler
// for each key, its twin, in a bubble of fake time. A twin remembers all that ever
// happened to it until Remove, while the Group forgets a key again and again. Still, both
// must do and report the same. PlayGroup fails t only if goroutines are left.
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
		report = p.report()
	})
	return report
}

// A groupPlayer plays one script.
type groupPlayer struct {
	script   *Decoder // the rest of the data
	begin    time.Time
	counting bool // calls are counted
	idle     bool // at the end, the keys are left alone for long
	group    *throttle.Group[int]
	twins    []*twin // by key
	asked    int     // waiting operations so far
	asking   sync.WaitGroup
	timeline []string
	failure  string // nothing is compared after the first

	mu sync.Mutex // guards the fields below, and those of the twins that say so
	// Only the script changes these two, and may read them without mu.
	policy throttle.Policy
	paused bool
	// +checklocks:mu
	reached map[string]int
	// +checklocks:mu
	retired []*throttle.Throttler // of twins that have another now
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

func newGroupPlayer(keys int, data []byte) *groupPlayer {
	p := &groupPlayer{script: NewDecoder(data), begin: time.Now(), reached: make(map[string]int)}
	setup := p.script.Byte()
	p.counting, p.idle = setup&1 != 0, setup&2 != 0
	p.policy = p.drawPolicy(throttle.Policy{}, p.script.Byte())
	for key := range keys {
		tw := &twin{player: p, key: key}
		for range 2 + p.script.Pick(6) {
			script := p.script.Script()
			script.RetryIn = min(script.RetryIn, time.Hour) // as in drawPolicy
			tw.scripts = append(tw.scripts, script)
		}
		p.twins = append(p.twins, tw)
	}
	options := append(p.options(), throttle.WithErrorHandler(p.handleKeyed),
		throttle.WithObserver(func(run throttle.Run) { p.observe(ofGroup, run) }))
	if p.paused = setup&12 == 12; p.paused {
		options = append(options, throttle.WithPaused())
	}
	p.group = throttle.Must(throttle.NewGroup(p.policy, func(_ context.Context, key int) error {
		return p.run(ofGroup, p.twins[key], func(act Act) { p.actOn(key, act) })
	}, options...))
	return p
}

// actOn is what the group's callback does to its own key.
func (p *groupPlayer) actOn(key int, act Act) {
	if removes(act) {
		p.group.Remove(key)
	} else {
		_ = p.group.Call(key)
	}
}

// removes reports whether the callback removes its own key. Otherwise it calls.
func removes(act Act) bool {
	return act == ActCancel || act == ActClose || act == ActShutdown || act == ActPause
}

// drawPolicy draws a valid policy with few enough periodic runs, and with waits that
// end before time does: where sums saturate depends on when a Throttler was built. It
// has no Jitter of either kind, because key and twin would each draw their own.
func (p *groupPlayer) drawPolicy(last throttle.Policy, fields byte) throttle.Policy {
	policy := p.script.Policy(last, fields)
	policy.Retry.Jitter, policy.Jitter = 0, 0
	if policy.MaxLoad > 0 {
		policy.MaxLoad = max(policy.MaxLoad, 0.1)
	}
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

func (p *groupPlayer) options() (options []throttle.Option) {
	if p.counting {
		options = append(options, throttle.WithCallCount())
	}
	return options
}

// handle is the error handler of a twin.
func (p *groupPlayer) handle(form twinForm, key int, err error) {
	p.write(form, "the error handler gets %v of key %d", err, key)
}

// handleKeyed is the error handler of the group.
func (p *groupPlayer) handleKeyed(err error) {
	key, err := withoutKey(err)
	p.handle(ofGroup, key, err)
}

// withoutKey returns what a *KeyError consists of. There is no key -1.
func withoutKey(err error) (key int, inner error) {
	keyed, ok := err.(*throttle.KeyError) //nolint:errorlint // nothing may wrap it
	if !ok {
		return -1, err
	}
	key, ok = keyed.Key.(int)
	if !ok {
		return -1, err
	}
	return key, keyed.Err
}

func (p *groupPlayer) report() GroupReport {
	p.mu.Lock()
	defer p.mu.Unlock()
	return GroupReport{p.failure, p.reached}
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

// run is the callback of both. It begins and ends by act.
func (p *groupPlayer) run(form twinForm, tw *twin, act func(Act)) error {
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
	if script.Early != ActNone {
		act(script.Early)
	}
	time.Sleep(script.Length)
	if script.Late != ActNone {
		act(script.Late)
	}
	return script.End(1000*tw.key + number)
}

func (p *groupPlayer) observe(form twinForm, run throttle.Run) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writeLocked(form, "the observer gets %s, attempt %d, asked %v, due %v, from %v to %v, again %v, %d calls, error %v", run.Cause, run.Attempt,
		p.instant(run.Asked), p.instant(run.Due), p.instant(run.Started), p.instant(run.Ended), p.instant(run.Retry), run.Calls, run.Err)
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
		for _, t := range tw.throttlers() {
			to = t.Stats().Next.Sub(p.begin) - time.Duration(shape%2)
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
	if p.policy.MaxLoad > 0 && tw.throttler != nil {
		took := float64(tw.throttler.Stats().LastDuration)
		waits = append(waits, time.Duration(took*(1/p.policy.MaxLoad-1)))
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
	case shape < 110:
		t := p.called(tw)
		p.write(ofGroup, "%v", p.group.Call(tw.key))
		t.Call()
		p.write(ofTwin, "%v", nil)
		return fmt.Sprintf("Call(%d)", tw.key)
	case shape < 138:
		t, within := p.called(tw), p.script.Duration()
		p.write(ofGroup, "%v", p.group.CallWithin(tw.key, within))
		t.CallWithin(within)
		p.write(ofTwin, "%v", nil)
		return fmt.Sprintf("CallWithin(%d, %v)", tw.key, within)
	case shape < 176:
		t := p.called(tw)
		p.await(tw, "Do", func(ctx context.Context) error { return p.group.Do(ctx, tw.key) }, t.Do)
	case shape < 194:
		p.await(tw, "Flush", func(ctx context.Context) error { return p.group.Flush(ctx, tw.key) }, tw.flush())
	case shape < 204:
		p.write(ofGroup, "%t", p.group.Cancel(tw.key))
		p.write(ofTwin, "%t", tw.cancel())
		return fmt.Sprintf("Cancel(%d)", tw.key)
	case shape < 222:
		p.write(ofGroup, "%t", p.group.Remove(tw.key))
		p.write(ofTwin, "%t", tw.remove())
		return fmt.Sprintf("Remove(%d)", tw.key)
	default:
		return p.actOnAll(shape)
	}
	return fmt.Sprintf("waiting method %d, key %d", p.asked, tw.key)
}

// actOnAll does the next thing to all keys, and describes it.
func (p *groupPlayer) actOnAll(shape byte) (what string) {
	switch {
	case shape < 233:
		return p.setPolicy()
	case shape < 237:
		p.setPaused(true)
		return "Pause"
	case shape < 247:
		p.setPaused(false)
		return "Resume"
	case shape < 252:
		p.wait()
		return "Wait"
	default:
		return "nothing"
	}
}

// called returns the Throttler that is about to be called in the place of tw.
func (p *groupPlayer) called(tw *twin) *throttle.Throttler {
	p.mu.Lock()
	if !tw.held {
		tw.instants[atFirstCall] = p.now()
	}
	if tw.forgotten && !tw.held {
		for _, feature := range features(p.policy) {
			p.reached[feature]++
		}
	}
	p.mu.Unlock()
	return tw.called()
}

// setPaused pauses all, or ends the pause.
func (p *groupPlayer) setPaused(paused bool) {
	p.mu.Lock()
	p.paused = paused
	p.mu.Unlock()
	if paused {
		p.group.Pause()
	} else {
		p.group.Resume()
	}
	for _, tw := range p.twins {
		tw.setPaused(paused)
	}
}

// wait lets a goroutine wait on either side for all runs that are active now.
func (p *groupPlayer) wait() {
	p.asking.Go(func() { p.write(ofGroup, "Wait returns %q", joinedTexts(p.group.Wait(context.Background()))) })
	p.askTwins((*throttle.Throttler).Wait, func(texts []string) { p.write(ofTwin, "Wait returns %q", texts) })
}

// askTwins lets goroutines wait for all twins at once, and passes the texts of their
// errors on, with keys and sorted.
func (p *groupPlayer) askTwins(ask func(*throttle.Throttler, context.Context) error, report func(texts []string)) {
	var asking sync.WaitGroup
	var mu sync.Mutex // guards texts
	var texts []string
	for _, tw := range p.twins {
		for _, t := range tw.throttlers() {
			asking.Go(func() {
				if err := ask(t, context.Background()); err != nil {
					mu.Lock()
					defer mu.Unlock()
					texts = append(texts, textOf(tw.key, err))
				}
			})
		}
	}
	p.asking.Go(func() {
		asking.Wait()
		slices.Sort(texts)
		report(slices.Compact(texts))
	})
}

// textOf describes an error of a key. A paused Group has one error for all keys.
func textOf(key int, err error) string {
	if verdict := verdictOf(err); verdict == verdictPaused {
		return verdict
	}
	return fmt.Sprintf("key %d: %v", key, err)
}

// await lets a goroutine wait on either side.
func (p *groupPlayer) await(tw *twin, name string, key, plain func(context.Context) error) {
	p.asked++
	number, removed, quiet := p.asked, tw.isRemoved(), p.policy.Quiet
	for form, ask := range []func(context.Context) error{key, plain} {
		p.asking.Go(func() {
			err := ask(context.Background())
			if removed && errors.Is(err, throttle.ErrThrottled) && twinForm(form) == ofTwin {
				err = &throttle.ThrottledError{RetryAfter: quiet} // the old window does not count
			}
			p.write(twinForm(form), "%d: %s for key %d returns %v", number, name, tw.key, err)
		})
	}
}

// setPolicy gives all of them another policy. What the Group has forgotten under the
// old policy stays forgotten, so a key that it does not hold gets a new twin. If it
// holds a key whose twin remembers more than the key, nothing happens.
func (p *groupPlayer) setPolicy() string {
	next := p.drawPolicy(p.policy, p.script.Byte())
	if slices.ContainsFunc(p.twins, (*twin).remembersMore) {
		return "no SetPolicy"
	}
	if (next.Quiet > 0) != (p.policy.Quiet > 0) {
		// Without Quiet, not every call is remembered; Play tests what comes of that.
		next = mend(throttle.Policy{Interval: next.Interval, Burst: next.Burst, From: next.From, Quiet: p.policy.Quiet, Retry: next.Retry})
	}
	p.mu.Lock()
	p.policy = next
	p.mu.Unlock()
	p.write(ofGroup, "%v", p.group.SetPolicy(next))
	p.write(ofTwin, "%v", nil)
	for _, tw := range p.twins {
		if err := tw.setPolicy(); err != nil {
			p.fail(fmt.Sprintf("SetPolicy of the twin: %v", err))
		}
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

// look finds out which keys the Group holds.
func (p *groupPlayer) look() {
	keys := slices.Collect(p.group.Keys())
	if n := p.group.Len(); n != len(keys) {
		p.fail(fmt.Sprintf("Len is %d, the keys are %v", n, keys))
	}
	for _, tw := range p.twins {
		if wrong := tw.look(slices.Contains(keys, tw.key)); wrong != "" {
			p.fail(fmt.Sprintf("key %d %s", tw.key, wrong))
		}
	}
}

// retireLocked ends a Throttler that a twin no longer needs.
//
// +checklocks:p.mu
func (p *groupPlayer) retireLocked(t *throttle.Throttler) {
	p.retired = append(p.retired, t)
	_ = t.Close()
}

// twinStats adds up the Stats of all twins.
func (p *groupPlayer) twinStats() (sum throttle.Stats) {
	for _, tw := range p.twins {
		tw.addTo(&sum)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range p.retired {
		addStats(&sum, t.Stats())
	}
	sum.Paused = p.paused
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
	next := p.instant(s.Next)
	if slices.ContainsFunc(p.twins, (*twin).nextIsOpenLocked) {
		next = "open"
	}
	return fmt.Sprintf("runs %d, failures %d, panics %d, dropped %d, calls %d, last start %s, took %v, error %v; pending %t, running %t, paused %t, closed %t, next %s",
		s.Runs, s.Failures, s.Panics, s.Dropped, s.Calls, p.instant(s.LastStart), s.LastDuration, s.LastError,
		s.Pending, s.Running, s.Paused, s.Closed, next)
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
	for slices.ContainsFunc(p.twins, (*twin).isRemoved) { // a twin that waits for that is paused
		time.Sleep(time.Millisecond)
		synctest.Wait()
	}
	p.compare("removed keys are forgotten")
	if p.idle && p.policy.MaxInterval == 0 {
		p.setPaused(false)
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
	p.askTwins((*throttle.Throttler).Shutdown, func(texts []string) { twins = texts })
	p.asking.Wait()
	synctest.Wait()
	if slices.Contains(twins, verdictPaused) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.reached[shutdownPaused]++
	}
	return group, twins
}

// joinedTexts returns the texts of the errors that err joins, sorted.
func joinedTexts(err error) (texts []string) {
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range all.Unwrap() {
			texts = append(texts, textOf(withoutKey(err)))
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
		for _, t := range tw.throttlers() {
			_ = t.Close()
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
		"MaxLoad":           func(p throttle.Policy) bool { return p.MaxLoad > 0 },
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

// What else a GroupReport counts.
const (
	removedPending    = "Remove: a call or a retry was pending"
	removedRunning    = "Remove: a run was active"
	calledAfterRemove = "Remove: a call came before the active run had ended"
	shutdownPaused    = "Shutdown of a paused Group dropped something"
)

// Features returns the names of all that a GroupReport counts, sorted.
func Features() []string {
	features := slices.Collect(maps.Keys(policyFeatures()))
	return slices.Sorted(slices.Values(append(features, removedPending, removedRunning, calledAfterRemove, shutdownPaused)))
}

func features(p throttle.Policy) (names []string) {
	for name, has := range policyFeatures() {
		if has(p) {
			names = append(names, name)
		}
	}
	return names
}
