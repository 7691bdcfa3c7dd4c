// Package sources adds up what throttles say of themselves, name by name, for
// adapters that tell it to a metrics system: it wants one value for a name, of which
// counts never fall.
package sources

import (
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/throttle-go/throttle"
)

// A Source is a [*throttle.Throttler], a [*throttle.Group] or a [*throttle.Coalescer].
type Source interface {
	Name() string
	Stats() throttle.Stats
}

// A Keyed is a Source that holds keys, as a Group does.
type Keyed interface {
	Source

	Len() int
}

// IsNil reports whether source is nil, or a nil pointer: what a constructor returns
// beside an error.
func IsNil(source Source) bool {
	v := reflect.ValueOf(source)
	return !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil()
}

// Valid returns text as it can be told elsewhere: what is not UTF-8 would have a whole
// scrape or batch refused, and becomes U+FFFD.
func Valid(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// A Sum is what the sources of one name amount to. Its counts are those of all that
// have ever been added, the rest is of those that have not been removed.
type Sum struct {
	Name    string // as Valid returns it
	Calls   uint64
	Dropped uint64

	Sources int       // how many there are; if none, what follows is zero
	Pending int       // of these a call or a retry waits
	Running int       // of these a run is active
	Groups  int       // these hold keys
	Keys    int       // that they hold
	Next    time.Time // when the first of their next runs is due; zero if none is
}

// NextUnix returns Next in seconds since 1970. UnixNano ends in 2262, which is within a
// policy's reach.
func (s Sum) NextUnix() float64 {
	return float64(s.Next.Unix()) + float64(s.Next.Nanosecond())/1e9
}

// A Set is the sources that are told. The zero Set has none. Its methods may be called
// concurrently; sources are read with no lock held.
type Set struct {
	mu sync.Mutex // guards the field below, and the fields of each family and member

	// +checklocks:mu
	families map[string]*family // by valid name; never removed, since counts stay
}

// A family is the sources of one name.
type family struct {
	counts  counts // of all that there have been
	members map[*member]struct{}
}

// A member is a Source that was added.
type member struct {
	family *family
	source Source // nil once it has been removed
	counts counts // the greatest that were read
}

// counts are what only grows.
type counts struct{ calls, dropped uint64 }

// Add has source be told under the name that it has now, until remove is called. A
// source that IsNil is ignored. remove may be called several times, and concurrently.
func (s *Set) Add(source Source) (remove func()) {
	if IsNil(source) {
		return func() {}
	}
	name := Valid(source.Name())
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.families[name]
	if f == nil {
		f = &family{members: make(map[*member]struct{})}
		if s.families == nil {
			s.families = make(map[string]*family)
		}
		s.families[name] = f
	}
	m := &member{family: f, source: source}
	f.members[m] = struct{}{}
	return func() { s.remove(m) }
}

// remove counts m to its end and lets go of its source. A sync.Once instead would be
// a lock that is held while the source is read.
func (s *Set) remove(m *member) {
	s.mu.Lock()
	source := m.source
	s.mu.Unlock()
	if source == nil {
		return
	}
	stats := source.Stats()
	s.mu.Lock()
	defer s.mu.Unlock()
	m.count(stats)
	m.source = nil
	delete(m.family.members, m)
}

// count counts what m has counted since it was read last. Whoever reads m may come
// late, or after it was removed: then there is nothing new, or all the same more.
// The Set must be locked.
func (m *member) count(stats throttle.Stats) {
	advance(&m.counts.calls, &m.family.counts.calls, stats.Calls)
	advance(&m.counts.dropped, &m.family.counts.dropped, stats.Dropped)
}

// advance moves seen to now, unless it is there already, and total along with it.
func advance(seen, total *uint64, now uint64) {
	if now > *seen {
		*total += now - *seen
		*seen = now
	}
}

// A reading is what a source has said.
type reading struct {
	member *member
	source Source
	stats  throttle.Stats
	keys   int
	keyed  bool
}

// Sums returns the sum of each name, in no order.
func (s *Set) Sums() []Sum {
	readings := s.sources()
	for i := range readings {
		r := &readings[i]
		r.stats = r.source.Stats()
		if group, ok := r.source.(Keyed); ok {
			r.keys, r.keyed = group.Len(), true
		}
	}
	return s.sum(readings)
}

// sources returns what is to be read.
func (s *Set) sources() []reading {
	s.mu.Lock()
	defer s.mu.Unlock()
	var readings []reading
	for _, f := range s.families {
		for m := range f.members {
			readings = append(readings, reading{member: m, source: m.source})
		}
	}
	return readings
}

// sum returns the sums after readings, which may be of members that are gone.
func (s *Set) sum(readings []reading) []Sum {
	s.mu.Lock()
	defer s.mu.Unlock()
	present := make(map[*family]Sum)
	for _, r := range readings {
		r.member.count(r.stats)
		if r.member.source != nil {
			present[r.member.family] = present[r.member.family].with(r)
		}
	}
	sums := make([]Sum, 0, len(s.families))
	for name, f := range s.families {
		sum := present[f]
		sum.Name, sum.Calls, sum.Dropped = name, f.counts.calls, f.counts.dropped
		sums = append(sums, sum)
	}
	return sums
}

// with returns s with what r says of the present.
func (s Sum) with(r reading) Sum {
	s.Sources++
	if r.stats.Pending {
		s.Pending++
	}
	if r.stats.Running {
		s.Running++
	}
	if r.keyed {
		s.Groups++
		s.Keys += r.keys
	}
	if next := r.stats.Next; s.Next.IsZero() || !next.IsZero() && next.Before(s.Next) {
		s.Next = next
	}
	return s
}
