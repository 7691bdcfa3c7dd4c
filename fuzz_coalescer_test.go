package throttle_test

// This file plays the scenarios of package reference on a Coalescer beside a
// Throttler: the two must run at the same instants and tell the same. What the
// Coalescer does with its values is kept in books, see fuzz_books_test.go, which
// must balance when it is closed.

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/internal/testkit/reference"
)

// FuzzCoalescer turns bytes into a scenario and plays it.
func FuzzCoalescer(f *testing.F) {
	random := rand.NewChaCha8([32]byte([]byte("throttle: seeds of FuzzCoalescer")))
	for range 64 {
		f.Add(randomScenario(random))
	}
	f.Fuzz(func(t *testing.T, data []byte) { playInTandem(t, data) })
}

// TestCoalescerAgreesWithThrottler plays random scenarios, the same ones each
// time. They must bring about every fate of a value.
func TestCoalescerAgreesWithThrottler(t *testing.T) {
	const blocks, scenarios = 4, 200
	var (
		mu    sync.Mutex // guards fates
		fates = make(map[string]int)
	)
	t.Run("scenarios", func(t *testing.T) {
		for block := range blocks {
			t.Run(strconv.Itoa(block), func(t *testing.T) {
				t.Parallel()
				random := rand.NewChaCha8([32]byte{byte(block)})
				for range scenarios {
					counts := playInTandem(t, randomScenario(random))
					mu.Lock()
					for fate, count := range counts {
						fates[fate] += count
					}
					mu.Unlock()
				}
			})
		}
	})
	for _, fate := range []string{fateDelivered, fateCanceled, fateLost, fateRefused} {
		t.Logf("%6d  %s", fates[fate], fate)
		if fates[fate] == 0 {
			t.Errorf("no value was %s", fate)
		}
	}
}

// A tandem plays one scenario on a Throttler and on a Coalescer.
type tandem struct {
	t        *testing.T
	data     []byte
	scenario *reference.Scenario
	made     time.Time
	plain    *rider
	laden    *rider
	books    *books // of the laden one
	waiters  sync.WaitGroup
	asked    int  // waiting operations so far
	drained  bool // Shutdown has been called
	timeline []string
}

// playInTandem plays a scenario and returns how many values had which fate.
func playInTandem(t *testing.T, data []byte) (fates map[string]int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := reference.NewDecoder(data).Scenario()
		if s.Policy = carriedPolicy(s.Policy); len(reference.Faults(s.Policy)) > 0 {
			s.Policy = throttle.Every(10 * ms)
		}
		x := &tandem{t: t, data: data, scenario: &s, made: time.Now(), books: newBooks()}
		x.build()
		defer x.leaveNothingBehind()
		for _, step := range s.Steps {
			x.wait(step)
			x.compare("")
			x.do(step)
			x.compare(step.Op.String())
			if x.over() {
				break
			}
		}
		x.end()
		fates = x.books.count()
	})
	return fates
}

// carriedPolicy returns a policy for both machines: a Coalescer has no periodic
// runs, and each would draw its own Jitter.
func carriedPolicy(p throttle.Policy) throttle.Policy {
	p.MaxInterval, p.Retry.Jitter = 0, 0
	return reference.Mend(p)
}

// A machine is a Throttler, or a Coalescer that numbers its values by itself.
type machine interface {
	callWithin(d time.Duration)
	do(ctx context.Context) error
	cancel() bool
	Flush(ctx context.Context) error
	Policy() throttle.Policy
	SetPolicy(p throttle.Policy) error
	Stats() throttle.Stats
	Close() error
	Shutdown(ctx context.Context) error
}

type plainMachine struct{ *throttle.Throttler }

func (m plainMachine) callWithin(d time.Duration)   { m.CallWithin(d) }
func (m plainMachine) do(ctx context.Context) error { return m.Do(ctx) }
func (m plainMachine) cancel() bool                 { return m.Cancel() }

