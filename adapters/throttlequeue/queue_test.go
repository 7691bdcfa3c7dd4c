package throttlequeue_test

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/adapters/throttlequeue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A queue is what the tests use of all queues.
type queue = workqueue.TypedRateLimitingInterface[string]

type constructor = throttlequeue.Constructor[string]

const (
	quiet   = 500 * time.Millisecond
	maxWait = 2 * time.Second
)

func limiter() workqueue.TypedRateLimiter[string] {
	return workqueue.NewTypedItemExponentialFailureRateLimiter[string](time.Second, time.Minute)
}

// clientGo makes client-go's queue.
func clientGo(name string, limiter workqueue.TypedRateLimiter[string]) queue {
	return workqueue.NewTypedRateLimitingQueueWithConfig(limiter, workqueue.TypedRateLimitingQueueConfig[string]{Name: name})
}

// priority makes controller-runtime's queue.
func priority(name string, limiter workqueue.TypedRateLimiter[string]) queue {
	return priorityqueue.New(name, func(o *priorityqueue.Opts[string]) { o.RateLimiter = limiter })
}

// holding makes a queue that holds items as p says.
func holding(t *testing.T, p throttle.Policy, opts ...throttlequeue.Option) constructor {
	t.Helper()
	construct, err := throttlequeue.New[string](p, append([]throttlequeue.Option{throttlequeue.WithRegisterer(nil)}, opts...)...)
	require.NoError(t, err)
	return construct
}

// start makes a queue in a bubble, and shuts it down in the end.
func start(t *testing.T, construct constructor) *throttlequeue.Queue[string] {
	t.Helper()
	q, ok := construct("test", limiter()).(*throttlequeue.Queue[string])
	require.True(t, ok)
	t.Cleanup(q.ShutDown)
	return q
}

// pass lets time pass, and what is due happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// TestQueue_contract checks that a Queue keeps the promises of client-go's queues and of
// controller-runtime's, which take the same test.
func TestQueue_contract(t *testing.T) {
	debounce := throttle.Debounce(quiet, maxWait)
	for name, behind := range map[string]struct {
		construct func(*testing.T) constructor
		drains    bool
	}{
		"client-go":       {func(*testing.T) constructor { return clientGo }, true},
		"client-go, held": {func(t *testing.T) constructor { return holding(t, debounce, throttlequeue.WithQueue(clientGo)) }, true},
		"client-go, held per window": {func(t *testing.T) constructor {
			return holding(t, throttle.Every(quiet), throttlequeue.WithQueue(clientGo))
		}, true},
		"controller-runtime":             {func(*testing.T) constructor { return priority }, false},
		"controller-runtime, held":       {func(t *testing.T) constructor { return holding(t, debounce) }, false},
		"controller-runtime, per window": {func(t *testing.T) constructor { return holding(t, throttle.Every(quiet)) }, false},
	} {
		for _, c := range contract() {
			if c.drains && !behind.drains {
				continue
			}
			t.Run(name+"/"+c.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					q := behind.construct(t)("test", limiter())
					t.Cleanup(func() {
						if !q.ShuttingDown() { // controller-runtime's own queue panics
							q.ShutDown()
						}
					})
					c.test(t, q)
				})
			})
		}
	}
}

// A promise of a work queue.
type promise struct {
	name   string
	drains bool // only client-go's queues give it
	test   func(t *testing.T, q queue)
}

// requireItems requires that the queue gives out just the items.
func requireItems(t *testing.T, q queue, items ...string) {
	t.Helper()
	require.Equal(t, len(items), q.Len())
	for _, want := range items {
		item, shutdown := q.Get()
		require.Equal(t, want, item)
		require.False(t, shutdown)
	}
	require.Zero(t, q.Len())
}

// drain begins to shut the queue down with a drain. The channel is closed when that is done.
func drain(q queue) <-chan struct{} {
	drained := make(chan struct{})
	go func() {
		q.ShutDownWithDrain()
		close(drained)
	}()
	return drained
}

