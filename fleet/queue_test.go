package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet"
)

// A crowd is many throttlers of one process, on a slow link.
type crowd struct {
	*testing.T

	link  *link
	begin time.Time
	all   []*fleet.Throttler
	runs  atomic.Int64
	errs  atomic.Int64 // that the handlers received

	inFlight, most atomic.Int64
}

// inCrowd builds n throttlers in a bubble of fake time. An answer takes at most latency.
func inCrowd(t *testing.T, n int, p throttle.Policy, latency time.Duration, f func(c *crowd), opts ...fleet.Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{T: t, link: &link{store: fleet.NewMemory(), sent: map[string][]time.Duration{}}, begin: time.Now()}
		c.slow(latency)
		opts = append([]fleet.Option{fleet.WithErrorHandler(func(error) { c.errs.Add(1) })}, opts...)
		for i := range n {
			th, err := fleet.New(c.link, fmt.Sprintf("%s-%d", key, i), p, c.run, opts...)
			require.NoError(t, err)
			c.all = append(c.all, th)
		}
		f(c)
		for _, th := range c.all {
			require.NoError(t, th.Close())
		}
		c.link.heal()
		time.Sleep(time.Minute) // messages that are out end
		synctest.Wait()
	})
}

func (c *crowd) run(context.Context) error {
	c.runs.Add(1)
	return nil
}

// slow lets messages take up to latency, half on the way there.
func (c *crowd) slow(latency time.Duration) {
	leg := func() { time.Sleep(rand.N(latency/2 + 1)) }
	c.link.on(func(_ context.Context, op string) error {
		if op != "due" && op != "listen" && op != "unlisten" {
			c.most.Store(max(c.most.Load(), c.inFlight.Add(1)))
		}
		leg()
		return nil
	}, func(_ context.Context, op string) error {
		leg()
		if op != "due" && op != "listen" && op != "unlisten" {
			c.inFlight.Add(-1)
		}
		return nil
	})
}

// until waits until done, at most limit, and returns how long that took.
func (c *crowd) until(done func() bool, limit time.Duration) time.Duration {
	c.Helper()
	begin := time.Now()
	for !done() && time.Since(begin) < limit {
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
	}
	return time.Since(begin)
}

// Thousands of keys that are called at once run once each, without a needless or a late
// message, although they wait for far longer than their guard to send it.
func TestThrottler_ManyKeys(t *testing.T) {
	const keys, latency = 1000, 4 * time.Millisecond
	for _, every := range []time.Duration{time.Second, time.Minute} {
		t.Run(every.String(), func(t *testing.T) {
			inCrowd(t, keys, throttle.Every(every), latency, func(c *crowd) {
				for _, th := range c.all {
					th.Call()
				}
				took := c.until(func() bool { return c.runs.Load() == keys && c.link.finishes.Load() == keys }, time.Minute)
				assert.EqualValues(c, keys, c.runs.Load())
				first := fleet.DefaultInFlight // claims that cannot be granted: nobody has seen the store's time yet
				assert.LessOrEqual(c, c.link.claims.Load(), int64(keys+first))
				assert.EqualValues(c, keys, c.link.finishes.Load())
				assert.Zero(c, c.errs.Load())
				assert.EqualValues(c, fleet.DefaultInFlight, c.most.Load())
				assert.Less(c, took, 2*keys*latency/fleet.DefaultInFlight, "about a claim and a finish for each key, 16 at a time")
			})
		})
	}
}

// Keys that are called all the time share the messages evenly, and each keeps its interval.
func TestThrottler_ManyKeys_Fair(t *testing.T) {
	const keys = 400
	inCrowd(t, keys, throttle.Every(time.Second), 40*time.Millisecond, func(c *crowd) {
		for time.Since(c.begin) < 30*time.Second {
			for _, th := range c.all {
				th.Call()
			}
			time.Sleep(100 * time.Millisecond)
		}
		least, most := uint64(1<<63), uint64(0)
		for _, th := range c.all {
			runs := th.Stats().Runs
			least, most = min(least, runs), max(most, runs)
			assert.Zero(c, th.Counts().Late)
		}
		assert.Greater(c, least, uint64(4))
		assert.LessOrEqual(c, most-least, uint64(3), "from %d to %d runs", least, most)
	})
}

// An outage costs few messages, however many keys there are, and no key runs without a grant
// before the store is lost, or after it is back.
func TestRunLocal_ManyKeys(t *testing.T) {
	const keys = 300
	inCrowd(t, keys, throttle.Every(time.Second), 0, func(c *crowd) {
		local := func() (n uint64) {
			for _, th := range c.all {
				n += th.Counts().LocalRuns
			}
			return n
		}
		call := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(250 * time.Millisecond) {
				for _, th := range c.all {
					th.Call()
				}
			}
			synctest.Wait()
		}
		call(5 * time.Second)
		require.Zero(c, local())

		c.link.on(func(ctx context.Context, _ string) error { // messages vanish
			<-ctx.Done()
			return fleet.Unreachable(ctx.Err())
		}, nil)
		claims := c.link.claims.Load()
		call(30 * time.Second)
		assert.Less(c, c.link.claims.Load()-claims, int64(60))
		assert.InDelta(c, 28*keys, local(), 3*keys)
		require.ErrorIs(c, c.link.Health().Unreachable, fleet.ErrEngineUnavailable)

		c.link.heal()
		time.Sleep(15 * time.Second)
		require.NoError(c, c.link.Health().Unreachable)
		before := local()
		call(5 * time.Second)
		assert.Equal(c, before, local())
	}, fleet.RunLocal())
}

// A message that takes too long is no outage while others are answered: nobody runs without
// a grant. Neither is an answer that the store cannot do it, nor a wait in the process.
func TestRunLocal_OneSlowMessage(t *testing.T) {
	for name, failure := range map[string]error{
		"lost":                   fleet.Unreachable(context.DeadlineExceeded),
		"out of memory":          errors.New("OOM command not allowed"),
		"waits for a connection": context.DeadlineExceeded,
	} {
		t.Run(name, func(t *testing.T) {
			inCrowd(t, 50, throttle.Every(time.Second), 10*time.Millisecond, func(c *crowd) {
				var n atomic.Int64
				c.link.on(func(_ context.Context, op string) error {
					if op == "claim" && n.Add(1)%10 == 0 {
						time.Sleep(900 * time.Millisecond)
						return failure
					}
					return nil
				}, nil)
				for time.Since(c.begin) < 20*time.Second {
					for _, th := range c.all {
						th.Call()
					}
					time.Sleep(100 * time.Millisecond)
				}
				for _, th := range c.all {
					assert.Zero(c, th.Counts().LocalRuns)
				}
				assert.Positive(c, c.errs.Load())
			}, fleet.RunLocal())
		})
	}
}

// Health counts what waits.
func TestBase_Health(t *testing.T) {
	inCrowd(t, 100, throttle.Every(time.Second), 10*time.Millisecond, func(c *crowd) {
		c.link.LimitInFlight(4)
		for _, th := range c.all {
			th.Call()
		}
		synctest.Wait()
		h := c.link.Health()
		assert.Equal(c, fleet.Health{Throttlers: 100, InFlight: 4, Waiting: 96}, h)
		c.until(func() bool { return c.runs.Load() == 100 }, time.Minute)
		time.Sleep(10 * time.Second)
		assert.Equal(c, fleet.Health{Throttlers: 100}, c.link.Health())
		assert.EqualValues(c, 4, c.most.Load())
	})
}
