package throttle_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/internal/testkit/reference"
)

// A stage is a Coalescer in a state in which it can lose values.
type stage struct {
	*valueRecorder

	coalescer *batcher
	parent    *slowContext
	end       context.CancelCauseFunc // of the parent
	waiters   []*waiter
	told      error // to whoever ended the Coalescer, instead of the handler
}

// do hands over n with Do, in a goroutine that waits.
func (s *stage) do(n int) {
	s.waiters = append(s.waiters, await(func() error { return s.coalescer.Do(context.Background(), []int{n}) }))
	synctest.Wait()
}

// A lossState is a state of a Coalescer at 50 ms, and what happens to its values from
// there. Call has handed over the numbers below 10, Do the others.
type lossState struct {
	name     string
	policy   throttle.Policy
	script   []scripted
	enter    func(s *stage)
	closed   outlook
	shutDown outlook
	canceled outlook
}

// An outlook is what happens to values.
type outlook struct {
	taken   []string // by runs, all in all
	waiters []string // the lost value that each waiter gets, "" for another error or none
	handler []string // the lost values that the error handler gets, in any order
	dropped []int    // returned by Cancel

	shutdown string // the lost value that Shutdown returns
}

// call hands over n.
func (s *stage) call(n int) { _ = s.coalescer.Call([]int{n}) }

// enterSlowly makes the next run take a second between its start and its callback.
func (s *stage) enterSlowly() { s.parent.wait.Store(int64(time.Second)) }

var (
	slowHooks = 500 * ms // if the first run fails
	hourly    = throttle.Every(time.Hour)
	retries   = backoff(time.Hour, 0)
)

