// Package sources adds up the Stats of throttles, the Counts of throttles of a fleet, and the
// Health of engines by name, for adapters to metrics systems. A metrics system wants one
// value for each name, and counts that never fall.
package sources

import (
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet"
)

// A Source is a [*throttle.Throttler], a [*throttle.Group], a [*throttle.Coalescer], a
// [*throttle.KeyedCoalescer], a [*fleet.Throttler] or a [*fleet.Group].
type Source interface {
	Name() string
	Stats() throttle.Stats
}

// A Keyed is a Source that holds keys, as a Group or KeyedCoalescer does.
type Keyed interface {
	Source

	Len() int
}

// A Counted is a Source that counts the messages to its store and what they led to, as a
// [*fleet.Throttler] and a [*fleet.Group] do.
type Counted interface {
	Source

	Counts() fleet.Counts
}

// IsNil reports whether added, a Source or an Engine, is nil or a nil pointer, which is what
// a constructor returns with an error.
func IsNil(added any) bool {
	v := reflect.ValueOf(added)
	return !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil()
}

// Valid returns text with U+FFFD in place of bytes that are not UTF-8. A single invalid
// byte would make a receiver refuse the whole scrape or batch.
func Valid(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// A Sum adds up the sources of one name. Its counts include every source ever added.
// The other fields cover only sources that have not been removed.
type Sum struct {
	Name    string // as Valid returns it
	Calls   uint64
	Dropped uint64
	Refused uint64
	Fleet   bool         // whether a Counted source was ever added
	Counts  fleet.Counts // of all Counted sources

	Sources int       // number of sources; if 0, the fields below are zero
	Pending int       // sources in which a call or a retry waits
	Running int       // sources with an active run
	Groups  int       // sources that hold keys
	Keys    int       // keys that they hold together
	Batches int       // batches that wait in Coalescers
	Values  int       // calls whose values wait in these batches
	Next    time.Time // due time of the earliest next run; zero if none is due
}

// NextUnix returns Next in seconds since 1970. It does not use UnixNano, which ends in
// 2262: a policy can make a run due later than that.
func (s Sum) NextUnix() float64 {
	return float64(s.Next.Unix()) + float64(s.Next.Nanosecond())/1e9
}

// A Set is a set of sources. The zero Set is empty and ready to use. Its methods may be
// called concurrently. They call a source's methods with no lock held.
type Set struct {
	mu sync.Mutex // guards the field below, and the fields of each family and member

	// +checklocks:mu
	families map[string]*family // by valid name; never removed, because counts stay
}

// A family is the sources of one name.
type family struct {
	counts  counts // of every member ever added
	fleet   bool   // whether one of them was Counted
	members map[*member]struct{}
}

// A member is a Source that was added.
type member struct {
	family *family
	source Source // nil once removed
	counts counts // the greatest values read so far
}

// counts are the values that only grow.
type counts struct {
	calls, dropped, refused uint64
	fleet                   fleet.Counts // zero unless the source is Counted
}

// fields returns all counts in c.
func (c *counts) fields() [10]*uint64 {
	f := &c.fleet
	return [...]*uint64{
		&c.calls, &c.dropped, &c.refused,
		&f.Served, &f.Granted, &f.Deferred, &f.Failed, &f.Late, &f.LocalRuns, &f.LostLeases,
	}
}

// Add adds source under its current name, until remove is called. It ignores a source
// that IsNil. remove may be called several times, and concurrently.
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
	if _, ok := source.(Counted); ok {
		f.fleet = true
	}
	return func() { s.remove(m) }
}

// remove reads m's counts a last time and drops its source. A sync.Once would not do: it
// holds a lock while the source is read.
func (s *Set) remove(m *member) {
	s.mu.Lock()
	source := m.source
	s.mu.Unlock()
	if source == nil {
		return
	}
	r := reading{member: m, source: source}
	r.read()
	s.mu.Lock()
	defer s.mu.Unlock()
	m.count(r.counts())
	m.source = nil
	delete(m.family.members, m)
}

// count adds to the family what m has counted since the last reading. now is from a reading
// that may arrive late, or after m was removed. It then adds nothing, or what is still
// missing. The Set must be locked.
func (m *member) count(now counts) {
	seen, total := m.counts.fields(), m.family.counts.fields()
	for i, n := range now.fields() {
		if *n > *seen[i] {
			*total[i] += *n - *seen[i]
			*seen[i] = *n
		}
	}
}

// A reading is what a source reported.
type reading struct {
	member *member
	source Source
	stats  throttle.Stats
	fleet  fleet.Counts // zero unless the source is Counted
	keys   int
	keyed  bool
}

// read asks the source. The Set must not be locked.
func (r *reading) read() {
	r.stats = r.source.Stats()
	if counted, ok := r.source.(Counted); ok {
		r.fleet = counted.Counts()
	}
	if keyed, ok := r.source.(Keyed); ok {
		r.keys, r.keyed = keyed.Len(), true
	}
}

// counts returns the counts in r.
func (r *reading) counts() counts {
	return counts{r.stats.Calls, r.stats.Dropped, r.stats.Refused, r.fleet}
}

// Sums returns the sum of each name, in no order.
func (s *Set) Sums() []Sum {
	readings := s.unread()
	for i := range readings {
		readings[i].read()
	}
	return s.sum(readings)
}

// unread returns an empty reading for each source in the set.
func (s *Set) unread() []reading {
	s.mu.Lock()
	defer s.mu.Unlock()
	members := 0
	for _, f := range s.families {
		members += len(f.members)
	}
	readings := make([]reading, 0, members)
	for _, f := range s.families {
		for m := range f.members {
			readings = append(readings, reading{member: m, source: m.source})
		}
	}
	return readings
}

// sum counts readings and returns the sums. A reading may be of a removed member.
func (s *Set) sum(readings []reading) []Sum {
	s.mu.Lock()
	defer s.mu.Unlock()
	present := make(map[*family]Sum)
	for _, r := range readings {
		r.member.count(r.counts())
		if r.member.source != nil {
			present[r.member.family] = present[r.member.family].with(r)
		}
	}
	sums := make([]Sum, 0, len(s.families))
	for name, f := range s.families {
		sum := present[f]
		sum.Name, sum.Calls, sum.Dropped, sum.Refused = name, f.counts.calls, f.counts.dropped, f.counts.refused
		sum.Fleet, sum.Counts = f.fleet, f.counts.fleet
		sums = append(sums, sum)
	}
	return sums
}

// with returns s plus the current values in r.
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
	s.Batches += r.stats.Batches
	s.Values += r.stats.Values
	if next := r.stats.Next; s.Next.IsZero() || !next.IsZero() && next.Before(s.Next) {
		s.Next = next
	}
	return s
}