type ladenMachine struct {
	*batcher

	books *books
}

func (m ladenMachine) callWithin(d time.Duration) {
	value := m.books.next()
	m.books.called(value, m.CallWithin([]int{value}, d))
}

func (m ladenMachine) do(ctx context.Context) error {
	value, late := m.books.next(), ctx.Err() != nil
	err := m.Do(ctx, []int{value})
	m.books.done(value, err, late)
	return err
}

func (m ladenMachine) cancel() bool {
	dropped, ok := m.Cancel()
	m.books.record(fateCanceled, dropped...)
	if ok != (len(dropped) > 0) {
		m.books.complain("Cancel returns %v, %t", dropped, ok)
	}
	return ok
}

func (m ladenMachine) Flush(ctx context.Context) error {
	err := m.batcher.Flush(ctx)
	m.books.hear(err)
	return err
}

func (m ladenMachine) Shutdown(ctx context.Context) error {
	err := m.batcher.Shutdown(ctx)
	m.books.hear(err)
	if ended := ctx.Err(); ended != nil && errors.Is(err, ended) {
		return ended // it may be joined with what only a Coalescer knows of
	}
	return err
}

// A rider is one of the two machines, its callback, and what is seen of it.
type rider struct {
	machine

	scenario  *reference.Scenario
	made      time.Time
	endParent context.CancelCauseFunc
	options   []throttle.Option

	mu      sync.Mutex // guards the fields below
	diary   []string   // since the last comparison
	started int        // runs
	ended   int
}

func (x *tandem) newRider() *rider {
	r := &rider{scenario: x.scenario, made: x.made, endParent: func(error) {}}
	r.options = []throttle.Option{throttle.WithObserver(r.observe), throttle.WithCallCount()}
	if x.scenario.Parent {
		parent, end := context.WithCancelCause(context.Background())
		r.endParent = end
		r.options = append(r.options, throttle.WithContext(parent))
	}
	return r
}

func (x *tandem) build() {
	x.plain, x.laden = x.newRider(), x.newRider()
	x.plain.machine = plainMachine{throttle.Must(throttle.New(x.scenario.Policy, x.plain.callback,
		append(x.plain.options, throttle.WithErrorHandler(x.plain.handle))...))}
	c := throttle.Must(throttle.NewCoalescer(x.scenario.Policy, throttle.Append[int], x.deliver,
		append(x.laden.options, throttle.WithErrorHandler(func(err error) {
			x.books.hear(err)
			x.laden.handle(err)
		}))...))
	x.laden.machine = ladenMachine{batcher: c, books: x.books}
}

// deliver is the Coalescer's callback.
func (x *tandem) deliver(ctx context.Context, value []int) error {
	x.books.taken(value)
	err := x.laden.callback(ctx)
	if err == nil {
		x.books.delivered(value)
	}
	return err
}

func (r *rider) elapsed() time.Duration { return time.Since(r.made) }

func (r *rider) write(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writeLocked(format, args...)
}

func (r *rider) writeLocked(format string, args ...any) {
	r.diary = append(r.diary, fmt.Sprintf("%v: ", r.elapsed())+fmt.Sprintf(format, args...))
}

// callback does what the script says.
func (r *rider) callback(ctx context.Context) error {
	r.mu.Lock()
	number := r.started
	r.started++
	r.writeLocked("run %d starts", number)
	r.mu.Unlock()
	defer func() { // even when it panics
		r.mu.Lock()
		defer r.mu.Unlock()
		r.ended++
	}()
	script := r.scenario.Script(number)
	r.act(ctx, script.Early)
	r.work(ctx, script.Length, script.HeedsContext)
	r.act(ctx, script.Late)
	return script.End(number)
}