var lossStates = []lossState{
	{name: "idle", policy: hourly, enter: func(s *stage) { s.call(1) },
		closed: outlook{taken: []string{"0 [1]"}}, shutDown: outlook{taken: []string{"0 [1]"}}, canceled: outlook{taken: []string{"0 [1]"}}},
	{name: "pending", policy: throttle.Debounce(time.Hour, 0), enter: func(s *stage) { s.call(1); s.call(2) },
		closed: outlook{handler: []string{"[1 2]"}}, shutDown: outlook{taken: []string{"50 [1 2]"}}, canceled: outlook{dropped: []int{1, 2}}},
	{name: "pending, with waiters", policy: throttle.Debounce(time.Hour, 0), enter: func(s *stage) { s.call(1); s.do(10); s.do(20) },
		closed:   outlook{waiters: []string{"[1 10 20]", "[1 10 20]"}},
		shutDown: outlook{taken: []string{"50 [1 10 20]"}, waiters: []string{"", ""}},
		canceled: outlook{waiters: []string{"", ""}, dropped: []int{1, 10, 20}}},
	{name: "pending, to fail", policy: throttle.Debounce(time.Hour, 0), script: fails(1), enter: func(s *stage) { s.call(1) },
		closed: outlook{handler: []string{"[1]"}}, shutDown: outlook{taken: []string{"50 [1]"}, shutdown: "[1]"}, canceled: outlook{dropped: []int{1}}},

	{name: "started, not entered", policy: hourly, enter: func(s *stage) { s.enterSlowly(); s.call(1) },
		closed: outlook{handler: []string{"[1]"}}, shutDown: outlook{taken: []string{"1000 [1]"}}, canceled: outlook{taken: []string{"1000 [1]"}}},
	{name: "started, not entered, with a waiter", policy: hourly, enter: func(s *stage) { s.enterSlowly(); s.do(10) },
		closed:   outlook{waiters: []string{"[10]"}},
		shutDown: outlook{taken: []string{"1000 [10]"}, waiters: []string{""}},
		canceled: outlook{taken: []string{"1000 [10]"}, waiters: []string{""}}},
	{name: "started, not entered, and pending", policy: hourly, enter: func(s *stage) { s.enterSlowly(); s.call(1); s.call(2) },
		closed:   outlook{handler: []string{"[1]", "[2]"}},
		shutDown: outlook{taken: []string{"1000 [1]", "1000 [2]"}},
		canceled: outlook{taken: []string{"1000 [1]"}, dropped: []int{2}}},
	{name: "started, not entered, and pending, with waiters", policy: hourly, enter: func(s *stage) { s.enterSlowly(); s.do(10); s.do(20) },
		closed:   outlook{waiters: []string{"[10]", "[20]"}},
		shutDown: outlook{taken: []string{"1000 [10]", "1000 [20]"}, waiters: []string{"", ""}},
		canceled: outlook{taken: []string{"1000 [10]"}, waiters: []string{"", ""}, dropped: []int{20}}},
	{name: "retry started, not entered", policy: backoff(20*ms, 0), script: fails(1), enter: func(s *stage) { s.call(1); s.until(10); s.enterSlowly() },
		closed:   outlook{taken: []string{"0 [1]"}, handler: []string{"[1]"}},
		shutDown: outlook{taken: []string{"0 [1]", "1020 [1]"}}, canceled: outlook{taken: []string{"0 [1]", "1020 [1]"}}},

	{name: "running to success", script: []scripted{takes(200*ms, nil)}, enter: func(s *stage) { s.do(10) },
		closed:   outlook{taken: []string{"0 [10]"}, waiters: []string{""}},
		shutDown: outlook{taken: []string{"0 [10]"}, waiters: []string{""}}, canceled: outlook{taken: []string{"0 [10]"}, waiters: []string{""}}},
	{name: "running to failure", policy: retries, script: []scripted{takes(200*ms, errFailed)}, enter: func(s *stage) { s.call(1) },
		closed:   outlook{taken: []string{"0 [1]"}, handler: []string{"[1]"}},
		shutDown: outlook{taken: []string{"0 [1]"}, shutdown: "[1]"},
		canceled: outlook{taken: []string{"0 [1]"}, handler: []string{"[1]"}}},
	{name: "running to failure, with a waiter", policy: retries, script: []scripted{takes(200*ms, errFailed)}, enter: func(s *stage) { s.do(10) },
		closed:   outlook{taken: []string{"0 [10]"}, waiters: []string{"[10]"}},
		shutDown: outlook{taken: []string{"0 [10]"}, waiters: []string{"[10]"}, shutdown: "[10]"},
		canceled: outlook{taken: []string{"0 [10]"}, waiters: []string{"[10]"}}},
	{name: "running to RetryIn", script: []scripted{takes(200*ms, throttle.RetryIn(0))}, enter: func(s *stage) { s.call(1) },
		closed:   outlook{taken: []string{"0 [1]"}, handler: []string{"[1]"}},
		shutDown: outlook{taken: []string{"0 [1]"}, shutdown: "[1]"},
		canceled: outlook{taken: []string{"0 [1]"}, handler: []string{"[1]"}}},
	{name: "running to failure, and pending", policy: retries, script: []scripted{takes(200*ms, errFailed)}, enter: func(s *stage) { s.call(1); s.until(10); s.call(2) },
		closed:   outlook{taken: []string{"0 [1]"}, handler: []string{"[2]", "[1]"}},
		shutDown: outlook{taken: []string{"0 [1]", "200 [2]"}, shutdown: "[1]"},
		canceled: outlook{taken: []string{"0 [1]"}, handler: []string{"[1]"}, dropped: []int{2}}},

	{name: "waiting for a retry", policy: retries, script: fails(1), enter: func(s *stage) { s.call(1) },
		closed:   outlook{taken: []string{"0 [1]"}, handler: []string{"[1]"}},
		shutDown: outlook{taken: []string{"0 [1]", "50 [1]"}},
		canceled: outlook{taken: []string{"0 [1]"}, dropped: []int{1}}},
	{name: "waiting for a retry that fails again", policy: retries, script: fails(2), enter: func(s *stage) { s.call(1) },
		closed:   outlook{taken: []string{"0 [1]"}, handler: []string{"[1]"}},
		shutDown: outlook{taken: []string{"0 [1]", "50 [1]"}, shutdown: "[1]"},
		canceled: outlook{taken: []string{"0 [1]"}, dropped: []int{1}}},
	{name: "waiting for a retry, with a waiter", policy: retries, script: fails(1), enter: func(s *stage) { s.call(1); s.until(10); s.do(20) },
		closed:   outlook{taken: []string{"0 [1]"}, waiters: []string{"[1 20]"}},
		shutDown: outlook{taken: []string{"0 [1]", "50 [1 20]"}, waiters: []string{""}},
		canceled: outlook{taken: []string{"0 [1]"}, waiters: []string{""}, dropped: []int{1, 20}}},

	{name: "in the hooks, value kept", policy: retries, script: []scripted{takes(ms, errFailed)}, enter: func(s *stage) { s.call(1) },
		closed:   outlook{taken: []string{"0 [1]"}, handler: []string{"[1]"}},
		shutDown: outlook{taken: []string{"0 [1]", "501 [1]"}},
		canceled: outlook{taken: []string{"0 [1]"}, dropped: []int{1}}},
	{name: "in the hooks, value kept, and pending", policy: retries, script: []scripted{takes(ms, errFailed)}, enter: func(s *stage) { s.call(1); s.until(10); s.call(2) },
		closed:   outlook{taken: []string{"0 [1]"}, handler: []string{"[1 2]"}},
		shutDown: outlook{taken: []string{"0 [1]", "501 [1 2]"}},
		canceled: outlook{taken: []string{"0 [1]"}, dropped: []int{1, 2}}},
	{name: "in the hooks, value kept, with a waiter", policy: retries, script: []scripted{takes(ms, errFailed)}, enter: func(s *stage) { s.do(10); s.do(20) },
		closed:   outlook{taken: []string{"0 [10]"}, waiters: []string{"", "[10 20]"}},
		shutDown: outlook{taken: []string{"0 [10]", "501 [10 20]"}, waiters: []string{"", ""}},
		canceled: outlook{taken: []string{"0 [10]"}, waiters: []string{"", ""}, dropped: []int{10, 20}}},
	{name: "in the hooks, value lost", script: []scripted{takes(ms, errFailed)}, enter: func(s *stage) { s.call(1) },
		closed:   outlook{taken: []string{"0 [1]"}, handler: []string{"[1]"}},
		shutDown: outlook{taken: []string{"0 [1]"}, handler: []string{"[1]"}},
		canceled: outlook{taken: []string{"0 [1]"}, handler: []string{"[1]"}}},
}

