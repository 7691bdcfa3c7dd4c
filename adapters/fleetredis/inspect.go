package fleetredis

import (
	"context"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
)

// Inspect implements [fleet.Engine]. The identifiers of claims are hashes, in hexadecimal digits.
// The error is a [*fleet.StateError] if no engine can have written the state.
func (e *Engine) Inspect(ctx context.Context, key string) (machine.State, error) {
	f, err := e.run(ctx, e.scripts.inspect, key)
	if err != nil || !f.more() {
		return machine.State{}, err
	}
	s := f.state()
	if err := errors.Join(f.err, s.Validate()); err != nil {
		return machine.State{}, &fleet.StateError{Key: key, Reason: err.Error()}
	}
	return s, nil
}

// Forget implements [fleet.Engine].
func (e *Engine) Forget(ctx context.Context, key string) error {
	_, err := e.run(ctx, e.scripts.forget, key)
	return err
}

// state returns the state whose fields come next.
func (f *fields) state() machine.State {
	s := f.numbers()
	for ids := f.bytes(); len(ids) >= hashLength+timeLength && f.err == nil; ids = ids[hashLength+timeLength:] {
		at := words{rest: ids[hashLength : hashLength+timeLength]}
		s.IDs = append(s.IDs, machine.Recent{ID: hex.EncodeToString([]byte(ids[:hashLength])), At: at.time()})
		f.err = at.err
	}
	s.Policy = f.text()
	s.Last = f.ending(s.Acknowledged)
	return s
}

// The lengths of an identifier's hash and time.
const hashLength, timeLength = 8, 16

// numbers returns the state whose field n comes next, without what is in other fields.
func (f *fields) numbers() machine.State {
	w := words{rest: f.bytes()}
	w.number() // the version
	s := machine.State{
		Token: w.number(), Granted: w.time(), Next: w.time(), Until: w.time(), Span: w.span(), Lease: w.span(),
		Requested: w.number(), Acknowledged: w.number(), Taken: w.number(), Failures: number(w.number()), Limit: w.time(),
	}
	s.Owner = w.rest
	if f.err == nil {
		f.err = w.err
	}
	return s
}

// ending returns the ending in the next field. Through is what the run acknowledged.
func (f *fields) ending(through int64) machine.Ending {
	w := words{rest: f.text()}
	if w.rest == "" {
		return machine.Ending{}
	}
	e := machine.Ending{From: w.number(), Through: through, Token: w.number()}
	e.Outcome.Failed, e.Outcome.Message = w.number() == 1, w.rest
	if f.err == nil {
		f.err = w.err
	}
	return e
}

// words are the rest of a stored field: numbers with a blank after each, and then a text. A number
// that is malformed sets err.
type words struct {
	rest string
	err  error
}

func (w *words) number() int64 {
	digits, rest, _ := strings.Cut(w.rest, " ")
	n, err := strconv.ParseInt(digits, 10, 64)
	if w.err == nil {
		w.err = err
	}
	w.rest = rest
	return n
}

func (w *words) time() machine.Time  { return machine.Time(w.number()) }
func (w *words) span() time.Duration { return micro(w.number()) }
