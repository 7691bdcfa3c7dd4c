package sources_test

import (
	"context"
	"reflect"
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
	"github.com/throttle-go/throttle/fleet"
)

// A fake is a source with given Stats. The next call of Stats also calls meanwhile.
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

// A fakeReplica is a fake with given Counts.
type fakeReplica struct {
	fake

	counts fleet.Counts
}

func (f *fakeReplica) Counts() fleet.Counts { return f.counts }

// A fakeFleetGroup is a fakeReplica that holds three keys.
type fakeFleetGroup struct{ fakeReplica }

func (*fakeFleetGroup) Len() int { return 3 }

// counted returns a source that dropped a third of its calls, and refused twice as many.
func counted(calls uint64) *fake {
	return &fake{name: "reload", stats: throttle.Stats{Calls: calls, Dropped: calls / 3, Refused: 2 * calls}}
}

// sums returns the sums of set, sorted by name.
func sums(set *sources.Set) []sources.Sum {
	return slices.SortedFunc(slices.Values(set.Sums()), func(a, b sources.Sum) int { return strings.Compare(a.Name, b.Name) })
}

func TestSet_Sums(t *testing.T) {
	var set sources.Set
	require.Empty(t, set.Sums())
	now := time.Now()
	set.Add(&fake{name: "reload", stats: throttle.Stats{Calls: 1, Dropped: 10, Pending: true, Next: now.Add(2)}})
	set.Add(&fake{name: "reload", stats: throttle.Stats{Calls: 2, Dropped: 20, Pending: true, Running: true}})
	set.Add(&fake{name: "reload", stats: throttle.Stats{Calls: 3, Dropped: 30, Next: now.Add(1)}})
	set.Add(&fakeGroup{fake{name: "reload", stats: throttle.Stats{Refused: 1, Batches: 2, Values: 3}}})
	set.Add(&fakeGroup{fake{name: "reload", stats: throttle.Stats{Refused: 10, Batches: 20, Values: 30, Next: now.Add(3)}}})
	set.Add(&fake{stats: throttle.Stats{Calls: 5}})
	require.Equal(t, []sources.Sum{
		{Name: "", Calls: 5, Sources: 1},
		{
			Name: "reload", Calls: 6, Dropped: 60, Refused: 11, Sources: 5, Pending: 2, Running: 1,
			Groups: 2, Keys: 6, Batches: 22, Values: 33, Next: now.Add(1),
		},
	}, sums(&set))
}

func TestSet_RealThrottles(t *testing.T) {
	group := throttle.Must(throttle.NewGroup(throttle.Debounce(time.Hour, 0),
		func(context.Context, int) error { return nil }, throttle.WithName("users"), throttle.WithCallCount()))
	defer group.Close()
	coalescer := throttle.Must(throttle.NewCoalescer(throttle.Every(time.Hour), throttle.Latest[int](),
		func(context.Context, int) error { return nil }, throttle.WithName("users")))
	keyed := throttle.Must(throttle.NewKeyedCoalescer(throttle.Debounce(time.Hour, 0), throttle.Batch[int](),
		func(context.Context, int, []int) error { return nil }, throttle.WithName("users"), throttle.WithMaxPending(2)))
	defer func() { assert.NoError(t, keyed.Shutdown(t.Context())) }()
	require.NoError(t, group.Call(1))
	require.NoError(t, group.Call(2))
	require.NoError(t, keyed.Call(3, 1))
	require.NoError(t, keyed.Call(3, 2))
	require.ErrorIs(t, keyed.Call(3, 3), throttle.ErrFull)

	var set sources.Set
	set.Add(group)
	set.Add(coalescer)
	set.Add(keyed)
	set.Add(throttle.Must(throttle.New(throttle.Every(time.Hour), func() {}, throttle.WithName("users"))))
	got := set.Sums()
	require.Len(t, got, 1)
	assert.False(t, got[0].Next.IsZero())
	got[0].Next = time.Time{}
	require.Equal(t, sources.Sum{
		Name: "users", Calls: 4, Refused: 1, Sources: 4, Pending: 2, Groups: 2, Keys: 3, Batches: 1, Values: 2,
	}, got[0])
}

func TestSet_Fleet(t *testing.T) {
	all := func(times uint64) fleet.Counts { // every field, each with its own value
		var counts fleet.Counts
		fields := reflect.ValueOf(&counts).Elem()
		for i := range fields.NumField() {
			fields.Field(i).SetUint(times << i)
		}
		return counts
	}
	var set sources.Set
	first, second := &fakeReplica{fake{name: "tenants"}, all(1)}, &fakeFleetGroup{fakeReplica{fake{name: "tenants"}, all(1)}}
	remove, removeSecond := set.Add(first), set.Add(second)
	set.Add(&fake{name: "tenants"})()
	set.Add(&fake{name: "others"})
	others := sources.Sum{Name: "others", Sources: 1}
	present := sources.Sum{Name: "tenants", Fleet: true, Counts: all(2), Sources: 2, Groups: 1, Keys: 3}
	require.Equal(t, []sources.Sum{others, present}, sums(&set))

	second.counts = fleet.Counts{}
	require.Equal(t, []sources.Sum{others, present}, sums(&set), "counts never fall")
	first.counts = all(2)
	remove()
	removeSecond()
	remove()
	removed := sources.Sum{Name: "tenants", Fleet: true, Counts: all(3)}
	require.Equal(t, []sources.Sum{others, removed}, sums(&set), "the last counts of a removed source stay")
	set.Add(&fakeReplica{fake{name: "tenants"}, all(1)})
	set.Add(&fakeReplica{fake: fake{name: "others"}})
	require.Equal(t, []sources.Sum{
		{Name: "others", Fleet: true, Sources: 2},
		{Name: "tenants", Fleet: true, Counts: all(4), Sources: 1},
	}, sums(&set))
}

