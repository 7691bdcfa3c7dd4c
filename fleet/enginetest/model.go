package enginetest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/throttle-go/throttle/fleet/machine"
)

// A kind is the kind of an operation.
type kind uint8

const (
	claim kind = iota
	finish
	renew
)

// An operation is an operation of an engine with its answer.
type operation struct {
	kind kind
	key  string
	at   machine.Time // its instant; 0 if only the answer contains it

	claim    machine.Claim
	reply    machine.Reply
	finish   machine.Finish
	finished machine.Finished
	token    int64
	held     bool

	// The position among concurrent operations: an operation that ended before another one
	// began came before it.
	began, ended int64
}

func (o *operation) String() string {
	switch o.kind {
	case claim:
		return fmt.Sprintf("%q: %+v answered %+v", o.key, o.claim, o.reply)
	case finish:
		return fmt.Sprintf("%q: %+v answered %+v", o.key, o.finish, o.finished)
	case renew:
		return fmt.Sprintf("%q: renewal of %d answered %v", o.key, o.token, o.held)
	default:
		return "no operation"
	}
}

// list formats operations, one per line.
func list(history []*operation) string {
	var text strings.Builder
	for _, o := range history {
		fmt.Fprintln(&text, o)
	}
	return text.String()
}

// now returns the instant of the operation. It returns false if nobody knows it: the answer to a
// renewal does not contain it.
func (o *operation) now() (machine.Time, bool) {
	switch o.kind {
	case claim:
		return o.reply.Now, true
	case finish:
		return o.finished.Now, true
	case renew:
		return o.at, o.at != 0
	default:
		return 0, false
	}
}

// A model is the expected state of a key. The answer to a renewal does not contain its instant. So
// the end of the lease is uncertain until a later answer shows it; state.Until is then the earliest
// possible end.
type model struct {
	state machine.State
	seen  machine.Time  // the instant of the last operation
	loose time.Duration // how much later than state.Until the lease may end
	open  bool          // the lease may end as late as the instant of the next operation allows
	late  bool          // a renewal came after seen, nobody knows when

	// Other possible models, which differ in state.Limit. A claim resets the limit only before the
	// end of the lease, and its answer need not show whether it did. They have no others.
	others []model
}

func (m *model) clone() *model {
	c := *m
	c.state.IDs = slices.Clone(c.state.IDs)
	c.others = nil
	for i := range m.others {
		c.others = append(c.others, *m.others[i].clone())
	}
	return &c
}

// possible returns m without the others, then the others.
func (m *model) possible() []model {
	c := m.clone()
	all := append([]model{*c}, c.others...)
	all[0].others = nil
	return all
}

// follow repeats o on the machine. It returns an error if the machine gives another answer.
func (m *model) follow(o *operation) error {
	var (
		wrong error
		right []model
	)
	for _, p := range m.possible() {
		for _, p := range p.split(o) {
			if err := p.followAlone(o); err != nil {
				wrong = errors.Join(wrong, err)
				continue
			}
			if !slices.ContainsFunc(right, func(q model) bool { return reflect.DeepEqual(p, q) }) {
				right = append(right, p)
			}
		}
	}
	if len(right) == 0 {
		return wrong
	}
	*m, m.others = right[0], right[1:]
	return nil
}

// split returns m, or, if o leaves another limit after the end of the lease than before it, a model
// for either case.
func (m *model) split(o *operation) []model {
	now, _ := o.now()
	first, last := m.state.Until, m.state.Until.Add(m.looseAt(now))
	if o.kind != claim || m.state.Owner == "" || now < first || now >= last {
		return []model{*m}
	}
	ended, running := m.clone(), m.clone()
	ended.loose, ended.open = now.Sub(first), false
	running.state.Until, running.loose, running.open = now+1, last.Sub(now+1), false
	if ended.after(o, now).Limit == running.after(o, now).Limit {
		return []model{*m}
	}
	return []model{*ended, *running}
}

// after returns the state that the claim leaves if the store does not grant it.
func (m *model) after(o *operation, now machine.Time) machine.State {
	s, c := m.clone().state, o.claim
	c.By = 0
	_, _ = s.Claim(now, c) // if the claim is not valid, it changes nothing
	return s
}

// looseAt returns what m.loose is at now.
func (m *model) looseAt(now machine.Time) time.Duration {
	if m.open {
		return max(0, now.Sub(m.state.Until.Add(-m.state.Lease)))
	}
	return m.loose
}