// begin returns a Coalescer in the state, at 50 ms.
func (ls *lossState) begin(t *testing.T) *stage {
	t.Helper()
	parent, end := context.WithCancelCause(context.Background())
	s := &stage{valueRecorder: newValueRecorder(ls.script...), parent: &slowContext{Context: parent}, end: end}
	slow := throttle.WithObserver(func(run throttle.Run) {
		if run.Err != nil && strings.HasPrefix(ls.name, "in the hooks") {
			time.Sleep(slowHooks)
		}
	})
	s.coalescer = s.valueRecorder.coalescer(t, ls.policy, throttle.WithContext(s.parent), throttle.WithName("batch"), slow)
	t.Cleanup(func() { end(nil) })
	ls.enter(s)
	s.until(50)
	return s
}

// handled returns how many errors the handler has got so far.
func (s *stage) handled() int {
	s.recorder.mu.Lock()
	defer s.recorder.mu.Unlock()
	return len(s.heard)
}

// require checks what happened to all values.
func (s *stage) require(t *testing.T, want outlook) {
	t.Helper()
	require.ElementsMatch(t, want.taken, s.taken())
	var answers []string
	waited := make(map[*throttle.LostError]bool)
	for _, w := range s.waiters {
		answers = append(answers, strings.Join(lostBy(w.result(t)), ""))
		for _, lost := range reference.LostErrors(w.err) {
			waited[lost] = true
		}
	}
	require.Equal(t, want.waiters, answers)
	heard := s.errors()
	for _, lost := range reference.LostErrors(s.told) { // what nobody else waits for, the handler would have got
		if !waited[lost] && !errors.Is(lost, throttle.ErrUndecided) {
			heard = append(heard, lost)
		}
	}
	require.ElementsMatch(t, want.handler, lostBy(heard...))
	require.Empty(t, s.coalescer.Cancel(), "a value is left")
	require.ErrorIs(t, s.coalescer.Call([]int{99}), throttle.ErrClosed)
	require.False(t, s.coalescer.Stats().Pending)
}

