package throttle_test

// This file shows that a Group owns nothing for the keys that are idle but their
// memory, and not even that once they are forgotten.

import (
	"context"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/throttle-go/throttle"
)

// nothing is a callback that does that.
func nothing(context.Context, int) error { return nil }

// TestGroupIdleKeysOwnNoGoroutine compares with what there was before the first key.
// That they own no timer either is what TestGroupForgottenKeysGiveTheirMemoryBack and
// TestDroppedGroupIsCollected hold.
func TestGroupIdleKeysOwnNoGoroutine(t *testing.T) {
	const keys = 3_000
	goroutines := runtime.NumGoroutine()
	g := throttle.Must(throttle.NewGroup(throttle.Every(time.Hour), nothing))
	for key := range keys {
		if err := g.Call(key); err != nil {
			t.Fatalf("a call was refused: %v", err)
		}
	}
	eventually(t, "the goroutines of the runs", func() bool { return runtime.NumGoroutine() <= goroutines })
	if held := g.Len(); held != keys {
		t.Errorf("%d keys are held", held)
	}
	_ = g.Close()
}

// TestGroupKeysOwnNoTimerOfTheirOwn tells an idle key's weight: a timer would cost it
// more than 100 bytes.
func TestGroupKeysOwnNoTimerOfTheirOwn(t *testing.T) {
	const keys, most = 5_000, 336 // bytes
	g := throttle.Must(throttle.NewGroup(throttle.Every(time.Hour), nothing))
	warmUp(t, g, keys)
	if err := g.SetPolicy(throttle.Every(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	emptied(t, g)
	if err := g.SetPolicy(throttle.Every(time.Hour)); err != nil {
		t.Fatal(err)
	}
	empty := heapInUse()
	warmUp(t, g, keys)
	full := heapInUse()
	if held := g.Len(); held != keys {
		t.Errorf("%d keys are held", held)
	}
	weight := (full - empty) / keys
	t.Logf("%d bytes per idle key", weight)
	if weight > most {
		t.Errorf("an idle key weighs %d bytes, more than %d", weight, most)
	}
	_ = g.Close()
}

// warmUp has all keys run once, and so the runtime make the descriptors of
// goroutines that it never gives back.
func warmUp(t *testing.T, g *throttle.Group[int], keys int) {
	t.Helper()
	goroutines := runtime.NumGoroutine()
	for key := range keys {
		if err := g.Call(key); err != nil {
			t.Fatalf("a call was refused: %v", err)
		}
		if key%100 == 0 {
			eventually(t, "the runs", func() bool { return runtime.NumGoroutine() <= goroutines+100 })
		}
	}
	eventually(t, "the runs", func() bool { return runtime.NumGoroutine() <= goroutines })
}

func emptied(t *testing.T, g *throttle.Group[int]) {
	t.Helper()
	eventually(t, "all keys to be forgotten", func() bool {
		runtime.Gosched()
		return g.Len() == 0
	})
}

// TestGroupForgottenKeysGiveTheirMemoryBack lets very many keys come and go through
// every kind of wait. What is compared is the heap with all of them and the heap
// once they are forgotten, the group still there: what the runtime keeps of
// goroutines that have ended is in both figures.
func TestGroupForgottenKeysGiveTheirMemoryBack(t *testing.T) {
	const keys = 10_000
	g := throttle.Must(throttle.NewGroup(throttle.Every(time.Hour), nothing, throttle.WithMaxConcurrent(8)))
	warmUp(t, g, 1000)
	if err := g.SetPolicy(throttle.Policy{}); err != nil {
		t.Fatal(err)
	}
	emptied(t, g)
	empty := heapInUse()
	if err := g.SetPolicy(throttle.Every(time.Hour)); err != nil {
		t.Fatal(err)
	}
	warmUp(t, g, keys)
	for key := range keys {
		if key%3 == 0 {
			_ = g.Call(key) // a timer
		}
		if key%6 == 0 {
			g.Cancel(key) // a timer stopped
		}
	}
	full := heapInUse()
	if err := g.SetPolicy(throttle.Policy{}); err != nil {
		t.Fatal(err)
	}
	emptied(t, g)
	left := heapInUse()
	t.Logf("%d bytes with no key, %d more with %d keys, %d more once they are forgotten", empty, full-empty, keys, left-empty)
	if full-left < (full-empty)*95/100 {
		t.Errorf("%d keys took %d bytes, and gave %d back when they were forgotten", keys, full-empty, full-left)
	}
	runtime.KeepAlive(g)
}

// TestDroppedGroupIsCollected tells that no Close is needed once no key is held
// and there is no parent context to watch. A timer, a goroutine or anything else
// that the group owned would keep it.
func TestDroppedGroupIsCollected(t *testing.T) {
	ctx := context.Background()
	for name, use := range map[string]func(*throttle.Group[int]){
		"never called": func(*throttle.Group[int]) {},
		"run":          func(g *throttle.Group[int]) { _ = g.Do(ctx, 1) },
		"many keys": func(g *throttle.Group[int]) {
			for key := range 1000 {
				_ = g.Call(key)
			}
		},
		"deferred": func(g *throttle.Group[int]) {
			for range 3 {
				_ = g.Do(ctx, 1)
			}
		},
		"flushed": func(g *throttle.Group[int]) {
			_ = g.SetPolicy(throttle.Debounce(10*time.Millisecond, 0))
			_ = g.Call(1)
			_ = g.Flush(ctx, 1)
		},
		"canceled": func(g *throttle.Group[int]) {
			_ = g.SetPolicy(throttle.Policy{Interval: time.Hour, Edges: throttle.Trailing})
			_ = g.Call(1)
			g.Cancel(1)
		},
		"closed with keys": func(g *throttle.Group[int]) {
			_ = g.SetPolicy(throttle.Every(time.Hour))
			_ = g.Do(ctx, 1)
			_ = g.Call(1)
			_ = g.Call(2)
			_ = g.Close()
		},
		"window cut short": func(g *throttle.Group[int]) {
			_ = g.SetPolicy(throttle.Every(time.Hour))
			_ = g.Do(ctx, 1)
			_ = g.SetPolicy(throttle.Policy{})
		},
		"periodic no more": func(g *throttle.Group[int]) {
			_ = g.SetPolicy(throttle.Policy{MaxInterval: time.Hour})
			_ = g.Do(ctx, 1)
			_ = g.SetPolicy(throttle.Policy{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := throttle.Must(throttle.NewGroup(throttle.Every(5*time.Millisecond), nothing, throttle.WithMaxConcurrent(2)))
			use(g)
			emptied(t, g)
			dropped := weak.Make(g)
			// From here on this function refers to it no more.
			if !collectedSoon(dropped) {
				t.Error("an empty group that was dropped is still there")
			}
		})
	}
}

// TestClosedGroupIsCollectedWhileItsParentLives tells that who closes a Group need not
// end the context that it was given.
func TestClosedGroupIsCollectedWhileItsParentLives(t *testing.T) {
	g := throttle.Must(throttle.NewGroup(throttle.Every(time.Hour), nothing, throttle.WithContext(t.Context())))
	_ = g.Do(context.Background(), 1)
	_ = g.Close()
	dropped := weak.Make(g)
	// From here on this function refers to it no more.
	if !collectedSoon(dropped) {
		t.Error("a closed group that was dropped is still there")
	}
}

// TestDroppedGroupRunsFirst tells that being dropped loses no call: the group
// lives until what is pending has run.
func TestDroppedGroupRunsFirst(t *testing.T) {
	const keys = 20
	var runs atomic.Int32
	g := throttle.Must(throttle.NewGroup(throttle.Debounce(20*time.Millisecond, 0), func(context.Context, int) error {
		runs.Add(1)
		return nil
	}, throttle.WithMaxConcurrent(1)))
	for key := range keys {
		if err := g.Call(key); err != nil {
			t.Fatalf("a call was refused: %v", err)
		}
	}
	dropped := weak.Make(g)
	for enough := time.Now().Add(10 * time.Second); runs.Load() < keys || dropped.Value() != nil; time.Sleep(time.Millisecond) {
		runtime.GC()
		if time.Now().After(enough) {
			t.Fatalf("%d of %d runs took place, the group is there: %t", runs.Load(), keys, dropped.Value() != nil)
		}
	}
}

// TestGroupForgottenKeyIsCollected tells that a group which goes on keeps nothing of a
// key it has forgotten, be it in its table, in a queue or in what it waits for.
func TestGroupForgottenKeyIsCollected(t *testing.T) {
	type big struct{ _ [1 << 10]byte }
	const keys = 1000
	var collected atomic.Int32
	g := throttle.Must(throttle.NewGroup(throttle.Every(time.Millisecond), func(context.Context, *big) error { return nil },
		throttle.WithMaxConcurrent(4)))
	stays := new(big)
	var calling sync.WaitGroup
	for range keys {
		calling.Go(func() {
			key := new(big)
			runtime.AddCleanup(key, func(struct{}) { collected.Add(1) }, struct{}{})
			_ = g.Call(key)
			_ = g.Do(context.Background(), key)
			_ = g.Call(key)
			g.Cancel(key)
		})
	}
	calling.Wait()
	_ = g.Call(stays)
	eventually(t, "all keys to be collected", func() bool {
		runtime.GC()
		time.Sleep(time.Millisecond)
		return collected.Load() == keys
	})
	runtime.KeepAlive(stays)
	_ = g.Close()
}

// TestGroupKeyThatLeftTheQueueIsCollected tells that the queue for turns keeps
// nothing of who has left it, while others still wait.
func TestGroupKeyThatLeftTheQueueIsCollected(t *testing.T) {
	type big struct{ _ [1 << 10]byte }
	const keys = 100
	var collected atomic.Int32
	busy, release := make(chan struct{}, keys+1), make(chan struct{})
	g := throttle.Must(throttle.NewGroup(throttle.Policy{}, func(context.Context, *big) error {
		busy <- struct{}{}
		<-release
		return nil
	}, throttle.WithMaxConcurrent(1)))
	_ = g.Call(new(big))
	<-busy
	stay := make([]*big, keys)
	for i := range stay {
		stay[i] = new(big)
		_ = g.Call(stay[i])
	}
	leave := make([]*big, keys)
	for i := range leave {
		leave[i] = new(big)
		runtime.AddCleanup(leave[i], func(struct{}) { collected.Add(1) }, struct{}{})
		_ = g.Call(leave[i])
	}
	for i, key := range leave {
		if leave[i] = nil; !g.Cancel(key) {
			t.Error("a key is not in the queue")
		}
	}
	eventually(t, "all keys to be collected", func() bool {
		runtime.GC()
		time.Sleep(time.Millisecond)
		return collected.Load() == keys
	})
	runtime.KeepAlive(stay)
	close(release)
	if err := g.Shutdown(context.Background()); err != nil {
		t.Errorf("Shutdown returned %v", err)
	}
}

// TestEmptyGroupLeavesNothingBehindInABubble needs no Close: a goroutine that was
// left would make the bubble fail.
func TestEmptyGroupLeavesNothingBehindInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := throttle.Must(throttle.NewGroup(throttle.Every(time.Second), func(context.Context, string) error { return nil }))
		for key := range 100 {
			if err := g.Do(context.Background(), strconv.Itoa(key)); err != nil {
				t.Errorf("Do returned %v", err)
			}
		}
		if held := g.Len(); held != 100 {
			t.Errorf("%d keys are held", held)
		}
	})
}