func TestSum_NextUnix(t *testing.T) {
	far := time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC) // beyond the range of UnixNano
	require.InDelta(t, 10413792000.0, sources.Sum{Next: far}.NextUnix(), 0)
	require.InDelta(t, 1.5, sources.Sum{Next: time.UnixMilli(1500)}.NextUnix(), 0)
}

func TestSet_AddNil(t *testing.T) {
	var set sources.Set
	none, err := throttle.New(throttle.Policy{Interval: -1}, func() {})
	require.Error(t, err)
	for _, source := range []sources.Source{
		nil, none, (*throttle.Group[int])(nil), (*throttle.Coalescer[int, int])(nil),
		(*throttle.KeyedCoalescer[int, int, int])(nil), (*fleet.Throttler)(nil),
	} {
		set.Add(source)()
	}
	require.Empty(t, set.Sums())
	require.False(t, sources.IsNil(value{}))
}

// A value is a source that is not a pointer.
type value struct{}

func (value) Name() string          { return "" }
func (value) Stats() throttle.Stats { return throttle.Stats{} }

func TestSet_InvalidNames(t *testing.T) {
	var set sources.Set
	for _, name := range []string{"a\xff", "a\xfe", "a\ufffd"} {
		set.Add(&fake{name: name})
	}
	require.Equal(t, []sources.Sum{{Name: "a\ufffd", Sources: 3}}, set.Sums())
}

func TestSet_Remove(t *testing.T) {
	var set sources.Set
	last := counted(3)
	last.stats.Pending, last.stats.Running, last.stats.Next = true, true, time.Now()
	remove, removeLast := set.Add(counted(6)), set.Add(last)
	remove()
	require.Equal(t, sources.Sum{Name: "reload", Calls: 9, Dropped: 3, Refused: 18, Sources: 1, Pending: 1, Running: 1, Next: last.stats.Next}, set.Sums()[0])
	removeLast()
	removeLast()
	remove()
	require.Equal(t, []sources.Sum{{Name: "reload", Calls: 9, Dropped: 3, Refused: 18}}, set.Sums())
	set.Add(counted(12))
	require.Equal(t, []sources.Sum{{Name: "reload", Calls: 21, Dropped: 7, Refused: 42, Sources: 1}}, set.Sums())
}

// A source that counts on while it is removed may be read again after remove has read it.
func TestSet_SumsDuringRemove(t *testing.T) {
	var set sources.Set
	source := counted(3)
	remove := set.Add(source)
	var got []uint64
	read := func() { got = append(got, set.Sums()[0].Calls) }
	source.meanwhile = func() { // remove has read 3
		source.stats.Calls = 6
		read()
	}
	remove()
	read()
	set.Add(counted(1))
	read()
	require.Equal(t, []uint64{6, 6, 7}, got)
}

// If a source is removed while Sums reads it, only its counts remain.
func TestSet_RemoveDuringSums(t *testing.T) {
	var set sources.Set
	source := counted(3)
	source.stats.Pending = true
	remove := set.Add(source)
	source.meanwhile = func() { // Sums has read 3
		source.stats.Calls = 6
		remove()
	}
	require.Equal(t, []sources.Sum{{Name: "reload", Calls: 6, Dropped: 1, Refused: 6}}, set.Sums())
}

func TestSet_CountsFall(t *testing.T) {
	var set sources.Set
	source := counted(6)
	set.Add(source)
	require.EqualValues(t, 6, set.Sums()[0].Calls)
	source.stats = throttle.Stats{Calls: 3}
	require.Equal(t, []sources.Sum{{Name: "reload", Calls: 6, Dropped: 2, Refused: 12, Sources: 1}}, set.Sums())
}

func TestSet_NoLockHeld(t *testing.T) {
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
			remove() // inside the outer remove, as another goroutine might at the same time
		}
		remove()
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		require.Fail(t, "the source waits for itself")
	}
	require.Equal(t, []sources.Sum{{Name: "reload", Calls: 3, Refused: 6}}, set.Sums())
}

func TestSet_RemovedSourceIsCollected(t *testing.T) {
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

func TestSet_Concurrent(t *testing.T) {
	const goroutines, rounds = 4, 200
	var set sources.Set
	var all sync.WaitGroup
	for range goroutines {
		all.Go(func() {
			for range rounds {
				source := throttle.Must(throttle.New(throttle.Every(time.Hour), func() {},
					throttle.WithName("session"), throttle.WithCallCount()))
				remove := set.Add(source)
				removeReplica := set.Add(&fakeReplica{fake{name: "session"}, fleet.Counts{Late: 1}})
				source.Call()
				all.Go(remove)
				all.Go(removeReplica)
				remove()
				removeReplica()
				_ = source.Close()
			}
		})
		all.Go(func() {
			var last sources.Sum
			for range rounds {
				for _, sum := range set.Sums() {
					assert.GreaterOrEqual(t, sum.Calls, last.Calls)
					assert.GreaterOrEqual(t, sum.Counts.Late, last.Counts.Late)
					assert.LessOrEqual(t, sum.Sources, 2*goroutines)
					last = sum
				}
			}
		})
	}
	all.Wait()
	require.Equal(t, []sources.Sum{{
		Name: "session", Calls: goroutines * rounds, Fleet: true, Counts: fleet.Counts{Late: goroutines * rounds},
	}}, set.Sums())
}