// work takes a while, if that is not 0. Two timers of no length, looked at by two
// goroutines of a bubble at once, can crash Go 1.26's race detector.
func (r *rider) work(ctx context.Context, length time.Duration, heedsContext bool) {
	timer := time.NewTimer(length)
	defer timer.Stop()
	switch {
	case length == 0:
	case heedsContext:
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	default:
		<-timer.C
	}
}

// act calls a method from inside the callback.
func (r *rider) act(ctx context.Context, act reference.Act) {
	verdict := reference.VerdictOf(nil)
	switch act {
	case reference.ActNone:
		return
	case reference.ActCall:
		r.callWithin(reference.Never)
	case reference.ActCallWithin:
		r.callWithin(reference.ActWithin)
	case reference.ActCancel:
		verdict = strconv.FormatBool(r.cancel())
	case reference.ActSetSamePolicy:
		verdict = reference.VerdictOf(r.SetPolicy(r.Policy()))
	case reference.ActClose:
		verdict = reference.VerdictOf(r.Close())
	case reference.ActDo:
		verdict = reference.VerdictOf(r.machine.do(ctx))
	case reference.ActFlush:
		verdict = reference.VerdictOf(r.Flush(ctx))
	case reference.ActShutdown:
		verdict = reference.VerdictOf(r.Shutdown(ctx))
	}
	r.write("the callback's %v returns %s", act, verdict)
}

// observe writes down a run, with all that is told of it.
func (r *rider) observe(run throttle.Run) {
	since := func(at time.Time) time.Duration { return at.Sub(r.made) }
	r.write("run seen: %s, attempt %d, asked for at %v, due at %v, from %v to %v, for %d calls: %s",
		run.Cause, run.Attempt, since(run.Asked), since(run.Due), since(run.Started), since(run.Ended), run.Calls, reference.VerdictOf(run.Err))
}

// handle writes down an error, but for a value lost without a run, which only a
// Coalescer knows of.
func (r *rider) handle(err error) {
	if !errors.Is(err, throttle.ErrClosed) {
		r.write("the error handler gets %s", reference.VerdictOf(err))
	}
}

// wait lets time pass before a step.
func (x *tandem) wait(s reference.Step) {
	wait := s.Wait
	if s.Aim != reference.AimNowhere {
		wait = 10 * ms
		if next := x.plain.Stats().Next; !next.IsZero() {
			if until := time.Until(next) + s.Wait; until > 0 && until <= time.Second {
				wait = until
			}
		}
	}
	time.Sleep(max(wait, 0))
	synctest.Wait()
}

// do performs a step's operation on both.
func (x *tandem) do(s reference.Step) {
	for _, r := range []*rider{x.plain, x.laden} {
		switch s.Op {
		case reference.OpNothing:
		case reference.OpCall:
			r.callWithin(reference.Never)
		case reference.OpCallWithin:
			r.callWithin(s.Within)
		case reference.OpDo:
			x.await(s, r, r.machine.do)
		case reference.OpFlush:
			x.await(s, r, r.Flush)
		case reference.OpShutdown:
			x.await(s, r, r.Shutdown)
		case reference.OpCancel:
			r.write("Cancel returns %t", r.cancel())
		case reference.OpSetPolicy:
			r.write("SetPolicy returns %s", reference.VerdictOf(r.SetPolicy(carriedPolicy(s.Policy))))
		case reference.OpSetSamePolicy:
			r.write("SetPolicy returns %s", reference.VerdictOf(r.SetPolicy(r.Policy())))
		case reference.OpClose:
			_ = r.Close()
		case reference.OpEndParent:
			if !x.drained { // or who comes first, a run's end or the parent's, would be open
				r.endParent(reference.ErrParentEnded)
			}
		}
		synctest.Wait()
	}
	x.drained = x.drained || s.Op == reference.OpShutdown
	x.asked++
}

