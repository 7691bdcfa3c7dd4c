package main

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/samber/lo"
	"golang.org/x/time/rate"

	"github.com/throttle-go/throttle"
)

// held is the number of keys: too many for a small map, few enough for the cache.
const held = 1000

func keyedCalls() subject {
	s := subject{
		name:  "keys",
		title: "A Group's call during its key's window, among 1 000 keys",
		notes: []string{
			"plain map, RWMutex map: look up a Throttler and call it. The plain map allows no concurrent write.",
			"Limiter map: rate.Limiters in a map under a mutex.",
			"dropped: ours refuses the call, too (Edges: Leading).",
		},
	}
	number := func(i int) int { return i }
	numbers, hot := keysOf(number), []int{held / 2}
	limiting, byLo := keyed[int]{limiterMapName, limiterMap[int]}, keyed[int]{throttleByName, throttleBy[int]}
	coalescing, dropping := keyed[int]{ownName, pendingGroup[int]}, keyed[int]{ownName, droppingGroup[int]}
	plain, locked := keyed[int]{"plain map", plainMap[int]}, keyed[int]{"RWMutex map", lockedMap[int]}
	for _, peer := range []keyed[int]{plain, locked, limiting, byLo} {
		s.experiments = append(s.experiments, besideGroup("hot key", numbers, hot, coalescing, peer)...)
	}
	for _, peer := range []keyed[int]{limiting, byLo} {
		s.experiments = append(s.experiments, besideGroup("in turn", numbers, numbers, coalescing, peer)...)
	}
	names := keysOf(func(i int) string { return "tenant-" + strconv.Itoa(i) })
	s.experiments = append(s.experiments, besideGroup("strings", names, names,
		keyed[string]{ownName, pendingGroup[string]}, keyed[string]{limiterMapName, limiterMap[string]})...)
	s.experiments = append(s.experiments, besideGroup("dropped", numbers, numbers, dropping, limiting)...)
	return s
}

// A keyed prepares calls for each of called in turn, in a collection of all keys.
type keyed[K comparable] struct {
	name    string
	prepare func(keys, called []K) (repeat func(n int), stop func(), err error)
}

// besideGroup compares ours with a peer.
func besideGroup[K comparable](what string, keys, called []K, ours, peer keyed[K]) []experiment {
	of := func(k keyed[K]) repeater {
		return repeater{k.name, func() (repeat func(n int), stop func(), err error) { return k.prepare(keys, called) }}
	}
	experiments := besideOurs(of(ours), of(peer))
	for i := range experiments {
		experiments[i].setting = what + ", " + experiments[i].setting
	}
	return experiments
}

func keysOf[K any](key func(int) K) []K {
	keys := make([]K, held)
	for i := range keys {
		keys[i] = key(i)
	}
	return keys
}

// next returns the index that follows i in keys, round robin. Each side has its own
// loop around its call. A shared loop would take a closure: our calls would pay for
// it, and a peer that is a closure itself would not.
func next[K any](i int, keys []K) int {
	i++
	if i == len(keys) {
		return 0
	}
	return i
}

// pendingGroup calls a Group that has a run pending for each key, due in an hour.
func pendingGroup[K comparable](keys, called []K) (repeat func(n int), stop func(), err error) {
	g, err := newGroup(keys)
	if err != nil {
		return nil, nil, err
	}
	for _, key := range keys {
		if err := g.Call(key); err != nil {
			return nil, nil, err
		}
	}
	return func(n int) {
		i := 0
		for range n {
			_ = g.Call(called[i])
			i = next(i, called)
		}
	}, func() { _ = g.Close() }, nil
}

// droppingGroup calls a Group that drops the calls: it has no trailing edge.
func droppingGroup[K comparable](keys, called []K) (repeat func(n int), stop func(), err error) {
	g, err := newGroup(keys)
	if err != nil {
		return nil, nil, err
	}
	if err := g.SetPolicy(throttle.Policy{Interval: time.Hour, Edges: throttle.Leading}); err != nil {
		return nil, nil, err
	}
	return func(n int) {
		i := 0
		for range n {
			_ = g.Call(called[i])
			i = next(i, called)
		}
	}, func() { _ = g.Close() }, nil
}

// newGroup returns a Group in which each key has just run and may run again in an
// hour.
func newGroup[K comparable](keys []K) (*throttle.Group[K], error) {
	g, err := throttle.NewGroup(throttle.Every(time.Hour), func(context.Context, K) error { return nil })
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		if err := g.Do(context.Background(), key); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// throttlers returns a map with the same Throttler for each key: the experiments
// call only that of a hot key.
func throttlers[K comparable](keys []K) (map[K]*throttle.Throttler, error) {
	t, err := pending(throttle.Every(time.Hour))
	if err != nil {
		return nil, err
	}
	all := make(map[K]*throttle.Throttler)
	for _, key := range keys {
		all[key] = t
	}
	return all, nil
}

// plainMap is the lower bound: a map without any lock.
func plainMap[K comparable](keys, called []K) (repeat func(n int), stop func(), err error) {
	all, err := throttlers(keys)
	if err != nil {
		return nil, nil, err
	}
	return func(n int) {
		i := 0
		for range n {
			all[called[i]].Call()
			i = next(i, called)
		}
	}, nothing, nil
}

// lockedMap is the handwritten solution, except that it never forgets a key.
func lockedMap[K comparable](keys, called []K) (repeat func(n int), stop func(), err error) {
	all, err := throttlers(keys)
	if err != nil {
		return nil, nil, err
	}
	var mu sync.RWMutex
	return func(n int) {
		i := 0
		for range n {
			mu.RLock()
			t := all[called[i]]
			mu.RUnlock()
			t.Call()
			i = next(i, called)
		}
	}, nothing, nil
}

// A limiters is the usual way to limit work per key.
type limiters[K comparable] struct {
	every time.Duration

	mu sync.Mutex // guards the field below

	// +checklocks:mu
	limiters map[K]*rate.Limiter
}

func newLimiters[K comparable](every time.Duration) *limiters[K] {
	return &limiters[K]{every: every, limiters: make(map[K]*rate.Limiter)}
}

func (l *limiters[K]) allow(key K) bool { return l.of(key).Allow() }

func (l *limiters[K]) of(key K) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	limiter := l.limiters[key]
	if limiter == nil {
		limiter = rate.NewLimiter(rate.Every(l.every), 1)
		l.limiters[key] = limiter
	}
	return limiter
}

func limiterMap[K comparable](keys, called []K) (repeat func(n int), stop func(), err error) {
	l := newLimiters[K](time.Hour)
	for _, key := range keys {
		l.allow(key)
	}
	return func(n int) {
		i := 0
		for range n {
			l.allow(called[i])
			i = next(i, called)
		}
	}, nothing, nil
}

func throttleBy[K comparable](keys, called []K) (repeat func(n int), stop func(), err error) {
	call, reset := lo.NewThrottleBy(time.Hour, func(K) {})
	for _, key := range keys {
		call(key)
	}
	return func(n int) {
		i := 0
		for range n {
			call(called[i])
			i = next(i, called)
		}
	}, reset, nil
}
