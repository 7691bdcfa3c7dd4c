package enginetest_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
)

// An engine is an engine in memory with a fault.
type engine struct {
	fleet.Base

	fault fault

	mu        sync.Mutex // guards the fields below
	shift     time.Duration
	states    map[string]*machine.State
	index     map[string]machine.Time
	listeners map[*func(machine.Wake)]bool
}

// A fault is something wrong with an engine. Hooks are nil if they do nothing.
type fault struct {
	key      func(key string) string
	before   func(s *machine.State, now machine.Time) // each operation
	after    func(s *machine.State, now machine.Time)
	claim    func(s *machine.State, now machine.Time, c *machine.Claim)
	reply    func(s *machine.State, c machine.Claim, r *machine.Reply)
	finish   func(s *machine.State, now machine.Time, f *machine.Finish)
	finished func(s *machine.State, r *machine.Finished)
	renew    func(s *machine.State, now machine.Time, token int64) int64
	due      func(d *machine.Due, held []string)
	inspect  func(s *machine.State)
	wake     func(w *machine.Wake) (notify bool)

	unindexed   func(operation string) bool // leaves the index as it is
	unlocked    bool                        // reads the state, then writes it
	early       bool                        // reads the clock before it waits for the lock
	all         bool                        // Due lists all keys
	forgetful   bool                        // Forget does nothing
	patient     bool                        // ignores its context
	leaks       bool                        // leaks a goroutine
	dead        bool                        // Listen does not end with its context
	unsupported bool                        // Listen returns another error than ErrUnsupported
	invalid     func(*machine.Claim, *machine.Finish)
}

func newEngine(f fault) *engine {
	return &engine{
		fault:     f,
		states:    map[string]*machine.State{},
		index:     map[string]machine.Time{},
		listeners: map[*func(machine.Wake)]bool{},
	}
}

// setClock sets the clock to now. In a bubble it then stands.
func (e *engine) setClock(now machine.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.shift += now.Sub(e.nowLocked())
}

// +checklocks:e.mu
func (e *engine) nowLocked() machine.Time { return machine.Time(time.Now().Add(e.shift).UnixMicro()) }

// ended returns why an operation must end, if the engine heeds that.
func (e *engine) ended(ctx context.Context) error {
	if e.fault.patient {
		return nil
	}
	return ctx.Err()
}

// stored returns the name under which the engine keeps key.
func (e *engine) stored(key string) string {
	if e.fault.key == nil {
		return key
	}
	return e.fault.key(key)
}

// apply applies an operation.
func (e *engine) apply(ctx context.Context, name, key string, operation func(*machine.State, machine.Time) error) error {
	if err := e.ended(ctx); err != nil {
		return err
	}
	key = e.stored(key)
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.nowLocked()
	if e.fault.early {
		e.mu.Unlock()
		time.Sleep(time.Duration(now) % 7 * 100 * time.Microsecond)
		time.Sleep(time.Millisecond)
		e.mu.Lock()
	}
	s := e.states[key]
	if s == nil {
		s = &machine.State{}
	}
	if e.fault.unlocked {
		read := *s
		read.IDs = slices.Clone(s.IDs)
		s = &read
		e.mu.Unlock()
		time.Sleep(time.Millisecond)
		e.mu.Lock()
	}
	if e.fault.before != nil {
		e.fault.before(s, now)
	}
	err := operation(s, now)
	if e.fault.after != nil {
		e.fault.after(s, now)
	}
	e.states[key] = s
	due, pending := s.Due()
	switch {
	case e.fault.unindexed != nil && e.fault.unindexed(name):
	case pending:
		e.index[key] = due
	default:
		delete(e.index, key)
	}
	return err
}

func (e *engine) Claim(ctx context.Context, key string, c machine.Claim) (reply machine.Reply, err error) {
	if e.fault.invalid != nil {
		e.fault.invalid(&c, nil)
	}
	err = e.apply(ctx, "claim", key, func(s *machine.State, now machine.Time) error {
		if e.fault.claim != nil {
			e.fault.claim(s, now, &c)
		}
		reply, err = s.Claim(now, c)
		if err == nil && e.fault.reply != nil {
			e.fault.reply(s, c, &reply)
		}
		return err
	})
	if e.fault.leaks {
		go time.Sleep(time.Minute)
	}
	return reply, err
}

func (e *engine) Finish(ctx context.Context, key string, f machine.Finish) (finished machine.Finished, err error) {
	if e.fault.invalid != nil {
		e.fault.invalid(nil, &f)
	}
	err = e.apply(ctx, "finish", key, func(s *machine.State, now machine.Time) error {
		if e.fault.finish != nil {
			e.fault.finish(s, now, &f)
		}
		finished, err = s.Finish(now, f)
		if err == nil && e.fault.finished != nil {
			e.fault.finished(s, &finished)
		}
		return err
	})
	if err != nil || finished.Stale {
		return finished, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	w := finished.Wake(key)
	if e.fault.wake != nil && !e.fault.wake(&w) {
		return finished, nil
	}
	for listener := range e.listeners {
		(*listener)(w)
	}
	return finished, nil
}

func (e *engine) Renew(ctx context.Context, key string, token int64) (held bool, err error) {
	err = e.apply(ctx, "renew", key, func(s *machine.State, now machine.Time) error {
		if e.fault.renew != nil {
			token = e.fault.renew(s, now, token)
		}
		held = s.Renew(now, token)
		return nil
	})
	return held, err
}

func (e *engine) Due(ctx context.Context, held []string) (machine.Due, error) {
	if err := e.ended(ctx); err != nil {
		return machine.Due{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	answer := machine.Due{Next: machine.None, Now: e.nowLocked()}
	for key, due := range e.index { // in random order
		if due <= answer.Now {
			answer.Keys = append(answer.Keys, key)
			answer.Oldest = max(answer.Oldest, answer.Now.Sub(due))
		} else if next := due.Sub(answer.Now); answer.Next == machine.None || next < answer.Next {
			answer.Next = next
		}
	}
	answer.Count = len(answer.Keys)
	if !e.fault.all {
		cutDue(&answer, held)
	}
	if e.fault.due != nil {
		e.fault.due(&answer, held)
	}
	return answer, nil
}

func (e *engine) Inspect(ctx context.Context, key string) (state machine.State, err error) {
	if err := e.ended(ctx); err != nil {
		return state, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if s := e.states[e.stored(key)]; s != nil {
		state = *s
		state.IDs = slices.Clone(s.IDs)
	}
	if e.fault.inspect != nil {
		e.fault.inspect(&state)
	}
	return state, nil
}

func (e *engine) Forget(ctx context.Context, key string) error {
	if err := e.ended(ctx); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.fault.forgetful {
		delete(e.states, e.stored(key))
		delete(e.index, e.stored(key))
	}
	return nil
}

func (e *engine) Part(string) int { return 0 }

func (e *engine) Listen(ctx context.Context, wake func(machine.Wake)) error {
	if e.fault.unsupported {
		return errors.New("not supported")
	}
	e.mu.Lock()
	e.listeners[&wake] = true
	e.mu.Unlock()
	<-ctx.Done()
	if e.fault.dead {
		time.Sleep(time.Hour)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.listeners, &wake)
	return ctx.Err()
}