func contract() []promise {
	return []promise{
		{"an item that is added twice is given out once", false, func(t *testing.T, q queue) {
			q.Add("a")
			q.Add("a")
			pass(time.Second)
			requireItems(t, q, "a")
			q.Done("a")
			pass(time.Second)
			require.Zero(t, q.Len())
		}},
		{"items are given out in their order", false, func(t *testing.T, q queue) {
			for i := range 5 {
				q.Add(strconv.Itoa(i))
				pass(time.Millisecond)
			}
			pass(time.Second)
			requireItems(t, q, "0", "1", "2", "3", "4")
		}},
		{"an item that is added while it is worked on is given out afterwards", false, func(t *testing.T, q queue) {
			q.Add("a")
			pass(time.Second)
			requireItems(t, q, "a")
			q.Add("a")
			pass(time.Second)
			got := make(chan string, 1)
			go func() {
				item, _ := q.Get()
				got <- item
			}()
			pass(time.Minute)
			require.Empty(t, got, "it is worked on twice at a time")
			q.Done("a")
			require.Equal(t, "a", <-got)
			q.Done("a")
			pass(time.Second)
			require.Zero(t, q.Len())
		}},
		{"Get waits for an item", false, func(t *testing.T, q queue) {
			got := make(chan string, 1)
			go func() {
				item, _ := q.Get()
				got <- item
			}()
			pass(time.Hour)
			require.Empty(t, got)
			q.Add("a")
			require.Equal(t, "a", <-got)
		}},
		{"AddAfter adds an item later", false, func(t *testing.T, q queue) {
			q.AddAfter("a", time.Minute)
			pass(time.Minute - 1)
			require.Zero(t, q.Len())
			pass(1)
			requireItems(t, q, "a")
		}},
		{"AddAfter keeps the earlier time", false, func(t *testing.T, q queue) {
			q.AddAfter("a", 3*time.Minute)
			q.AddAfter("a", time.Minute)
			q.AddAfter("a", 2*time.Minute)
			pass(time.Minute)
			requireItems(t, q, "a")
			q.Done("a")
			pass(time.Hour)
			require.Zero(t, q.Len())
		}},
		{"AddAfter of no time adds", false, func(t *testing.T, q queue) {
			q.AddAfter("a", 0)
			q.AddAfter("a", -time.Second)
			pass(time.Second)
			requireItems(t, q, "a")
		}},
		{"AddRateLimited backs off until Forget", false, func(t *testing.T, q queue) {
			for i, delay := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
				q.AddRateLimited("a")
				synctest.Wait()
				require.Equal(t, i+1, q.NumRequeues("a"))
				pass(delay - 1)
				require.Zero(t, q.Len())
				pass(1)
				requireItems(t, q, "a")
				q.Done("a")
			}
			q.Forget("a")
			require.Zero(t, q.NumRequeues("a"))
			q.AddRateLimited("a")
			pass(time.Second)
			requireItems(t, q, "a")
		}},
		{"ShutDown ends those who wait in Get", false, func(t *testing.T, q queue) {
			ended := make(chan bool, 3)
			for range cap(ended) {
				go func() {
					_, shutdown := q.Get()
					ended <- shutdown
				}()
			}
			synctest.Wait()
			q.ShutDown()
			for range cap(ended) {
				require.True(t, <-ended)
			}
			_, shutdown := q.Get()
			require.True(t, shutdown)
			require.True(t, q.ShuttingDown())
		}},
		{"adds after ShutDown have no effect", false, func(t *testing.T, q queue) {
			q.ShutDown()
			q.Add("a")
			q.AddAfter("b", time.Second)
			pass(time.Minute)
			require.Zero(t, q.Len())
		}},
		{"ShutDown gives out what there is", true, func(t *testing.T, q queue) {
			q.Add("a")
			pass(time.Millisecond)
			q.Add("b")
			pass(time.Second)
			q.ShutDown()
			requireItems(t, q, "a", "b")
			_, shutdown := q.Get()
			require.True(t, shutdown)
		}},
		{"ShutDown can be called again", true, func(_ *testing.T, q queue) {
			q.ShutDown()
			q.ShutDown()
			q.ShutDownWithDrain()
		}},
		{"ShutDownWithDrain waits until all items are done", true, func(t *testing.T, q queue) {
			q.Add("a")
			pass(time.Second)
			requireItems(t, q, "a")
			drained := drain(q)
			pass(time.Hour)
			select {
			case <-drained:
				t.Fatal("an item is not done")
			default:
			}
			q.Done("a")
			<-drained
		}},
		{"ShutDown ends a drain", true, func(t *testing.T, q queue) {
			q.Add("a")
			pass(time.Second)
			requireItems(t, q, "a")
			drained := drain(q)
			synctest.Wait()
			q.ShutDown()
			<-drained
		}},
	}
}

func add(q *throttlequeue.Queue[string], item string, priority int) {
	q.AddWithOpts(priorityqueue.AddOpts{Priority: &priority}, item)
}

// TestQueue_hold checks when held items enter, and with which priority.
func TestQueue_hold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := start(t, holding(t, throttle.Debounce(quiet, maxWait)))
		begun := time.Now()
		add(q, "a", -100)
		pass(quiet - 1)
		add(q, "a", 7)
		pass(quiet - 1)
		add(q, "a", 3)
		require.Equal(t, 1, q.Held())
		require.Zero(t, q.Len())
		item, priority, _ := q.GetWithPriority()
		require.Equal(t, "a", item)
		require.Equal(t, 7, priority)
		require.Equal(t, 3*quiet-2, time.Since(begun))
		require.Zero(t, q.Held())
		q.Done("a")

		// The next batch starts anew, at a lower priority, and MaxWait bounds it.
		begun = time.Now()
		for time.Since(begun) < maxWait-quiet/2 {
			add(q, "a", -100)
			time.Sleep(quiet / 2)
		}
		_, priority, _ = q.GetWithPriority()
		require.Equal(t, -100, priority)
		require.Equal(t, maxWait, time.Since(begun))

		// An item whose window is open is not held.
		q = start(t, holding(t, throttle.Every(quiet)))
		q.Add("a")
		synctest.Wait()
		require.Zero(t, q.Held())
		q.Add("a")
		require.Equal(t, 1, q.Held())
	})
}

