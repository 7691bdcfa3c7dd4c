package fleetpg

import (
	"errors"
	"strings"

	"github.com/throttle-go/throttle"
)

// This file holds the options.

// An Option changes what [New] builds and [Migrate] sets up. Options are made by the
// With functions; of two that set the same thing the later one holds.
type Option func(*options) *throttle.PolicyError

// options is what they set.
type options struct {
	schema    string
	namespace string
	volatile  bool
}

// newOptions returns what opts set, or what is wrong with them.
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

// WithSchema names the schema of the tables and functions, which is "throttle"
// otherwise: 1 to 63 bytes, neither NUL nor a dollar sign.
func WithSchema(name string) Option {
	return func(o *options) *throttle.PolicyError {
		// PostgreSQL cuts longer names. The functions' text is quoted by dollar signs.
		if name == "" || len(name) > 63 || strings.ContainsAny(name, "\x00$") {
			return &throttle.PolicyError{Field: "WithSchema", Value: name, Reason: "must be 1 to 63 bytes, without NUL and $"}
		}
		o.schema = name
		return nil
	}
}

// WithNamespace sets the namespace, which is "default" otherwise: 1 to 64 bytes, all
// printable ASCII. The keys of one namespace are unknown in another. It is of no meaning
// to [Migrate].
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

// WithVolatile declares it fine that the server loses what it was told, by its
// configuration: see [Engine.Check]. A loss costs at most one run too early for each key,
// and the calls made by [Engine.CallTx]; replicas that live make theirs again. It is of no
// meaning to [Migrate].
func WithVolatile() Option {
	return func(o *options) *throttle.PolicyError {
		o.volatile = true
		return nil
	}
}
