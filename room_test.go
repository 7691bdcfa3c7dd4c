package throttle_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

// full returns a Coalescer in which 1 and 2 wait, and that has no room for more. Its
// window ends at 1 s.
func full(t *testing.T, l *valueRecorder, p throttle.Policy) *batcher {
	t.Helper()
	c := l.apart(t, p, throttle.WithMaxPending(2), throttle.WithName("batch"))
	fill(t, c)
	return c
}

func fill(t *testing.T, c *batcher) {
	t.Helper()
	require.NoError(t, c.Do(context.Background(), []int{0}))
	require.NoError(t, c.Call([]int{1}))
	require.NoError(t, c.Call([]int{2}))
}

// awaitSend sends n with a context that does not end.
func awaitSend(c *batcher, n int) *waiter {
	w := await(func() error { return c.Send(context.Background(), []int{n}) })
	synctest.Wait()
	return w
}

func TestWithMaxPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newValueRecorder()
		c := full(t, l, throttle.Every(time.Second))
		before := c.Stats()
		err := c.Call([]int{3})
		require.ErrorIs(t, err, throttle.ErrFull)
		require.EqualError(t, err, "throttle: batch: too many values wait")
		require.ErrorIs(t, c.CallWithin([]int{3}, 0), throttle.ErrFull)
		require.Equal(t, before.Calls, c.Stats().Calls)
		require.Equal(t, before.Next, c.Stats().Next)
		require.Equal(t, throttle.Stats{Refused: 2, Batches: 1, Values: 2}, throttle.Stats{
			Refused: c.Stats().Refused, Batches: c.Stats().Batches, Values: c.Stats().Values,
		})
		l.until(1000)
		require.NoError(t, c.Call([]int{3}), "a run has made room")
		require.NoError(t, c.Call([]int{4}))
		require.ErrorIs(t, c.Call([]int{5}), throttle.ErrFull)
		require.Equal(t, [][]int{{3, 4}}, c.Cancel())
		require.Zero(t, c.Stats().Values)
		require.NoError(t, c.Call([]int{5}), "Cancel has made room")
		l.until(5000)
		require.Equal(t, []string{"0 [0]", "1000 [1 2]", "2000 [5]"}, l.taken())
	})
}

// TestWithMaxPending_failedBatch checks that a failed batch goes back without room, and
// counts again.
func TestWithMaxPending_failedBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newValueRecorder(takes(0, nil), takes(100*ms, errFailed))
		c := full(t, l, retrying(throttle.Every(time.Second), time.Second))
		l.until(1050)
		require.NoError(t, c.Call([]int{3}))
		require.NoError(t, c.Call([]int{4}))
		l.until(1200)
		require.Equal(t, []int{2, 4}, []int{c.Stats().Batches, c.Stats().Values})
		require.ErrorIs(t, c.Call([]int{5}), throttle.ErrFull)
		l.until(2150) // the batch of four calls is one of two now
		require.ErrorIs(t, c.Call([]int{5}), throttle.ErrFull)
		l.until(3150)
		require.NoError(t, c.Call([]int{5}))
		l.until(10_000)
		require.Equal(t, []string{"0 [0]", "1000 [1 2]", "2100 [1 2]", "3100 [3 4]", "4100 [5]"}, l.taken())
	})
}

func TestCoalescer_Send(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newValueRecorder()
		c := full(t, l, throttle.Every(time.Second))
		var waiters []*waiter
		for n := 3; n < 8; n++ {
			if n == 5 {
				waiters = append(waiters, await(func() error { return c.Do(context.Background(), []int{n}) }))
				synctest.Wait()
				continue
			}
			waiters = append(waiters, awaitSend(c, n))
		}
		l.until(999)
		for _, w := range waiters {
			require.False(t, w.returned())
		}
		l.until(1000)
		require.NoError(t, waiters[0].result(t))
		require.NoError(t, waiters[1].result(t))
		require.False(t, waiters[2].returned())
		require.ErrorIs(t, c.Call([]int{99}), throttle.ErrFull, "Call overtakes nobody")
		l.until(2500)
		require.False(t, waiters[2].returned(), "Do waits for the run, too")
		l.until(10_000)
		for _, w := range waiters {
			require.NoError(t, w.result(t))
		}
		require.Equal(t, []string{"0 [0]", "1000 [1 2]", "2000 [3 4]", "3000 [5 6]", "4000 [7]"}, l.taken(), "in order of arrival")
		require.NoError(t, c.Send(context.Background(), []int{8}), "there is room")
	})
}

// TestCoalescer_Send_leave lets those who wait leave, at any place in the queue.
func TestCoalescer_Send_leave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newValueRecorder()
		c := full(t, l, throttle.Every(time.Second))
		ended, end := context.WithCancel(context.Background())
		end()
		require.Equal(t, context.Canceled, c.Send(ended, []int{3}))
		var waiters []*waiter
		for n := 3; n < 9; n++ {
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(n%3+1)*10*time.Second)
			defer cancel()
			if n%3 == 1 {
				cancel()
			}
			waiters = append(waiters, await(func() error { return c.Send(ctx, []int{n}) }))
			synctest.Wait()
		}
		for i, w := range waiters {
			if i%3 == 1 {
				require.Equal(t, context.Canceled, w.result(t))
			}
		}
		l.until(10_000)
		require.Equal(t, []string{"0 [0]", "1000 [1 2]", "2000 [3 5]", "3000 [6 8]"}, l.taken())
	})
}

