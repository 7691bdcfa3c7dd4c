package fleetredis

import (
	"context"
	_ "embed" // of the scripts
	"errors"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
)

var (
	//go:embed state.lua
	stateSource string
	//go:embed save.lua
	saveSource string
	//go:embed claim.lua
	claimSource string
	//go:embed finish.lua
	finishSource string
	//go:embed renew.lua
	renewSource string
	//go:embed inspect.lua
	inspectSource string
	//go:embed forget.lua
	forgetSource string
	//go:embed due.lua
	dueSource string
)

// scripts contains a script for each operation.
type scripts struct {
	claim, finish, renew, inspect, forget, due *redis.Script
}

func newScripts() scripts {
	limits := fmt.Sprintf(`local MAX_NUMBER, MAX_SPAN, MAX_IDS, MAX_ID, MAX_TEXT, KEEP_IDS = %d, %d, %d, %d, %d, %d
local SERVED, GRANTED, DEFERRED = %d, %d, %d
`,
		int64(machine.MaxNumber), machine.MaxSpan.Microseconds(), machine.MaxIDs, machine.MaxID, machine.MaxText,
		machine.KeepIDs.Microseconds(),
		machine.Served, machine.Granted, machine.Deferred)
	onState := func(source string) *redis.Script {
		return redis.NewScript(limits + stateSource + strings.Replace(source, "-- include save.lua\n", saveSource, 1))
	}
	return scripts{
		claim:   onState(claimSource),
		finish:  onState(finishSource),
		renew:   onState(renewSource),
		inspect: onState(inspectSource),
		forget:  redis.NewScript(forgetSource),
		due:     redis.NewScript(fmt.Sprintf("local MAX_DUE = %d\n", machine.MaxDue) + dueSource),
	}
}

// A mark is an argument of a script. It knows whether the client has written it to a connection.
type mark struct {
	text    string
	written atomic.Bool
}

// MarshalBinary is called by the client when it writes the argument.
func (m *mark) MarshalBinary() ([]byte, error) {
	m.written.Store(true)
	return []byte(m.text), nil
}

// String is for hooks of the client that print commands.
func (m *mark) String() string { return m.text }

// run runs the script of an operation on key.
func (e *Engine) run(ctx context.Context, script *redis.Script, key string, args ...any) (*fields, error) {
	if err := e.ready(ctx); err != nil {
		return nil, err
	}
	s, m := e.shardOf(key), &mark{text: key}
	cmd := script.Run(ctx, e.client, []string{s.state + key, s.index}, append([]any{m}, args...)...)
	f, err := read(cmd, key)
	return f, e.failure(err, func() bool { return e.waited(ctx, s, m) })
}

// read reads the reply of a script. If the stored content is broken, the error names key.
func read(cmd *redis.Cmd, key string) (*fields, error) {
	values, err := cmd.Slice()
	if err != nil {
		return nil, err
	}
	f := &fields{rest: values}
	f.kind = f.number()
	if f.err == nil && f.kind == 0 {
		reason := f.text()
		if f.err == nil {
			return nil, &fleet.StateError{Key: key, Reason: reason}
		}
	}
	return f, f.err
}

// fields are the rest of a reply. A field of the wrong type sets err; the values returned from then
// on have no meaning.
type fields struct {
	kind int64 // the first field: 0 if the stored content is broken
	rest []any
	err  error
}

func next[T any](f *fields) (value T) {
	if len(f.rest) > 0 {
		if value, ok := f.rest[0].(T); ok {
			f.rest = f.rest[1:]
			return value
		}
	}
	f.err = errors.New("the reply of the script is malformed")
	f.rest = nil
	return value
}

// more reports whether there is another field.
func (f *fields) more() bool { return len(f.rest) > 0 }

func (f *fields) number() int64      { return next[int64](f) }
func (f *fields) time() machine.Time { return machine.Time(f.number()) }
func (f *fields) bytes() string      { return next[string](f) }

// text returns the next field as valid UTF-8, even if the stored text is not valid.
func (f *fields) text() string { return strings.ToValidUTF8(f.bytes(), "\uFFFD") }

// micro returns n microseconds.
func micro(n int64) time.Duration { return time.Duration(n) * time.Microsecond }

// number returns n, or the highest int if that is lower.
func number(n int64) int { return int(min(n, math.MaxInt)) }
