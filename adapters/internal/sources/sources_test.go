package sources_test

import (
	"context"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"weak"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/adapters/internal/sources"
)

// A fake is a source that says what it is told to, and does something meanwhile.
type fake struct {
	name      string
	stats     throttle.Stats
	meanwhile func()
}

func (f *fake) Name() string { return f.name }

func (f *fake) Stats() throttle.Stats {
	stats := f.stats
	if meanwhile := f.meanwhile; meanwhile != nil {
		f.meanwhile = nil
		meanwhile()
	}
	return stats
}

// A fakeGroup is a fake that holds three keys.
type fakeGroup struct{ fake }

func (*fakeGroup) Len() int { return 3 }

// counted returns a source that has dropped a third of what it counted.
func counted(calls uint64) *fake {
	return &fake{name: "reload", stats: throttle.Stats{Calls: calls, Dropped: calls / 3}}
}

// sums returns the sums of set by name.
func sums(set *sources.Set) []sources.Sum {
	return slices.SortedFunc(slices.Values(set.Sums()), func(a, b sources.Sum) int { return strings.Compare(a.Name, b.Name) })
}

func TestSourcesOfOneNameAreTheirSum(t *testing.T) {
	var set sources.Set
	require.Empty(t, set.Sums())
	now := time.Now()
	set.Add(&fake{name: "reload", stats: throttle.Stats{Calls: 1, Dropped: 10, Pending: true, Next: now.Add(2)}})
	set.Add(&fake{name: "reload", stats: throttle.Stats{Calls: 2, Dropped: 20, Pending: true, Running: true}})
	set.Add(&fake{name: "reload", stats: throttle.Stats{Calls: 3, Dropped: 30, Next: now.Add(1)}})
	set.Add(&fakeGroup{fake{name: "reload"}})
	set.Add(&fakeGroup{fake{name: "reload", stats: throttle.Stats{Next: now.Add(3)}}})
	set.Add(&fake{stats: throttle.Stats{Calls: 5}})
	require.Equal(t, []sources.Sum{
		{Name: "", Calls: 5, Sources: 1},
		{Name: "reload", Calls: 6, Dropped: 60, Sources: 5, Pending: 2, Running: 1, Groups: 2, Keys: 6, Next: now.Add(1)},
	}, sums(&set))
}

func TestThrottlesAreSources(t *testing.T) {
	group := throttle.Must(throttle.NewGroup(throttle.Debounce(time.Hour, 0),
		func(context.Context, int) error { return nil }, throttle.WithName("users"), throttle.WithCallCount()))
	defer group.Close()
	coalescer := throttle.Must(throttle.NewCoalescer(throttle.Every(time.Hour), throttle.Latest[int],
		func(context.Context, int) error { return nil }, throttle.WithName("users")))
	require.NoError(t, group.Call(1))
	require.NoError(t, group.Call(2))

	var set sources.Set
	set.Add(group)
	set.Add(coalescer)
	set.Add(throttle.Must(throttle.New(throttle.Every(time.Hour), func() {}, throttle.WithName("users"))))
	got := set.Sums()
	require.Len(t, got, 1)
	assert.False(t, got[0].Next.IsZero())
	got[0].Next = time.Time{}
	require.Equal(t, sources.Sum{Name: "users", Calls: 2, Sources: 3, Pending: 1, Groups: 1, Keys: 2}, got[0])
}

func TestNextUnixIsExact(t *testing.T) {
	far := time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC) // after the last that UnixNano knows
	require.InDelta(t, 10413792000.0, sources.Sum{Next: far}.NextUnix(), 0)
	require.InDelta(t, 1.5, sources.Sum{Next: time.UnixMilli(1500)}.NextUnix(), 0)
}

func TestNilCountsForNothing(t *testing.T) {
	var set sources.Set
	none, err := throttle.New(throttle.Policy{Interval: -1}, func() {})
	require.Error(t, err)
	for _, source := range []sources.Source{nil, none, (*throttle.Group[int])(nil), (*throttle.Coalescer[int])(nil)} {
		set.Add(source)()
	}
	require.Empty(t, set.Sums())
	require.False(t, sources.IsNil(value{}))
}

// A value is a source that is no pointer.
type value struct{}

func (value) Name() string          { return "" }
func (value) Stats() throttle.Stats { return throttle.Stats{} }

func TestNamesThatLookTheSameAreOne(t *testing.T) {
	var set sources.Set
	for _, name := range []string{"a\xff", "a\xfe", "a\ufffd"} {
		set.Add(&fake{name: name})
	}
	require.Equal(t, []sources.Sum{{Name: "a\ufffd", Sources: 3}}, set.Sums())
}

