package fleetredis

import (
	"errors"
	"strings"

	"github.com/throttle-go/throttle"
)

// This file holds the options.

// An Option changes what [New] builds. Options are made by the With functions; of
// two that set the same thing the later one holds.
type Option func(*options) *throttle.PolicyError

// options is what they set.
type options struct {
	namespace string
	shards    int
	volatile  bool
}

// newOptions returns what opts set, or what is wrong with them.
func newOptions(opts []Option) (options, error) {
	o := options{namespace: "default", shards: 1}
	var problems []error
	for _, opt := range opts {
		problem := &throttle.PolicyError{Field: "Option", Value: nil, Reason: mustNotBeNil}
		if opt != nil {
			problem = opt(&o)
		}
		if problem != nil {
			problems = append(problems, problem)
		}
	}
	return o, errors.Join(problems...)
}

const mustNotBeNil = "must not be nil"

// WithNamespace sets the namespace, "default" without it: keys of different namespaces
// have nothing to do with each other. It is 1 to 64 ASCII letters, digits, dots, hyphens
// and underscores.
func WithNamespace(name string) Option {
	const allowed = "-._0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	return func(o *options) *throttle.PolicyError {
		if name == "" || len(name) > 64 || strings.Trim(name, allowed) != "" {
			return &throttle.PolicyError{
				Field: "WithNamespace", Value: name, Reason: "must be 1 to 64 letters, digits, dots, hyphens or underscores",
			}
		}
		o.namespace = name
		return nil
	}
}

// MaxShards is the highest number for [WithShards].
const MaxShards = 1024

// WithShards spreads the keys of the namespace over n slots of a cluster, from 1, which is
// without it, to [MaxShards]. A few for each master that there will ever be are enough: each
// look for keys that are due asks all shards.
//
// The number cannot be changed while the namespace has state: it is kept there, and an
// engine with another one is refused with a *fleet.StateError.
func WithShards(n int) Option {
	return func(o *options) *throttle.PolicyError {
		if n < 1 || n > MaxShards {
			return &throttle.PolicyError{Field: "WithShards", Value: n, Reason: "must be from 1 to 1024"}
		}
		o.shards = n
		return nil
	}
}

// WithVolatile says that it is fine if the store loses what it was told: it is then not
// asked whether it keeps it. A loss costs at most one run of each key that comes too early,
// and the calls of replicas that have gone meanwhile.
func WithVolatile() Option {
	return func(o *options) *throttle.PolicyError {
		o.volatile = true
		return nil
	}
}
