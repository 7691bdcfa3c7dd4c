package fleetpg

import (
	"errors"
	"strings"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet"
)

// An Option changes what [New] returns and [Migrate] sets up. The With functions return options. If
// two options set the same thing, the later one wins.
type Option func(*options) *throttle.PolicyError

// options are the settings that options change.
type options struct {
	schema    string
	namespace string
	volatile  bool
	inFlight  int // 0: as the pool allows
}

// newOptions returns the settings of opts, or everything that is wrong with opts.
func newOptions(opts []Option) (options, error) {
	o := options{schema: "throttle", namespace: "default"}
	var problems []error
	for _, opt := range opts {
		problem := &throttle.PolicyError{Field: "Option", Value: nil, Reason: "must not be nil"}
		if opt != nil {
			problem = opt(&o)
		}
		if problem != nil {
			problems = append(problems, problem)
		}
	}
	return o, errors.Join(problems...)
}

// WithSchema sets the schema of the tables and functions. A name has 1 to 63 bytes, without NUL and
// dollar signs; the default is "throttle".
func WithSchema(name string) Option {
	return func(o *options) *throttle.PolicyError {
		// PostgreSQL truncates longer names. Dollar signs quote the text of the functions.
		if name == "" || len(name) > 63 || strings.ContainsAny(name, "\x00$") {
			return &throttle.PolicyError{Field: "WithSchema", Value: name, Reason: "must be 1 to 63 bytes, without NUL and $"}
		}
		o.schema = name
		return nil
	}
}

// WithNamespace sets the namespace. Equal keys of different namespaces are independent. A name has
// 1 to 64 printable ASCII characters; the default is "default". [Migrate] ignores it.
func WithNamespace(name string) Option {
	return func(o *options) *throttle.PolicyError {
		unprintable := func(r rune) bool { return r < ' ' || r > '~' }
		if name == "" || len(name) > 64 || strings.ContainsFunc(name, unprintable) {
			return &throttle.PolicyError{Field: "WithNamespace", Value: name, Reason: "must be 1 to 64 printable ASCII characters"}
		}
		o.namespace = name
		return nil
	}
}

// WithVolatile accepts a server that may lose data: [Engine.Check] then does not check durability. A
// loss costs at most one early run of each key, the calls of [Engine.CallTx], and the calls of
// replicas that have died. [Migrate] ignores it.
func WithVolatile() Option {
	return func(o *options) *throttle.PolicyError {
		o.volatile = true
		return nil
	}
}

// WithMaxInFlight lets at most n messages of the engine be in flight, from 1 to 1024. Each takes a
// connection of the pool. The default is [fleet.DefaultInFlight], or one less than the pool's
// MaxConns if that is lower, but at least 1: the poller needs one, too. If your program uses the pool
// for other things, leave some for them. [Migrate] ignores it.
func WithMaxInFlight(n int) Option {
	return func(o *options) *throttle.PolicyError {
		if n < 1 || n > 1024 {
			return &throttle.PolicyError{Field: "WithMaxInFlight", Value: n, Reason: "must be from 1 to 1024"}
		}
		o.inFlight = n
		return nil
	}
}

// limit returns how many messages may be in flight, given the pool's MaxConns.
func (o *options) limit(connections int) int {
	if o.inFlight > 0 {
		return o.inFlight
	}
	return max(1, min(fleet.DefaultInFlight, connections-1))
}
