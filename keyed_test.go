package throttle_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/internal/testkit/reference"
)

// A keyed is the KeyedCoalescer of most tests.
type keyed = throttle.KeyedCoalescer[string, int, []int]

// A keyedRecorder is a groupRecorder whose runs take values. It records these too.
type keyedRecorder struct {
	*groupRecorder

	takesMu sync.Mutex // guards the fields below
	takes   []string   // of each run: its start, its key and its batch
	took    map[string][][]int
	heard   []string // by the error handler
}

func newKeyedRecorder() *keyedRecorder {
	return &keyedRecorder{groupRecorder: newGroupRecorder(), took: make(map[string][][]int)}
}

func (l *keyedRecorder) take(ctx context.Context, key string, batch []int) error {
	l.takesMu.Lock()
	l.takes = append(l.takes, fmt.Sprint(l.elapsed(), " ", key, batch))
	l.took[key] = append(l.took[key], batch)
	l.takesMu.Unlock()
	return l.run(ctx, key)
}

func (l *keyedRecorder) hear(err error) {
	l.takesMu.Lock()
	defer l.takesMu.Unlock()
	l.heard = append(l.heard, err.Error())
}

// taken returns what runs have taken, and errors what the handler has got, both sorted.
func (l *keyedRecorder) taken() []string {
	synctest.Wait()
	l.takesMu.Lock()
	defer l.takesMu.Unlock()
	return slices.Sorted(slices.Values(l.takes))
}

// batches returns what the runs of key have taken.
func (l *keyedRecorder) batches(key string) [][]int {
	l.takesMu.Lock()
	defer l.takesMu.Unlock()
	return l.took[key]
}

func (l *keyedRecorder) errors() []string {
	synctest.Wait()
	l.takesMu.Lock()
	defer l.takesMu.Unlock()
	return slices.Sorted(slices.Values(l.heard))
}

func (l *keyedRecorder) keyed(t *testing.T, p throttle.Policy, opts ...throttle.Option) *keyed {
	t.Helper()
	c, err := throttle.NewKeyedCoalescer(p, throttle.Batch[int](), l.take, append(opts, throttle.WithErrorHandler(l.hear))...)
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = c.Close()
		_ = c.Shutdown(context.Background())
	})
	return c
}

func TestKeyedCoalescer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newKeyedRecorder()
		c := l.keyed(t, atMost(2, throttle.Every(100*ms)), throttle.WithName("rows"))
		for n := range 4 {
			for _, key := range []string{"a", "b"} {
				require.NoError(t, c.Call(key, n))
				synctest.Wait()
			}
			l.until(10 * (n + 1))
		}
		require.Equal(t, 2, c.Len())
		require.ElementsMatch(t, []string{"a", "b"}, slices.Collect(c.Keys()))
		stats, held := c.KeyStats("a")
		require.True(t, held && stats.Pending)
		require.Equal(t, uint64(3), stats.Calls)
		require.Equal(t, uint64(8), c.Stats().Calls)
		require.Equal(t, "rows", c.Name())
		require.Equal(t, atMost(2, throttle.Every(100*ms)), c.Policy())
		l.until(250)
		require.Equal(t, []string{"0 a[0]", "0 b[0]", "100 a[1 2]", "100 b[1 2]", "200 a[3]", "200 b[3]"}, l.taken())
		require.Equal(t, 2, c.Len())
		l.until(300)
		require.Zero(t, c.Len(), "an idle key is forgotten")
	})
}

func TestNewKeyedCoalescer(t *testing.T) {
	_, err := throttle.NewKeyedCoalescer[string](throttle.Policy{MaxInterval: time.Second}, throttle.Merger[int, int]{}, nil,
		throttle.WithMaxPending(0), throttle.WithMaxKeys(3), throttle.WithMaxConcurrent(2))
	var fields []string
	for _, problem := range policyErrors(t, err) {
		fields = append(fields, problem.Field)
	}
	require.ElementsMatch(t, []string{"MaxInterval", "Merger.First", "Merger.Add", "callback", "WithMaxPending"}, fields)
	c := newKeyedRecorder().keyed(t, throttle.Policy{})
	require.Len(t, policyErrors(t, c.SetPolicy(throttle.Policy{MaxInterval: time.Second})), 1)
	require.NoError(t, c.SetPolicy(throttle.Every(time.Second)))
}

