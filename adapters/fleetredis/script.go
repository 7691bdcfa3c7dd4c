package fleetredis

import (
	"context"
	_ "embed" // of the scripts
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
)

var (
	//go:embed state.lua
	stateSource string
	//go:embed claim.lua
	claimSource string
	//go:embed finish.lua
	finishSource string
	//go:embed renew.lua
	renewSource string
	//go:embed due.lua
	dueSource string
)

// scripts contains a script for each operation. Each one includes the code that they share.
type scripts struct {
	claim, finish, renew, due *redis.Script
}

func newScripts() scripts {
	limits := fmt.Sprintf(`local MAX_NUMBER, MAX_SPAN, MAX_IDS, MAX_ID, MAX_TEXT, KEEP_IDS = %d, %d, %d, %d, %d, %d
local SERVED, GRANTED, DEFERRED = %d, %d, %d
`,
		int64(machine.MaxNumber), machine.MaxSpan.Microseconds(), machine.MaxIDs, machine.MaxID, machine.MaxText,
		machine.KeepIDs.Microseconds(),
		machine.Served, machine.Granted, machine.Deferred)
	script := func(source string) *redis.Script { return redis.NewScript(limits + stateSource + source) }
	return scripts{
		claim:  script(claimSource),
		finish: script(finishSource),
		renew:  script(renewSource),
		due:    script(dueSource),
	}
}

// run runs the script of an operation on key.
func (e *Engine) run(ctx context.Context, script *redis.Script, key string, args ...any) (*fields, error) {
	if err := e.ready(ctx); err != nil {
		return nil, err
	}
	s := e.shardOf(key)
	cmd := script.Run(ctx, e.client, []string{s.state + key, s.index}, append([]any{key}, args...)...)
	return e.read(cmd, key)
}

// read reads the reply of a script. If the stored content is broken, the error names key.
func (e *Engine) read(cmd *redis.Cmd, key string) (*fields, error) {
	values, err := cmd.Slice()
	if err != nil {
		return nil, e.withoutSecrets(err)
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

// withoutSecrets returns err, with credentials removed from its text.
func (e *Engine) withoutSecrets(err error) error {
	// A server repeats the arguments of an unknown command, and some do not know AUTH.
	text, _, _ := strings.Cut(err.Error(), ", with args beginning with")
	if e.password != "" {
		text = strings.ReplaceAll(text, e.password, "[password]")
	}
	if text == err.Error() {
		return err
	}
	return errors.New(text)
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
	return value
}

func (f *fields) number() int64       { return next[int64](f) }
func (f *fields) flag() bool          { return f.number() == 1 }
func (f *fields) span() time.Duration { return time.Duration(f.number()) * time.Microsecond }

// text returns the next field as valid UTF-8, even if the stored text is not valid.
func (f *fields) text() string { return strings.ToValidUTF8(next[string](f), "\uFFFD") }
