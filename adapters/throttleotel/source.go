package throttleotel

import (
	"context"
	"maps"
	"slices"
	"sync"

	"go.opentelemetry.io/otel/metric"

	"github.com/throttle-go/throttle"
)

// This file holds what is told of throttles between their runs.

// A Source is what [Telemetry.Add] takes: a [*throttle.Throttler], a
// [*throttle.Group] or a [*throttle.Coalescer].
type Source interface {
	Name() string
	Stats() throttle.Stats
}

// A grouped is a Source with keys.
type grouped interface{ Len() int }

// Add makes t tell what source.Stats says, whenever metrics are collected, until
// remove is called; what is collected then may still hold it. Sources of one name are
// told as one, their sum. The counts of those that are removed stay in it as long as
// it has others: to count to the end, close source first.
//
// Until it is removed, t keeps source from being garbage collected. remove may be
// called several times.
func (t *Telemetry) Add(source Source) (remove func()) {
	name, a := source.Name(), &added{source}
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.families[name]
	f.sources = append(f.sources, a)
	t.families[name] = f
	return sync.OnceFunc(func() { t.remove(name, a) })
}

// remove takes a, which is in it, out of the family of that name.
func (t *Telemetry) remove(name string, a *added) {
	stats := a.Stats()
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.families[name]
	if len(f.sources) == 1 {
		delete(t.families, name)
		return
	}
	i := slices.Index(f.sources, a)
	f.sources = slices.Concat(f.sources[:i], f.sources[i+1:])
	f.past.count(stats)
	t.families[name] = f
}

// A family is the sources of one name.
type family struct {
	sources []*added // at least one; none is overwritten, so that a copy stays as it is
	past    sum      // of those that were removed: their counts
}

// An added is a Source that was added, and is told from others by its address.
type added struct{ Source }

// A sum is what sources of one name amount to.
type sum struct {
	calls   uint64
	dropped uint64
	pending int64
	running int64
	keys    int64
	grouped bool // there is a Group among them
}

// count adds what only ever grows.
func (s *sum) count(stats throttle.Stats) {
	s.calls += stats.Calls
	s.dropped += stats.Dropped
}

// add adds source.
func (s *sum) add(source Source) {
	stats := source.Stats()
	s.count(stats)
	if stats.Pending {
		s.pending++
	}
	if stats.Running {
		s.running++
	}
	if group, ok := source.(grouped); ok {
		s.grouped = true
		s.keys += int64(group.Len())
	}
}

// observe tells o of all families.
func (t *Telemetry) observe(_ context.Context, o metric.Observer) error {
	for name, f := range t.snapshot() {
		s := f.past
		for _, source := range f.sources {
			s.add(source.Source)
		}
		of := named(name)
		if s.calls > 0 { // they are counted
			o.ObserveInt64(t.calls, number(s.calls), of)
		}
		o.ObserveInt64(t.dropped, number(s.dropped), of)
		o.ObserveInt64(t.pending, s.pending, of)
		o.ObserveInt64(t.running, s.running, of)
		if s.grouped {
			o.ObserveInt64(t.keys, s.keys, of)
		}
	}
	return nil
}

// snapshot returns the families as they are now: Stats is not called under mu.
func (t *Telemetry) snapshot() map[string]family {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.families)
}
