package machine

import (
	"errors"
	"slices"
	"time"
)

// This file holds the state of a key, and the operations on it.

// Limits of what a store keeps.
const (
	// MaxNumber is the highest token, generation or time: what a float64, Lua's number,
	// still tells from its neighbours.
	MaxNumber = 1<<53 - 1

	// MaxIDs is how many identifiers of claims are kept of a key.
	MaxIDs = 32

	// MaxText is how many bytes an identifier, a policy's text or a message may have.
	MaxText = 256

	// MaxSpan is the longest Spacing, Lease and Delay: a hundred years.
	MaxSpan = 100 * 365 * 24 * time.Hour

	// KeepIDs is how long the identifiers of claims are kept; none is sent again later.
	KeepIDs = 10 * time.Second
)

// A State is what the store keeps of one key. The zero State is that of a key which
// has never been used. Its methods must not be called concurrently.
type State struct {
	Requested    int64 // newest generation that a call asked for
	Acknowledged int64 // newest that a run which has ended covered
	Taken        int64 // newest that a grant took: what the current run covers

	Token   int64 // of the last grant
	Granted Time  // when that was; 0 if the clock has stepped back before it
	Next    Time  // the earliest next grant
	Span    time.Duration
	Owner   string // the claim that holds the grant; empty if none does
	Until   Time   // when its lease ends
	Lease   time.Duration

	Policy   string // of the last grant
	Failures int    // runs in a row that failed
	Last     Ending
	IDs      []Recent // of recent claims, the oldest first
}

// A Recent is a claim that is remembered.
type Recent struct {
	ID string
	At Time
}

// enter brings s to now. If the clock has stepped back, nothing is farther away than
// it was when it was set.
func (s *State) enter(now Time) {
	if s.Granted > now {
		s.Granted = 0
	}
	s.Next = min(s.Next, now.Add(s.Span))
	s.Until = min(s.Until, now.Add(s.Lease))
	for i := range s.IDs {
		s.IDs[i].At = min(s.IDs[i].At, now)
	}
	s.IDs = slices.DeleteFunc(s.IDs, func(r Recent) bool { return now.Sub(r.At) > KeepIDs })
}

// Claim applies c at now. It returns an error, and has changed nothing, if c is not
// valid or no higher token is left.
func (s *State) Claim(now Time, c Claim) (Reply, error) {
	if err := c.validate(); err != nil {
		return Reply{}, err
	}
	if max(s.Token, int64(now)) >= MaxNumber || s.Requested >= MaxNumber {
		return Reply{}, errors.New("no higher number is left")
	}
	s.enter(now)
	if s.Owner == c.ID && now < s.Until {
		return s.reply(now, Granted, s.Policy), nil // the first reply was lost
	}
	again := s.remember(now, c.ID)
	if !again && (c.New || c.Age >= 0 && (s.Granted == 0 || now.Add(-c.Age) >= s.Granted)) {
		s.Requested = max(s.Requested, s.Taken+1)
	}
	switch {
	case s.Requested <= s.Acknowledged:
		return s.reply(now, Served, s.Policy), nil
	case !again && now <= c.By && now >= s.Next && (s.Owner == "" || now >= s.Until):
		before := s.Policy
		s.grant(now, c)
		return s.reply(now, Granted, before), nil
	default:
		return s.reply(now, Deferred, s.Policy), nil
	}
}

// remember keeps id, and reports whether it was kept already.
func (s *State) remember(now Time, id string) (again bool) {
	if slices.ContainsFunc(s.IDs, func(r Recent) bool { return r.ID == id }) {
		return true
	}
	if len(s.IDs) == MaxIDs {
		s.IDs = slices.Delete(s.IDs, 0, 1)
	}
	s.IDs = append(s.IDs, Recent{id, now})
	return false
}

func (s *State) grant(now Time, c Claim) {
	s.Token = max(s.Token+1, int64(now), c.Seen+1)
	s.Taken = s.Requested
	s.Owner = c.ID
	s.Granted = now
	s.Lease, s.Until = c.Lease, now.Add(c.Lease)
	s.Span, s.Next = c.Spacing, now.Add(c.Spacing)
	s.Policy = c.Policy
}

func (s *State) reply(now Time, v Verdict, policy string) Reply {
	r := Reply{
		Verdict:      v,
		Generation:   s.Requested,
		Acknowledged: s.Acknowledged,
		Last:         s.Last,
		Policy:       policy,
		Now:          now,
	}
	switch v {
	case Granted:
		r.Token, r.Failures = s.Token, s.Failures
	case Deferred:
		if s.Requested > s.Taken {
			r.Hold = max(0, s.Next.Sub(now))
		}
		due, _ := s.Due()
		r.Poll = max(0, due.Sub(now))
	case Served:
	}
	return r
}

// Finish applies f at now. It returns an error, and has changed nothing, if f is not
// valid.
func (s *State) Finish(now Time, f Finish) (Finished, error) {
	if err := f.validate(); err != nil {
		return Finished{}, err
	}
	s.enter(now)
	if s.Owner == "" || f.Token != s.Token {
		return Finished{Stale: true, Now: now}, nil
	}
	s.Owner = ""
	if f.Ran {
		s.Last = Ending{From: s.Acknowledged, Through: s.Taken, Token: s.Token, Outcome: f.Outcome}
		s.Acknowledged = s.Taken
		s.Failures = f.Failures
	}
	if f.Again {
		s.Requested = max(s.Requested, s.Taken+1)
	}
	if next := now.Add(f.Delay); f.Delay > 0 && next > s.Next {
		s.Span, s.Next = f.Delay, next
	}
	due, pending := s.Due()
	return Finished{Pending: pending, Poll: max(0, due.Sub(now)), Now: now}, nil
}

// Renew prolongs the lease of token's grant at now, and reports whether it is still
// the key's.
func (s *State) Renew(now Time, token int64) (held bool) {
	s.enter(now)
	if s.Owner == "" || token != s.Token {
		return false
	}
	s.Until = now.Add(s.Lease)
	return true
}

// Due returns when the key is due, and whether anything is pending at all: what the
// index holds of the key after every operation.
func (s *State) Due() (due Time, pending bool) {
	switch {
	case s.Requested <= s.Acknowledged:
		return 0, false
	case s.Owner == "":
		return s.Next, true
	default:
		return max(s.Next, s.Until), true
	}
}