// TestCoalescer_Send_leaveAtOnce lets the context end at the instant in which there is
// room. Either the value is handed over, or the room is the next one's.
func TestCoalescer_Send_leaveAtOnce(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			l := newValueRecorder()
			c := full(t, l, throttle.Every(time.Second))
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			first := await(func() error { return c.Send(ctx, []int{3}) })
			synctest.Wait()
			second := awaitSend(c, 4)
			l.until(1500)
			require.NoError(t, second.result(t))
			want := "2000 [3 4]"
			if first.result(t) != nil {
				require.NoError(t, c.Call([]int{5}))
				require.NoError(t, c.Do(context.Background(), []int{6}))
				want = "2000 [4 5]"
			}
			l.until(2500)
			require.Equal(t, want, l.taken()[2])
		})
	}
}

// TestCoalescer_Send_closed refuses those who wait for room.
func TestCoalescer_Send_closed(t *testing.T) {
	for name, end := range map[string]func(c *batcher){
		"Close":    func(c *batcher) { _ = c.Close() },
		"Shutdown": func(c *batcher) { _ = c.Shutdown(context.Background()) },
		"Shutdown whose context has ended": func(c *batcher) {
			ended, end := context.WithCancel(context.Background())
			end()
			_ = c.Shutdown(ended)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newValueRecorder()
				c := full(t, l, throttle.Every(time.Hour))
				send := awaitSend(c, 3)
				do := await(func() error { return c.Do(context.Background(), []int{4}) })
				require.False(t, do.returned())
				end(c)
				for _, w := range []*waiter{send, do} {
					require.ErrorIs(t, w.result(t), throttle.ErrClosed)
					require.Empty(t, lostBy(w.err))
				}
				require.ErrorIs(t, c.Send(context.Background(), []int{5}), throttle.ErrClosed)
			})
		})
	}
}

// TestCoalescer_Send_reentrant sends from the callback.
func TestCoalescer_Send_reentrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c *batcher
		l := newValueRecorder(takes(0, nil), func(own context.Context) error {
			require.NoError(t, c.Send(own, []int{3}))
			require.NoError(t, c.Send(own, []int{4}))
			require.ErrorIs(t, c.Send(own, []int{5}), throttle.ErrReentrant)
			require.ErrorIs(t, c.Do(own, []int{5}), throttle.ErrReentrant)
			return nil
		})
		c = l.apart(t, throttle.Every(time.Second), throttle.WithMaxPending(2))
		fill(t, c) // after the callback has its c
		l.until(5000)
		require.Equal(t, []string{"0 [0]", "1000 [1 2]", "2000 [3 4]"}, l.taken())
	})
}

// TestCoalescer_Send_throttled checks that a policy without a trailing edge drops a value
// whether or not there is room.
func TestCoalescer_Send_throttled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newValueRecorder(takes(100*ms, nil))
		c := l.apart(t, throttle.Policy{Edges: throttle.Leading}, throttle.WithMaxPending(1))
		require.NoError(t, c.Send(context.Background(), []int{1}))
		l.until(10)
		require.ErrorIs(t, c.Send(context.Background(), []int{2}), throttle.ErrThrottled)
		require.Equal(t, uint64(1), c.Stats().Dropped)
		l.until(200)
		require.NoError(t, c.Send(context.Background(), []int{3}), "a refused value has no room")
		synctest.Wait()
		require.Equal(t, []string{"0 [1]", "200 [3]"}, slices.Clip(l.taken()))
	})
}

// TestCoalescer_Send_refused refuses a value that has waited for room. The room is free
// again.
func TestCoalescer_Send_refused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newValueRecorder()
		c := full(t, l, throttle.Every(time.Hour))
		send := awaitSend(c, 3)
		require.NoError(t, c.SetPolicy(throttle.Policy{Interval: time.Hour, Edges: throttle.Leading}))
		require.Equal(t, [][]int{{1, 2}}, c.Cancel())
		require.ErrorIs(t, send.result(t), throttle.ErrThrottled)
		require.NoError(t, c.SetPolicy(throttle.Every(time.Hour)))
		require.NoError(t, c.Call([]int{4}))
		require.NoError(t, c.Call([]int{5}))
		require.ErrorIs(t, c.Call([]int{6}), throttle.ErrFull)
		c.Cancel()
	})
}

// TestRoom_order checks that nobody overtakes those who wait, even while there is room for
// several and the first of them has not handed over its value.
func TestRoom_order(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := throttle.NewRoom(3)
		for range 3 {
			require.True(t, r.TryEnter())
		}
		var waiters []*waiter
		for range 2 {
			waiters = append(waiters, await(func() error { _, err := r.Enter(context.Background()); return err }))
			synctest.Wait()
		}
		r.Leave(3)
		require.NoError(t, waiters[0].result(t))
		require.False(t, waiters[1].returned())
		require.False(t, r.TryEnter())
		r.Entered()
		require.NoError(t, waiters[1].result(t))
		require.False(t, r.TryEnter())
		r.Entered()
		require.True(t, r.TryEnter())
		require.False(t, r.TryEnter())
	})
}

// TestRoom_leave lets somebody leave who has just been let in: the room is free again.
func TestRoom_leave(t *testing.T) {
	ended, end := context.WithCancel(context.Background())
	end()
	r := throttle.NewRoom(1)
	for range 50 { // it may also enter
		if hasRoom, err := r.Enter(ended); err == nil {
			require.True(t, hasRoom)
			r.Entered()
			r.Leave(1)
		}
		require.True(t, r.TryEnter())
		r.Leave(1)
	}
}