func TestCoalescer_Close(t *testing.T) {
	gone := errors.New("the parent is gone")
	ends := map[string]func(s *stage) error{
		"Close": func(s *stage) error { return s.coalescer.Close() },
		"parent": func(s *stage) error {
			s.end(gone)
			synctest.Wait()
			return nil
		},
		"Shutdown": func(s *stage) error { // it tells its caller what it leaves
			ended, end := context.WithCancel(context.Background())
			end()
			return s.coalescer.Shutdown(ended)
		},
	}
	for _, state := range lossStates {
		for name, end := range ends {
			t.Run(state.name+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := state.begin(t)
					s.told = end(s)
					require.Equal(t, 50, s.elapsed(), "has waited")
					heard := s.handled()
					s.until(10_000)
					for i, err := range s.errors() {
						if errors.Is(err, throttle.ErrClosed) {
							require.Less(t, i, heard, "reported after the end")
							require.Equal(t, name == "parent", errors.Is(err, gone))
						}
					}
					s.require(t, state.closed)
				})
			})
		}
	}
}

// TestCoalescer_Shutdown checks that only a run that fails loses a value.
func TestCoalescer_Shutdown(t *testing.T) {
	for _, state := range lossStates {
		t.Run(state.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := state.begin(t)
				w := await(func() error { return s.coalescer.Shutdown(context.Background()) })
				s.until(10_000)
				require.Equal(t, state.shutDown.shutdown, strings.Join(lostBy(w.result(t)), ""))
				s.require(t, state.shutDown)
			})
		})
	}
}

// TestCoalescer_Shutdown_refuses makes calls while Shutdown drains, and a batch that would
// take their values still waits.
func TestCoalescer_Shutdown_refuses(t *testing.T) {
	ctx := context.Background()
	for name, call := range map[string]func(*batcher) error{
		"Call":       func(c *batcher) error { return c.Call([]int{3}) },
		"CallWithin": func(c *batcher) error { return c.CallWithin([]int{3}, time.Hour) },
		"Send":       func(c *batcher) error { return c.Send(ctx, []int{3}) },
		"Do":         func(c *batcher) error { return c.Do(ctx, []int{3}) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newValueRecorder(takes(time.Second, nil))
				c := l.coalescer(t, throttle.Policy{})
				require.NoError(t, c.Call([]int{1}))
				l.until(10)
				require.NoError(t, c.Call([]int{2}))
				shutdown := await(func() error { return c.Shutdown(ctx) })
				l.until(20)
				require.ErrorIs(t, call(c), throttle.ErrClosed)
				l.until(3000)
				require.NoError(t, shutdown.result(t))
				require.Equal(t, []string{"0 [1]", "1000 [2]"}, l.taken())
			})
		})
	}
}

func TestCoalescer_Cancel(t *testing.T) {
	for _, state := range lossStates {
		t.Run(state.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := state.begin(t)
				require.Equal(t, state.canceled.dropped, slices.Concat(s.coalescer.Cancel()...))
				s.until(10_000)
				_ = s.coalescer.Close()
				s.require(t, state.canceled)
			})
		})
	}
}

// TestCoalescer_Shutdown_contextEnds lets Close drop a value for which Shutdown
// waits. Then Shutdown's context ends while another run is active. That run fails later.
func TestCoalescer_Shutdown_contextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newValueRecorder(takes(time.Second, errFailed))
		c := l.coalescer(t, throttle.Every(time.Hour))
		require.NoError(t, c.Call([]int{1}))
		l.until(10)
		require.NoError(t, c.Call([]int{2}))
		ctx, end := context.WithTimeout(context.Background(), 100*ms)
		defer end()
		shutdown := await(func() error { return c.Shutdown(ctx) })
		l.until(20)
		require.NoError(t, c.Close())
		l.until(500)
		err := shutdown.result(t)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, []string{"[2]", "[1]"}, lostBy(err))
		lost := reference.LostErrors(err)
		require.NotErrorIs(t, lost[0], throttle.ErrUndecided)
		require.ErrorIs(t, lost[1], throttle.ErrUndecided)
		require.Empty(t, l.errors())
		l.until(2000)
		require.Equal(t, []string{"[1]"}, lostBy(l.errors()...))
		require.ErrorIs(t, l.errors()[0], errFailed)
	})
}

