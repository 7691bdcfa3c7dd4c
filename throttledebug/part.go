package throttledebug

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/throttle-go/throttle"
)

// This file looks at what the Handler was handed, and acts on it.

// A part is something that the page shows.
type part interface {
	// look returns what there is to tell; of keys, of those that contain query.
	look(query string) Throttle

	// act cancels or flushes; in a Group, the key of that text.
	act(ctx context.Context, action action, key string) error
}

// An action is what can be done from the page.
type action string

const (
	cancel action = "cancel"
	flush  action = "flush"
)

// A one is a Throttler or a Coalescer.
type one interface {
	Name() string
	Policy() throttle.Policy
	Stats() throttle.Stats
	Flush(ctx context.Context) error
}

// A single is a part without keys.
type single struct {
	one

	kind   string
	cancel func()
}

func (s single) look(string) Throttle { return tell(s.kind, s.Name(), s.Policy(), s.Stats()) }

func (s single) act(ctx context.Context, action action, _ string) error {
	if action == cancel {
		s.cancel()
		return nil
	}
	return s.Flush(ctx)
}

// A group is a part with keys.
type group[K comparable] struct{ *throttle.Group[K] }

// shownKeys is how many keys of a Group are shown.
const shownKeys = 50

func (g group[K]) look(query string) Throttle {
	told := tell("group", g.Name(), g.Policy(), g.Stats())
	told.Keys = g.keys(query)
	return told
}

// keys returns those that contain query, in either case.
func (g group[K]) keys(query string) *Keys {
	type named struct {
		text string
		key  K
	}
	byText := func(a, b named) int { return cmp.Compare(a.text, b.text) }
	found := &Keys{Held: g.Len(), Query: text(query), First: []Key{}}
	query = strings.ToLower(query)
	var first []named // in order, so that keys keep their places from look to look
	for key := range g.Keys() {
		n := named{keyText(key), key}
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
			found.First = append(found.First, Key{Key: n.text, Status: status(stats)})
		}
	}
	return found
}

// What is answered to an action on a key that cannot be told.
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
		g.Cancel(key)
		return nil
	default:
		return g.Flush(ctx, key)
	}
}

// find returns the key whose text that is.
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

// tell returns what the three have in common.
func tell(kind, name string, policy throttle.Policy, stats throttle.Stats) Throttle {
	told := Throttle{
		Kind:     kind,
		Name:     name,
		Policy:   inWords(policy),
		Status:   status(stats),
		Runs:     stats.Runs,
		Failures: stats.Failures,
		Panics:   stats.Panics,
		Dropped:  stats.Dropped,
		Calls:    stats.Calls,
		Duration: stats.LastDuration.Seconds(),
		strip:    stripOf(policy),
	}
	if !isRetryIn(stats.LastError) {
		told.Failure = describe(stats.LastError)
	}
	return told
}

func status(stats throttle.Stats) Status {
	s := Status{State: Idle, Next: rounded(stats.Next), LastStart: rounded(stats.LastStart)}
	switch {
	case stats.Running:
		s.State = Running
	case stats.Pending:
		s.State = Waiting
	case stats.Closed:
		s.State = Closed
	}
	return s
}

// add adds what a Recorder has seen. That may be more than Stats tells: observers are
// told of a run while it still counts as active.
func (t *Throttle) add(runs []Run, failed *Failure) {
	active := t.State == Running && t.Keys == nil
	if active {
		runs = slices.DeleteFunc(runs, func(r Run) bool { return r.Started.Equal(t.LastStart) })
	}
	t.Recent = runs
	switch {
	case failed == nil:
	case t.Failure == nil: // or Stats would tell it
		failed.Recovered = !active || !failed.At.After(t.LastStart)
		t.Failure = failed
	case t.Failure.Message == failed.Message: // or Stats tells one that the Recorder was not told
		t.Failure = failed
	}
}