// TestKeyedCoalescer_holds checks that a value that waits keeps its key.
func TestKeyedCoalescer_holds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newKeyedRecorder()
		l.script("a", fails(2)...)
		c := l.keyed(t, retrying(atMost(1, throttle.Policy{}), time.Hour), throttle.WithMaxKeys(1))
		require.NoError(t, c.Call("a", 1))
		require.NoError(t, c.Call("a", 2))
		synctest.Wait()
		require.ErrorIs(t, c.Call("b", 3), throttle.ErrTooManyKeys)
		require.ErrorIs(t, c.Do(context.Background(), "b", 3), throttle.ErrTooManyKeys)
		require.ErrorIs(t, c.Send(context.Background(), "b", 3), throttle.ErrTooManyKeys)
		l.until(3_599_999)
		require.Equal(t, 1, c.Len())
		l.until(3 * 3_600_000)
		require.Zero(t, c.Len())
		require.NoError(t, c.Call("b", 3))
		require.Equal(t, []string{"0 a[1]", "10800000 b[3]", "3600000 a[1]", "7200000 a[1]", "7200000 a[2]"}, l.taken())
	})
}

func TestKeyedCoalescer_Cancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newKeyedRecorder()
		c := l.keyed(t, atMost(2, throttle.Every(time.Second)))
		for n := range 4 {
			require.NoError(t, c.Call("a", n))
			require.NoError(t, c.Call("b", n))
			synctest.Wait()
		}
		require.Equal(t, [][]int{{1, 2}, {3}}, c.Cancel("a"))
		require.Nil(t, c.Cancel("a"))
		require.Nil(t, c.Cancel("c"))
		require.Equal(t, 2, c.Len())
		require.Equal(t, [][]int{{1, 2}, {3}}, c.Remove("b"))
		require.Equal(t, 1, c.Len())
		require.Nil(t, c.Remove("b"))
		require.NoError(t, c.Call("a", 8), "in its window")
		require.NoError(t, c.Call("b", 9), "a new key")
		l.until(1000)
		require.Equal(t, []string{"0 a[0]", "0 b[0]", "0 b[9]", "1000 a[8]"}, l.taken())
	})
}

// TestKeyedCoalescer_Remove_activeRun removes a key whose run is active and then fails.
func TestKeyedCoalescer_Remove_activeRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newKeyedRecorder()
		l.script("a", takes(100*ms, errFailed))
		c := l.keyed(t, retrying(throttle.Every(time.Second), time.Second))
		require.NoError(t, c.Call("a", 1))
		l.until(10)
		require.NoError(t, c.Call("a", 2))
		require.Equal(t, [][]int{{2}}, c.Remove("a"))
		require.NoError(t, c.Call("a", 3))
		l.until(5000)
		require.Equal(t, []string{"0 a[1]", "100 a[3]"}, l.taken())
		require.Equal(t, []string{"throttle: key a: value lost: scripted failure"}, l.errors())
		require.Zero(t, c.Len())
	})
}

func TestKeyedCoalescer_Do(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newKeyedRecorder()
		l.script("a", fails(1)...)
		c := l.keyed(t, throttle.Every(time.Second))
		err := c.Do(context.Background(), "a", 1)
		require.Equal(t, []string{"[1]"}, lostBy(err))
		var keyErr *throttle.KeyError
		require.NotErrorAs(t, err, &keyErr, "its caller knows the key")
		require.NoError(t, c.Do(context.Background(), "b", 2))
		require.NoError(t, c.Call("b", 3))
		require.NoError(t, c.Flush(context.Background(), "b"))
		require.NoError(t, c.Flush(context.Background(), "c"))
		require.Equal(t, []string{"0 a[1]", "0 b[2]", "0 b[3]"}, l.taken())
		require.NoError(t, c.Wait(context.Background()))
	})
}