// TestCoalescer_Close_waitersLeave lets all waiters leave, or all except one,
// before Close drops the value.
func TestCoalescer_Close_waitersLeave(t *testing.T) {
	for name, stays := range map[string]bool{"one waits still": true, "nobody waits": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newValueRecorder()
				c := l.coalescer(t, throttle.Debounce(time.Hour, 0), throttle.WithName("batch"))
				leaving, leave := context.WithCancel(context.Background())
				defer leave()
				first := await(func() error { return c.Do(leaving, []int{1}) })
				synctest.Wait()
				second := await(func() error {
					if stays {
						return c.Do(context.Background(), []int{2})
					}
					return c.Do(leaving, []int{2})
				})
				l.until(10)
				leave()
				require.Equal(t, context.Canceled, first.result(t))
				require.NoError(t, c.Close())
				err := second.result(t)
				if !stays {
					require.Equal(t, context.Canceled, err)
					require.Len(t, l.errors(), 1)
					err = l.errors()[0]
				}
				requireLost(t, err, []int{1, 2})
				require.ErrorIs(t, err, throttle.ErrClosed)
				require.Equal(t, stays, len(l.errors()) == 0)
			})
		})
	}
}

// TestCoalescer_Close_handlerGoexit lets Close drop two values: of a run that has
// not entered its callback, and one that waits. The handler ends its goroutine, but
// must get both.
func TestCoalescer_Close_handlerGoexit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newValueRecorder()
		parent := &slowContext{Context: context.Background()}
		c := l.coalescer(t, throttle.Every(time.Hour), throttle.WithContext(parent), throttle.WithErrorHandler(func(err error) {
			l.hear(err)
			runtime.Goexit()
		}))
		parent.wait.Store(int64(time.Second))
		require.NoError(t, c.Call([]int{1}))
		require.NoError(t, c.Call([]int{2}))
		require.Error(t, endOf(func() { _ = c.Close() }))
		require.ElementsMatch(t, []string{"[1]", "[2]"}, lostBy(l.errors()...))
		require.NoError(t, c.Shutdown(context.Background()))
		require.Empty(t, l.taken())
	})
}

// A hastyContext says that it has ended before its Done channel does, as any
// context may for a moment.
type hastyContext struct {
	context.Context
	ended atomic.Bool
}

func (c *hastyContext) Err() error {
	if c.ended.Load() {
		return context.Canceled
	}
	return c.Context.Err()
}

// TestCoalescer_endedParent_handlerGoexit lets a run notice its parent's end first,
// so that this run closes the Coalescer and reports what is lost.
func TestCoalescer_endedParent_handlerGoexit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newValueRecorder()
		inner, end := context.WithCancel(context.Background())
		parent := &hastyContext{Context: inner}
		c := l.coalescer(t, throttle.Policy{}, throttle.WithContext(parent), throttle.WithErrorHandler(func(err error) {
			l.hear(err)
			runtime.Goexit()
		}))
		parent.ended.Store(true)
		require.NoError(t, c.Call([]int{1}))
		l.until(10)
		require.Equal(t, []string{"[1]"}, lostBy(l.errors()...))
		running := c.Stats().Running
		end()
		require.False(t, running, "the run never ends")
		require.NoError(t, c.Shutdown(context.Background()))
		require.Empty(t, l.taken())
	})
}

// TestCoalescer_Shutdown_waitsForReport uses a handler that takes its time, in the
// goroutine in which the parent's end closes the Coalescer.
func TestCoalescer_Shutdown_waitsForReport(t *testing.T) {
	for name, patient := range map[string]bool{"until it is over": true, "until its context ends": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newValueRecorder()
				parent, end := context.WithCancel(context.Background())
				c := l.coalescer(t, throttle.Debounce(time.Hour, 0), throttle.WithContext(parent),
					throttle.WithErrorHandler(func(err error) {
						time.Sleep(time.Second)
						l.hear(err)
					}))
				require.NoError(t, c.Call([]int{1}))
				end()
				synctest.Wait()
				if patient {
					require.NoError(t, c.Shutdown(context.Background()))
					require.Equal(t, 1000, l.elapsed())
					require.Equal(t, []string{"[1]"}, lostBy(l.errors()...))
					return
				}
				ctx, cancel := context.WithTimeout(context.Background(), 100*ms)
				defer cancel()
				require.ErrorIs(t, c.Shutdown(ctx), context.DeadlineExceeded)
				require.Equal(t, 100, l.elapsed())
			})
		})
	}
}