func TestCountsStayWhenTheirSourceIsRemoved(t *testing.T) {
	var set sources.Set
	last := counted(3)
	last.stats.Pending, last.stats.Running, last.stats.Next = true, true, time.Now()
	remove, removeLast := set.Add(counted(6)), set.Add(last)
	remove()
	require.Equal(t, sources.Sum{Name: "reload", Calls: 9, Dropped: 3, Sources: 1, Pending: 1, Running: 1, Next: last.stats.Next}, set.Sums()[0])
	removeLast()
	removeLast()
	remove()
	require.Equal(t, []sources.Sum{{Name: "reload", Calls: 9, Dropped: 3}}, set.Sums())
	set.Add(counted(12))
	require.Equal(t, []sources.Sum{{Name: "reload", Calls: 21, Dropped: 7, Sources: 1}}, set.Sums())
}

// A source that works while it is removed may be read once more, later than for the
// last time.
func TestCountsNeverFallWhileASourceIsRemoved(t *testing.T) {
	var set sources.Set
	source := counted(3)
	remove := set.Add(source)
	var told []uint64
	tell := func() { told = append(told, set.Sums()[0].Calls) }
	source.meanwhile = func() { // remove has read 3
		source.stats.Calls = 6
		tell()
	}
	remove()
	tell()
	set.Add(counted(1))
	tell()
	require.Equal(t, []uint64{6, 6, 7}, told)
}

func TestWhatIsReadBeforeAndToldAfterARemovalIsItsCountsOnly(t *testing.T) {
	var set sources.Set
	source := counted(3)
	source.stats.Pending = true
	remove := set.Add(source)
	source.meanwhile = func() { // the sums have read 3
		source.stats.Calls = 6
		remove()
	}
	require.Equal(t, []sources.Sum{{Name: "reload", Calls: 6, Dropped: 1}}, set.Sums())
}

func TestASourceThatForgetsItsCountsLosesNone(t *testing.T) {
	var set sources.Set
	source := counted(6)
	set.Add(source)
	require.EqualValues(t, 6, set.Sums()[0].Calls)
	source.stats = throttle.Stats{Calls: 3}
	require.Equal(t, []sources.Sum{{Name: "reload", Calls: 6, Dropped: 2, Sources: 1}}, set.Sums())
}

func TestSourcesAreReadWithNoLockHeld(t *testing.T) {
	var set sources.Set
	source := counted(1)
	remove := set.Add(source)
	meddle := func() {
		set.Add(counted(1))()
		set.Sums()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		source.meanwhile = meddle
		set.Sums()
		source.meanwhile = func() {
			meddle()
			remove() // by whom it is read: as another goroutine might at the same time
		}
		remove()
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		require.Fail(t, "the source waits for itself")
	}
	require.Equal(t, []sources.Sum{{Name: "reload", Calls: 3}}, set.Sums())
}

func TestARemovedSourceIsLetGo(t *testing.T) {
	var set sources.Set
	add := func() (func(), weak.Pointer[throttle.Throttler]) {
		source := throttle.Must(throttle.New(throttle.Every(time.Hour), func() {}, throttle.WithName("session")))
		return set.Add(source), weak.Make(source)
	}
	remove, gone := add()
	set.Sums()
	remove()
	require.Eventually(t, func() bool {
		runtime.GC()
		return gone.Value() == nil
	}, 10*time.Second, time.Millisecond)
	remove()
	require.Len(t, set.Sums(), 1)
}

func TestCountsNeverFallAmongMany(t *testing.T) {
	const goroutines, rounds = 4, 200
	var set sources.Set
	var all sync.WaitGroup
	for range goroutines {
		all.Go(func() {
			for range rounds {
				source := throttle.Must(throttle.New(throttle.Every(time.Hour), func() {},
					throttle.WithName("session"), throttle.WithCallCount()))
				remove := set.Add(source)
				source.Call()
				all.Go(remove)
				remove()
				_ = source.Close()
			}
		})
		all.Go(func() {
			var last uint64
			for range rounds {
				for _, sum := range set.Sums() {
					assert.GreaterOrEqual(t, sum.Calls, last)
					assert.LessOrEqual(t, sum.Sources, goroutines)
					last = sum.Calls
				}
			}
		})
	}
	all.Wait()
	require.Equal(t, []sources.Sum{{Name: "session", Calls: goroutines * rounds}}, set.Sums())
}