// TestKeyedCoalescer_WithMaxPending checks that the bound is for all keys together, and
// that those who wait for room get it in order.
func TestKeyedCoalescer_WithMaxPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newKeyedRecorder()
		c := l.keyed(t, throttle.Every(time.Second), throttle.WithMaxPending(3), throttle.WithPaused())
		for n, key := range []string{"a", "b", "a"} {
			require.NoError(t, c.Call(key, n))
		}
		require.ErrorIs(t, c.Call("c", 3), throttle.ErrFull)
		require.ErrorIs(t, c.Call("a", 3), throttle.ErrFull)
		require.Equal(t, 2, c.Len(), "nothing has happened")
		var waiters []*waiter
		for n, key := range []string{"c", "a", "d", "a"} {
			waiters = append(waiters, await(func() error { return c.Send(context.Background(), key, 10+n) }))
			synctest.Wait()
		}
		require.Equal(t, [][]int{{1}}, c.Cancel("b"))
		require.NoError(t, waiters[0].result(t))
		require.False(t, waiters[1].returned())
		c.Resume()
		for _, w := range waiters {
			require.NoError(t, w.result(t))
		}
		l.until(5000)
		var delivered []int // of key a; its first run may start before 11 comes, or not
		for _, taken := range l.batches("a") {
			delivered = append(delivered, taken...)
		}
		require.Equal(t, []int{0, 2, 11, 13}, delivered)
		require.Equal(t, [][]int{{10}}, l.batches("c"))
		require.Equal(t, [][]int{{12}}, l.batches("d"))
	})
}

func TestKeyedCoalescer_Shutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newKeyedRecorder()
		l.script("a", takes(0, nil), takes(0, errFailed))
		l.script("b", takes(100*ms, errFailed))
		c := l.keyed(t, atMost(1, throttle.Every(time.Hour)), throttle.WithMaxConcurrent(1))
		for n, key := range []string{"a", "b", "a", "a", "b"} {
			require.NoError(t, c.Call(key, n))
			synctest.Wait()
		}
		require.Equal(t, []string{
			"throttle: key a: value lost: scripted failure",
			"throttle: key b: value lost: scripted failure",
		}, joined(c.Shutdown(context.Background())))
		require.Equal(t, []string{"0 a[0]", "0 b[1]", "100 a[2]", "100 a[3]", "100 b[4]"}, l.taken())
		require.Empty(t, l.errors())
		require.ErrorIs(t, c.Call("a", 1), throttle.ErrClosed)
		require.ErrorIs(t, c.Send(context.Background(), "a", 1), throttle.ErrClosed)
	})
}

// TestKeyedCoalescer_Shutdown_contextEnds checks that Shutdown names what it leaves.
func TestKeyedCoalescer_Shutdown_contextEnds(t *testing.T) {
	for _, early := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			l := newKeyedRecorder()
			l.script("a", takes(time.Second, errFailed))
			c := l.keyed(t, atMost(1, throttle.Policy{}), throttle.WithMaxConcurrent(1))
			for n, key := range []string{"a", "b", "a"} {
				require.NoError(t, c.Call(key, n))
				synctest.Wait()
			}
			ctx, cancel := context.WithTimeout(context.Background(), 100*ms)
			defer cancel()
			if early {
				cancel()
			}
			err := c.Shutdown(ctx)
			require.ErrorIs(t, err, ctx.Err())
			require.ElementsMatch(t, []string{"[0]", "[1]", "[2]"}, lostBy(err))
			for _, lost := range reference.LostErrors(err) {
				require.Equal(t, lostBy(lost)[0] == "[0]", errors.Is(lost, throttle.ErrUndecided))
			}
			require.Empty(t, l.errors())
			l.until(2000)
			require.Equal(t, []string{"throttle: key a: value lost: scripted failure"}, l.errors())
			require.Equal(t, []string{"0 a[0]"}, l.taken())
		})
	}
}

