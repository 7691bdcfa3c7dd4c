package throttledebug

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/throttle-go/throttle"
)

// A part is a throttle on the page.
type part interface {
	Name() string

	// look returns the current state. Of the keys it includes those that contain query, and
	// the states of the busy ones.
	look(query string, busy []string) Throttle

	// act cancels or flushes. If the part has keys, it does so for the key with that text.
	act(ctx context.Context, action action, key string) error
}

// An action is something that a user of the page can do to a part.
type action string

const (
	cancel action = "cancel"
	flush  action = "flush"
)

// The kinds of throttles. The template relies on their names.
const (
	throttlerKind  = "throttler"
	groupKind      = "group"
	coalescerKind  = "coalescer"
	keyedKind      = "keyed coalescer"
	fleetKind      = "fleet throttler"
	fleetGroupKind = "fleet group"
)

// inFleet reports whether a fleet shares the throttles of that kind.
func inFleet(kind string) bool { return kind == fleetKind || kind == fleetGroupKind }

// A source is a throttle of any kind.
type source interface {
	Name() string
	Policy() throttle.Policy
	Stats() throttle.Stats
}

// An unkeyed is a Throttler or a Coalescer.
type unkeyed interface {
	source

	Flush(ctx context.Context) error
}

// A keyed is a Group, a KeyedCoalescer or a fleetKeys.
type keyed[K comparable] interface {
	source

	Len() int
	Keys() iter.Seq[K]
	KeyStats(key K) (stats throttle.Stats, held bool)
	Flush(ctx context.Context, key K) error
}

// A single is a part without keys.
type single struct {
	unkeyed

	kind   string
	cancel func()
}

func (s single) look(string, []string) Throttle { return newThrottle(s.kind, s) }

func (s single) act(ctx context.Context, action action, _ string) error {
	if action == cancel {
		s.cancel()
		return nil
	}
	return s.Flush(ctx)
}

// A group is a part with keys.
type group[K comparable] struct {
	keyed[K]

	kind   string
	cancel func(key K)
}

// shownKeys is the greatest number of keys that a part shows.
const shownKeys = 50

func (g group[K]) look(query string, busy []string) Throttle {
	t := newThrottle(g.kind, g)
	t.busy = make(map[string]Status, len(busy))
	t.Keys = g.keys(query, func(text string, key K) {
		if slices.Contains(busy, text) {
			if stats, held := g.KeyStats(key); held {
				t.busy[text] = status(g.kind, stats)
			}
		}
	})
	return t
}

// keys returns the keys that contain query, and calls visit for every key. Upper and lower case
// are the same.
func (g group[K]) keys(query string, visit func(text string, key K)) *Keys {
	type named struct {
		text string
		key  K
	}
	byText := func(a, b named) int { return compareNatural(a.text, b.text) }
	found := &Keys{Held: g.Len(), Query: text(query), First: []Key{}}
	query = strings.ToLower(query)
	var first []named // sorted, so that keys keep their places from look to look
	for key := range g.Keys() {
		n := named{keyText(key), key}
		visit(n.text, key)
		if query != "" && !strings.Contains(strings.ToLower(n.text), query) {
			continue
		}
		found.Matching++
		if len(first) == shownKeys {
			if byText(n, first[shownKeys-1]) >= 0 {
				continue
			}
			first = first[:shownKeys-1]
		}
		at, _ := slices.BinarySearchFunc(first, n, byText)
		first = slices.Insert(first, at, n)
	}
	for _, n := range first {
		if stats, held := g.KeyStats(n.key); held {
			found.First = append(found.First, Key{Key: n.text, Status: status(g.kind, stats)})
		}
	}
	return found
}

// Errors of an action on a key whose text does not identify one key.
var (
	errNoKey    = errors.New("no such key is held")
	errManyKeys = errors.New("several keys have this text")
)

func (g group[K]) act(ctx context.Context, action action, text string) error {
	key, err := g.find(text)
	switch {
	case err != nil:
		return err
	case action == cancel:
		g.cancel(key)
		return nil
	default:
		return g.Flush(ctx, key)
	}
}

// find returns the only key with that text.
func (g group[K]) find(text string) (found K, err error) {
	err = errNoKey
	for key := range g.Keys() {
		if keyText(key) != text {
			continue
		}
		if err == nil {
			return found, errManyKeys
		}
		found, err = key, nil
	}
	return found, err
}

// newThrottle returns the fields that all kinds of throttles have in common.
func newThrottle(kind string, s source) Throttle {
	policy, stats := s.Policy(), s.Stats()
	t := Throttle{
		Kind:     kind,
		Name:     s.Name(),
		Policy:   policy.String(),
		Status:   status(kind, stats),
		Runs:     stats.Runs,
		Failures: stats.Failures,
		Panics:   stats.Panics,
		Dropped:  stats.Dropped,
		Refused:  stats.Refused,
		Calls:    stats.Calls,
		Duration: stats.LastDuration.Seconds(),
		policy:   policy,
	}
	if !isRetryIn(stats.LastError) {
		t.Failure = describe(stats.LastError)
	}
	return t
}

// status returns the status of a throttle of that kind, or of one of its keys.
func status(kind string, stats throttle.Stats) Status {
	s := Status{
		State:     Idle,
		Next:      rounded(stats.Next),
		LastStart: rounded(stats.LastStart),
		Batches:   stats.Batches,
		Values:    stats.Values,
		asks:      inFleet(kind),
		pending:   stats.Pending,
		paused:    stats.Paused && !stats.Closed,
		closed:    stats.Closed,
	}
	if stats.Paused {
		s.Next = time.Time{} // only Resume decides
	}
	switch {
	case stats.Running:
		s.State = Running
	case s.paused:
		s.State = Paused
	case stats.Pending:
		s.State = Waiting
	case stats.Closed:
		s.State = Closed
	}
	return s
}

// add adds the runs and the last failure that a Recorder has seen. A Recorder may be ahead
// of Stats, because observers get a run while it still counts as active.
func (t *Throttle) add(runs []Run, failed *Failure) {
	active := t.State == Running && t.Keys == nil
	if active {
		runs = slices.DeleteFunc(runs, func(r Run) bool { return r.Started.Equal(t.LastStart) })
	}
	t.Recent = runs
	switch {
	case failed == nil:
	case t.Failure == nil: // the last run in Stats did not fail
		failed.Recovered = !active || !failed.At.After(t.LastStart)
		t.Failure = failed
	case t.Failure.Message == failed.Message: // otherwise the Recorder did not get the failure in Stats
		t.Failure = failed
	}
}
