package fleetredis

import (
	"errors"
	"strings"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet"
)

// An Option changes what [New] returns. The With functions return options. If two options set the
// same thing, the later one wins.
type Option func(*options) *throttle.PolicyError

// options are the settings that options change.
type options struct {
	namespace string
	shards    int
	volatile  bool
	inFlight  int // 0 means the default
}

// newOptions returns the settings of opts, or everything that is wrong with opts.
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

// limit returns how many messages may be in flight, given the size of the client's pool.
func (o *options) limit(connections int) int {
	if o.inFlight > 0 {
		return o.inFlight
	}
	return max(1, min(fleet.DefaultInFlight, connections))
}

const mustNotBeNil = "must not be nil"

// WithNamespace sets the namespace. Equal keys of different namespaces are independent. A name
// has 1 to 64 ASCII letters, digits, dots, hyphens and underscores; the default is "default".
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

// MaxShards is the highest number of shards: see [WithShards].
const MaxShards = 1024

// WithShards spreads the keys of the namespace over n slots of a cluster: 1, the default, to
// [MaxShards]. Use a few shards for each master that you will ever have, not more, because every
// look for due keys asks all shards.
//
// You cannot change the number while the namespace has state. The store remembers it, and the
// operations of an engine with another number return a [*fleet.StateError].
func WithShards(n int) Option {
	return func(o *options) *throttle.PolicyError {
		if n < 1 || n > MaxShards {
			return &throttle.PolicyError{Field: "WithShards", Value: n, Reason: "must be from 1 to 1024"}
		}
		o.shards = n
		return nil
	}
}

// WithVolatile accepts a store that may lose data: [Engine.Check] then does not check durability. A
// loss costs at most one early run of each key, and the calls of replicas that have died.
func WithVolatile() Option {
	return func(o *options) *throttle.PolicyError {
		o.volatile = true
		return nil
	}
}

// WithMaxInFlight lets at most n messages of the engine be in flight, from 1 to 1024. Each takes a
// connection of the client's pool; in a cluster, of the pool for one master. The poller takes one
// more, and the listener another one that does not count in the pool's size. The default is
// [fleet.DefaultInFlight], or the client's PoolSize if that is lower. If your program uses the
// client for other things, leave some connections for them.
func WithMaxInFlight(n int) Option {
	return func(o *options) *throttle.PolicyError {
		if n < 1 || n > 1024 {
			return &throttle.PolicyError{Field: "WithMaxInFlight", Value: n, Reason: "must be from 1 to 1024"}
		}
		o.inFlight = n
		return nil
	}
}