// TestQueue_passes checks which adds are not held.
func TestQueue_passes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := func(item string) bool { return item == "system" }
		slow := func(item string) bool { return item == "slow" || item == "system" }
		q := start(t, holding(t, throttle.Debounce(quiet, 0),
			throttlequeue.WithPolicy(system, throttle.Policy{}),
			throttlequeue.WithPolicy(slow, throttle.Debounce(time.Minute, 0))))
		q.AddWithOpts(priorityqueue.AddOpts{}, "system", "slow", "other")
		synctest.Wait()
		requireItems(t, q, "system")
		require.Equal(t, 2, q.Held())

		// What has a delay does not wait for the policy.
		q.AddAfter("slow", 100*time.Millisecond)
		q.AddRateLimited("other")
		pass(100 * time.Millisecond)
		requireItems(t, q, "slow")
		require.Equal(t, 2, q.Held())
		// An item that enters takes along its delayed add, as in any such queue.
		pass(quiet - 100*time.Millisecond)
		requireItems(t, q, "other")
		q.Done("other")
		pass(2 * time.Second)
		require.Zero(t, q.Len())
		// An item that is worked on is given out again when it has entered and is done.
		pass(time.Minute)
		require.Zero(t, q.Held())
		got := make(chan string, 1)
		go func() {
			item, _ := q.Get()
			got <- item
		}()
		synctest.Wait()
		require.Empty(t, got)
		q.Done("slow")
		require.Equal(t, "slow", <-got)
	})
}

// TestQueue_ShutDown checks that held items enter when the queue shuts down, or are dropped.
func TestQueue_ShutDown(t *testing.T) {
	drop := []throttlequeue.Option{throttlequeue.WithDrop()}
	for name, c := range map[string]struct {
		opts     []throttlequeue.Option
		shutDown func(*throttlequeue.Queue[string])
		want     []string
	}{
		"they enter":                {nil, (*throttlequeue.Queue[string]).ShutDown, []string{"a", "b"}},
		"they are dropped":          {drop, (*throttlequeue.Queue[string]).ShutDown, nil},
		"they enter and drain":      {nil, (*throttlequeue.Queue[string]).ShutDownWithDrain, []string{"a", "b"}},
		"they are dropped at drain": {drop, (*throttlequeue.Queue[string]).ShutDownWithDrain, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := start(t, holding(t, throttle.Debounce(quiet, 0), append(c.opts, throttlequeue.WithQueue(clientGo))...))
				q.Add("a")
				q.Add("b")
				go c.shutDown(q)
				synctest.Wait()
				require.Zero(t, q.Held())
				var got []string
				for {
					item, shutdown := q.Get()
					if shutdown {
						break
					}
					got = append(got, item)
					q.Done(item)
				}
				assert.ElementsMatch(t, c.want, got)
				q.Add("a")
				require.Zero(t, q.Held())
			})
		})
	}
}

func TestQueue_metrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		construct := holding(t, throttle.Debounce(quiet, 0), throttlequeue.WithRegisterer(registry))
		held := func() float64 {
			families, err := registry.Gather()
			require.NoError(t, err)
			if len(families) == 0 {
				return -1
			}
			require.Equal(t, "workqueue_held_items", families[0].GetName())
			require.Len(t, families[0].GetMetric(), 1)
			return families[0].GetMetric()[0].GetGauge().GetValue()
		}
		q, second := construct("pods", limiter()), construct("pods", limiter())
		q.Add("a")
		q.Add("b")
		require.InDelta(t, 2, held(), 0)
		pass(quiet)
		require.InDelta(t, 0, held(), 0)

		second.ShutDown()
		require.InDelta(t, 0, held(), 0, "it is the first queue's")
		q.ShutDown()
		require.InDelta(t, -1, held(), 0)
		third := construct("pods", limiter())
		require.InDelta(t, 0, held(), 0)
		q.ShutDown()
		require.InDelta(t, 0, held(), 0, "it is the third queue's")
		third.ShutDown()
	})
}

func TestNew_errors(t *testing.T) {
	any1 := func(int) bool { return true }
	_, err := throttlequeue.New[string](throttle.Policy{
		Interval: -1, Edges: throttle.Leading, MaxInterval: time.Hour, Retry: throttle.Backoff{Initial: time.Second},
	},
		nil, throttlequeue.WithQueue[string](nil), throttlequeue.WithPolicy[string](nil, throttle.Policy{}),
		throttlequeue.WithPolicy(any1, throttle.Policy{}), throttlequeue.WithQueue(throttle.Must(throttlequeue.New[int](throttle.Every(1)))))
	var problem *throttle.PolicyError
	require.ErrorAs(t, err, &problem)
	for _, text := range []string{
		"Interval -1ns", "Edges 1", "MaxInterval 1h", "Retry {", "Option <nil>", "WithQueue <nil>", "WithPolicy <nil>", "WithQueue 0x", "WithPolicy 0x",
	} {
		assert.ErrorContains(t, err, text)
	}
}