// TestCoalescer_Shutdown_lastRun begins Shutdown while the hooks of a failed run
// are at work, whose value is kept. Shutdown returns the outcome of the repeat, and
// the handler gets the first error once.
func TestCoalescer_Shutdown_lastRun(t *testing.T) {
	for _, failures := range []int{1, 2} {
		for range 20 { // the repeat may end before or after Shutdown's goroutine is scheduled
			synctest.Test(t, func(t *testing.T) {
				l := newValueRecorder(fails(failures)...)
				first := true
				c := l.coalescer(t, backoff(time.Hour, 0), throttle.WithObserver(func(throttle.Run) {
					if first {
						time.Sleep(time.Second)
					}
					first = false
				}))
				require.NoError(t, c.Call([]int{1}))
				synctest.Wait()
				err := c.Shutdown(context.Background())
				require.Equal(t, []string{"0 [1]", "1000 [1]"}, l.taken())
				require.Equal(t, []error{errFailed}, l.errors())
				if failures == 1 {
					require.NoError(t, err)
					return
				}
				require.Equal(t, []string{"[1]"}, lostBy(err))
			})
		}
	}
}

// TestCoalescer_Shutdown_lastRun_canceled cancels the value that a failed run has kept, while
// that run's hooks are at work. Shutdown waits for them.
func TestCoalescer_Shutdown_lastRun_canceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newValueRecorder(fails(1)...)
		c := l.coalescer(t, backoff(time.Hour, 0), throttle.WithObserver(func(throttle.Run) { time.Sleep(time.Second) }))
		require.NoError(t, c.Call([]int{1}))
		synctest.Wait()
		require.Equal(t, [][]int{{1}}, c.Cancel())
		require.NoError(t, c.Shutdown(context.Background()))
		require.Equal(t, 1000, l.elapsed())
		require.False(t, c.Stats().Running)
	})
}

// TestCoalescer_Shutdown_lastRun_lost begins Shutdown while the hooks of a run are at work
// that has lost the value of a Do. Both return the loss.
func TestCoalescer_Shutdown_lastRun_lost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newValueRecorder(fails(1)...)
		c := l.coalescer(t, throttle.Policy{}, throttle.WithObserver(func(throttle.Run) { time.Sleep(time.Second) }))
		do := await(func() error { return c.Do(context.Background(), []int{1}) })
		synctest.Wait()
		err := c.Shutdown(context.Background())
		require.Equal(t, 1000, l.elapsed())
		require.Equal(t, []string{"[1]"}, lostBy(err))
		require.Equal(t, []string{"[1]"}, lostBy(do.result(t)))
		require.Empty(t, l.errors())
	})
}

// TestCoalescer_Shutdown_lossBeingTold begins Shutdown and Flush while the handler is
// being told of a loss. They wait for that, but are not told again.
func TestCoalescer_Shutdown_lossBeingTold(t *testing.T) {
	for _, left := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			l := newValueRecorder(takes(50*ms, errFailed))
			var heard []error
			c := l.coalescer(t, throttle.Policy{}, throttle.WithErrorHandler(func(err error) {
				heard = append(heard, err)
				time.Sleep(time.Second)
			}))
			require.NoError(t, c.Call([]int{1}))
			synctest.Wait()
			if left { // a waiter was there, but has gone
				ctx, leave := context.WithTimeout(context.Background(), ms)
				defer leave()
				require.ErrorIs(t, c.Flush(ctx), context.DeadlineExceeded)
			}
			l.until(100)
			flush := await(func() error { return c.Flush(context.Background()) })
			shutdown := await(func() error { return c.Shutdown(context.Background()) })
			l.until(1049)
			require.False(t, flush.returned() || shutdown.returned())
			l.until(1050)
			require.NoError(t, flush.result(t))
			require.NoError(t, shutdown.result(t))
			require.Equal(t, []string{"[1]"}, lostBy(heard...))
		})
	}
}