// followAlone is follow for a model without others.
func (m *model) followAlone(o *operation) error {
	now, known := o.now()
	if o.at != 0 && now != o.at {
		return fmt.Errorf("%v\nhas another instant than the store's clock, %d", o, o.at)
	}
	if !known {
		return m.followRenewal(o, m.seen, true)
	}
	if o.at == 0 && now < m.seen {
		return fmt.Errorf("%v\nis earlier than the operation before, at %d", o, m.seen)
	}
	m.seen, m.late = now, false
	if o.kind == renew {
		return m.followRenewal(o, now, false)
	}
	m.loose, m.open = m.looseAt(now), false
	if o.kind == finish {
		return m.followFinish(o, now)
	}
	return m.followClaim(o, now)
}

// followRenewal repeats a renewal at now, or, if open is set, at an unknown later instant.
func (m *model) followRenewal(o *operation, now machine.Time, open bool) error {
	m.late = m.late || open
	held := m.state.Renew(now, o.token)
	if held != o.held {
		return fmt.Errorf("%v\nbut the machine answers %v", o, held)
	}
	if held {
		m.loose, m.open = 0, open
	}
	return nil
}

func (m *model) followFinish(o *operation, now machine.Time) error {
	want, err := m.state.Finish(now, o.finish)
	if err != nil {
		return fmt.Errorf("%v\nbut the machine returns: %w", o, err)
	}
	if !want.Stale {
		m.loose = 0 // the lease no longer matters
	}
	if o.finished != want {
		return fmt.Errorf("%v\nbut the machine answers %+v", o, want)
	}
	return nil
}

func (m *model) followClaim(o *operation, now machine.Time) error {
	if !m.tighten(o, now) {
		return fmt.Errorf("%v\ncontradicts every possible end of the lease, from %d to %v later",
			o, m.state.Until, m.loose)
	}
	want, err := m.state.Claim(now, o.claim)
	if err != nil {
		return fmt.Errorf("%v\nbut the machine returns: %w", o, err)
	}
	if want.Verdict == machine.Granted && m.state.Granted == now {
		m.loose = 0 // a new lease
	}
	if o.reply != want {
		return fmt.Errorf("%v\nbut the machine answers %+v", o, want)
	}
	return nil
}

// tighten narrows the end of the lease by a claim's answer. It returns false if no end is left.
func (m *model) tighten(o *operation, now machine.Time) bool {
	if m.loose == 0 || m.state.Owner == "" {
		return true
	}
	first := m.state.Until
	last := first.Add(m.loose)
	due := now.Add(o.reply.Poll)
	next := max(now, m.after(o, now).Next) // the claim may have moved it
	switch {
	case o.reply.Verdict == machine.Granted && o.claim.ID == m.state.Owner && o.reply.Token == m.state.Token:
		first = max(first, now+1)
	case o.reply.Verdict == machine.Granted:
		last = min(last, now)
	case o.reply.Verdict == machine.Deferred && due > next:
		first, last = max(first, due), min(last, due)
	case o.reply.Verdict == machine.Deferred:
		last = min(last, next)
	}
	m.state.Until, m.loose = first, last.Sub(first)
	return first <= last
}

// due returns the earliest and the latest instant from which the key may be due, as far as one can
// know at now. m may be nil.
func (m *model) due(now machine.Time) (first, last machine.Time, pending bool) {
	if m == nil {
		return 0, 0, false
	}
	first, pending = m.state.Due()
	last = first
	if pending && m.state.Owner != "" {
		last = max(m.state.Next, m.state.Until.Add(m.looseAt(now)))
	}
	for i := range m.others {
		f, l, _ := m.others[i].due(now)
		first, last = min(first, f), max(last, l)
	}
	return first, last, pending
}

// compare returns how the stored state of the key differs from what the machine says. A store need
// not write what the next operation corrects: what the clock has overtaken. It may keep hashes of
// identifiers, and truncate durations to microseconds.
func (m *model) compare(stored machine.State) error {
	var wrong error
	for _, p := range m.possible() {
		err := p.compareAlone(stored)
		if err == nil {
			return nil
		}
		wrong = errors.Join(wrong, err)
	}
	return wrong
}

// compareAlone is compare for a model without others.
func (m *model) compareAlone(stored machine.State) error {
	want := m.clone().state
	if m.loose > 0 || m.open || want.Owner == "" { // without an owner the lease does not matter
		stored.Until = want.Until
	}
	if old := len(want.IDs) - len(stored.IDs); m.late && old > 0 { // at the renewal they were too old
		want.IDs = want.IDs[old:]
	}
	for _, s := range []*machine.State{&want, &stored} {
		s.IDs = slices.Clone(s.IDs)
		s.Renew(m.seen, -1)
		s.Span, s.Lease = s.Span.Truncate(time.Microsecond), s.Lease.Truncate(time.Microsecond)
		for i := range s.IDs {
			s.IDs[i].ID = ""
		}
		if len(s.IDs) == 0 {
			s.IDs = nil
		}
	}
	if !reflect.DeepEqual(want, stored) {
		return fmt.Errorf("the stored state is %+v\nbut the machine has %+v", stored, want)
	}
	return nil
}
