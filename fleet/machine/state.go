package machine

import (
	"errors"
	"slices"
	"time"
)

// Limits of what a store keeps.
const (
	// MaxNumber is the highest token, generation or time. Up to it, a float64 (the number
	// type of Lua) represents every integer exactly.
	MaxNumber = 1<<53 - 1

	// MaxIDs is how many identifiers of claims the store keeps for a key.
	MaxIDs = 32

	// MaxText is how many bytes a policy's text or a message may have.
	MaxText = 256

	// MaxSpan is the longest Spacing, Lease or Delay: a hundred years.
	MaxSpan = 100 * 365 * 24 * time.Hour

	// KeepIDs is how long the store keeps the identifiers of claims. No claim is sent again
	// after that.
	KeepIDs = 10 * time.Second
)

// A State is what the store keeps of one key. The zero State is that of a key that was
// never used. Its methods must not be called concurrently.
type State struct {
	Requested    int64 // newest generation that a call has asked for
	Acknowledged int64 // newest generation that a finished run covered
	Taken        int64 // newest generation that a grant took: the current run covers it

	Token   int64         // of the last grant
	Granted Time          // time of the last grant; 0 if the clock has stepped back to before it
	Next    Time          // earliest time of the next grant
	Span    time.Duration // how far ahead Next was when it was set
	Limit   Time          // until when calls may postpone Next; 0 if there is no limit yet
	Owner   string        // ID of the claim that holds the grant; empty if none does
	Until   Time          // end of the holder's lease
	Lease   time.Duration // how long a renewal prolongs it

	Policy   string   // of the last grant
	Failures int      // how many runs in a row have failed
	Last     Ending   // of the last run that ended
	IDs      []Recent // recent claims, oldest first
}

// A Recent is a claim that the store remembers.
type Recent struct {
	ID string
	At Time
}

// enter moves s to now. If the clock has stepped back, it moves every instant so that it is
// no farther ahead than when it was set.
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

// Claim applies c at now. If c is not valid or no higher token is left, it returns an error
// and changes nothing.
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
		if s.Requested <= s.Acknowledged {
			s.notDueBefore(now)
		}
		s.postpone(now, c)
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

// notDueBefore makes the key due at now if it would have been due earlier, when there was nothing
// to run. So the index tells how long a key has been waiting.
func (s *State) notDueBefore(now Time) {
	if s.Next < now {
		s.Span, s.Next = 0, now
	}
}

// postpone lets no run start within Quiet of the newest call of c, which is about to be pending,
// unless the first call that no grant has taken is older than MaxWait. A grant does not forget that
// first call: if it is lost, the call has waited for nothing.
func (s *State) postpone(now Time, c Claim) {
	if c.Quiet < time.Microsecond {
		return
	}
	if s.Requested <= s.Taken && (s.Taken == s.Acknowledged || s.Owner != "" && now < s.Until) {
		s.Limit = 0 // no earlier call waits
	}
	next := now.Add(c.Quiet).Add(-max(c.Age, 0))
	if c.MaxWait >= time.Microsecond {
		latest := now.Add(c.MaxWait)
		if s.Limit == 0 {
			s.Limit = max(1, latest.Add(-max(c.First, 0)))
		}
		s.Limit = min(s.Limit, latest) // the clock may have stepped back
	}
	if s.Limit > 0 {
		next = min(next, s.Limit)
	}
	if next > max(s.Next, now) {
		s.Span, s.Next = next.Sub(now), next
	}
}

// remember keeps id, and reports whether s had it already.
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

// Finish applies f at now. If f is not valid, it returns an error and changes nothing.
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
		if s.Requested <= s.Taken {
			s.Limit = 0 // no call waits
		}
		s.Requested = max(s.Requested, s.Taken+1)
	}
	if next := now.Add(f.Delay); f.Delay >= time.Microsecond && next > s.Next {
		s.Span, s.Next = f.Delay, next
	}
	if s.Requested > s.Acknowledged {
		s.notDueBefore(now)
	}
	due, pending := s.Due()
	return Finished{Pending: pending, Poll: max(0, due.Sub(now)), Now: now}, nil
}

// Renew prolongs the lease of token's grant at now. It reports whether that grant still
// holds the key.
func (s *State) Renew(now Time, token int64) (held bool) {
	s.enter(now)
	if s.Owner == "" || token != s.Token {
		return false
	}
	s.Until = now.Add(s.Lease)
	return true
}

// Due reports whether anything is pending, and if so, when the key is due. After every
// operation the engine's index must have this value for the key.
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