// await has a goroutine wait in Do, Flush or Shutdown.
func (x *tandem) await(s reference.Step, r *rider, ask func(context.Context) error) {
	name := fmt.Sprintf("%v (number %d)", s.Op, x.asked)
	x.waiters.Go(func() {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		if s.Late {
			cancel()
		}
		if s.Within > 0 {
			ctx, cancel = context.WithTimeout(ctx, s.Within)
			defer cancel()
		}
		verdict := reference.VerdictOf(ask(ctx))
		r.write("%s returns %s", name, verdict)
	})
}

// over reports whether nothing more can happen.
func (x *tandem) over() bool {
	stats := x.plain.Stats()
	return stats.Closed && !stats.Pending && !stats.Running
}

// compare holds what the two did, and what they tell of themselves, against each
// other. Within one step their order may differ, as goroutines do.
func (x *tandem) compare(what string) {
	x.t.Helper()
	plain, laden := x.plain.look(), x.laden.look()
	x.timeline = append(x.timeline, fmt.Sprintf("%8v  %s", x.plain.elapsed(), what))
	for _, line := range laden.diary {
		x.timeline = append(x.timeline, "        "+line)
	}
	if !slices.Equal(plain.diary, laden.diary) {
		x.fail("the Throttler saw instead: " + strings.Join(plain.diary, "\n"))
	}
	if plain.told != laden.told {
		x.fail(fmt.Sprintf("the Throttler tells %+v\nthe Coalescer tells %+v", plain.told, laden.told))
	}
	if complaint := x.books.complaint(); complaint != "" {
		x.fail(complaint)
	}
}

// A look is what was seen of a rider since the last one, and what it tells.
type look struct {
	diary []string
	told  told
}

type told struct {
	stats     throttle.Stats // but for the error
	lastError string
	policy    throttle.Policy
}

func (r *rider) look() look {
	stats := r.Stats()
	lastError := reference.VerdictOf(stats.LastError)
	stats.LastError = nil
	r.mu.Lock()
	defer r.mu.Unlock()
	diary := slices.Sorted(slices.Values(r.diary))
	r.diary = nil
	return look{diary, told{stats, lastError, r.Policy()}}
}

// end ends the scenario, and tells that nothing is left of it.
func (x *tandem) end() {
	switch x.scenario.Ending {
	case reference.EndWithShutdown:
		x.do(reference.Step{Op: reference.OpShutdown})
	case reference.EndIdle:
		x.do(reference.Step{Op: reference.OpCancel})
	case reference.EndWithClose:
		x.do(reference.Step{Op: reference.OpClose})
	}
	x.compare("the end")
	x.rest()
	x.compare("rest")
	x.do(reference.Step{Op: reference.OpClose})
	x.rest()
	x.waiters.Wait()
	x.do(reference.Step{Op: reference.OpCancel})
	x.do(reference.Step{Op: reference.OpCall})
	x.compare("closed")
	x.books.balance()
	x.compare("books")
}

// rest lets the runs come to their ends.
func (x *tandem) rest() {
	for _, r := range []*rider{x.plain, x.laden} {
		for {
			synctest.Wait()
			r.mu.Lock()
			active := r.started - r.ended
			r.mu.Unlock()
			if active == 0 && !r.Stats().Running {
				break
			}
			time.Sleep(time.Second)
		}
	}
}

// fail prints all that is needed to replay the scenario by hand.
func (x *tandem) fail(why string) {
	x.t.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, "%s\nbytes: %q\n%s\n", why, x.data, reference.PolicyText(x.scenario.Policy))
	for n := range x.laden.started {
		fmt.Fprintf(&text, "run %d: %v\n", n, x.scenario.Script(n))
	}
	x.t.Fatal(text.String() + strings.Join(x.timeline, "\n"))
}

// leaveNothingBehind lets a failed scenario end without a deadlock, which would
// hide the failure.
func (x *tandem) leaveNothingBehind() {
	_ = x.plain.Close()
	_ = x.laden.Close()
	x.rest()
	x.waiters.Wait()
	x.plain.endParent(nil)
	x.laden.endParent(nil)
	synctest.Wait()
}