// TestKeyedCoalescer_Close reports every batch of every key.
func TestKeyedCoalescer_Close(t *testing.T) {
	for name, end := range map[string]func(c *keyed){
		"Close": func(c *keyed) { _ = c.Close() },
		"Pause while Shutdown drains": func(c *keyed) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			go func() {
				time.Sleep(ms)
				c.Pause()
			}()
			_ = c.Shutdown(ctx)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newKeyedRecorder()
				for _, key := range []string{"a", "b"} {
					l.script(key, takes(100*ms, nil))
				}
				c := l.keyed(t, atMost(1, throttle.Policy{}))
				told := make(chan error, 6)
				for n := range 3 {
					for _, key := range []string{"a", "b"} {
						go func() { told <- c.Do(context.Background(), key, n) }()
						synctest.Wait()
					}
				}
				end(c)
				synctest.Wait()
				l.until(1000)
				var lost []string
				for range 6 {
					lost = append(lost, lostBy(<-told)...)
				}
				require.ElementsMatch(t, []string{"[1]", "[1]", "[2]", "[2]"}, lost)
				require.Equal(t, []string{"0 a[0]", "0 b[0]"}, l.taken())
				require.Empty(t, l.errors(), "all have been waited for")
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		l := newKeyedRecorder()
		c := l.keyed(t, atMost(1, throttle.Debounce(time.Hour, 0)), throttle.WithPaused())
		for n := range 2 {
			for _, key := range []string{"a", "b"} {
				require.NoError(t, c.Call(key, n))
			}
		}
		require.NoError(t, c.Close())
		require.Equal(t, []string{
			"throttle: key a: value lost: throttle: closed", "throttle: key a: value lost: throttle: closed",
			"throttle: key b: value lost: throttle: closed", "throttle: key b: value lost: throttle: closed",
		}, l.errors())
	})
}

// TestKeyedCoalescer_log is not parallel: it replaces slog's default for its time.
func TestKeyedCoalescer_log(t *testing.T) {
	output := captureLog(t)
	synctest.Test(t, func(t *testing.T) {
		c := throttle.Must(throttle.NewKeyedCoalescer(throttle.Every(time.Hour), throttle.Batch[int](),
			func(context.Context, string, []int) error { return errFailed }, throttle.WithName("rows")))
		require.NoError(t, c.Call("a", 1))
		synctest.Wait()
		require.NoError(t, c.Call("a", 2))
		require.NoError(t, c.Close())
		requireRecords(t, output,
			`msg="throttle: run failed" name=rows error="throttle: rows: key a: value lost: scripted failure" cause=call attempt=1 key=a`,
			`msg="throttle: value lost" name=rows error="throttle: rows: key a: value lost: throttle: rows: closed" key=a`)
	})
}

// TestKeyedCoalescer_Pause_shutdown checks that a paused KeyedCoalescer reports each value
// that it drops, and not just once.
func TestKeyedCoalescer_Pause_shutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newKeyedRecorder()
		c := l.keyed(t, atMost(1, throttle.Policy{}), throttle.WithPaused())
		for n := range 2 {
			for _, key := range []string{"a", "b"} {
				require.NoError(t, c.Call(key, n))
			}
		}
		err := c.Shutdown(context.Background())
		requirePaused(t, err)
		require.ElementsMatch(t, []string{"[0]", "[0]", "[1]", "[1]"}, lostBy(err))
		require.Empty(t, l.errors())
	})
}

// TestKeyedCoalescer_reentrant uses it from the callback.
func TestKeyedCoalescer_reentrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c *keyed
		l := newKeyedRecorder()
		l.script("a", func(own context.Context) error {
			require.ErrorIs(t, c.Do(own, "a", 2), throttle.ErrReentrant)
			require.NoError(t, c.Do(own, "b", 3))
			require.NoError(t, c.Send(own, "a", 4))
			require.ErrorIs(t, c.Send(own, "a", 5), throttle.ErrReentrant)
			require.ErrorIs(t, c.Shutdown(own), throttle.ErrReentrant)
			return nil
		})
		c = l.keyed(t, throttle.Every(time.Second), throttle.WithMaxPending(1))
		require.NoError(t, c.Do(context.Background(), "a", 1))
		l.until(1000)
		require.Equal(t, []string{"0 a[1]", "0 b[3]", "1000 a[4]"}, l.taken())
	})
}
