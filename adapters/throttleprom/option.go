package throttleprom

import (
	"errors"
	"math"
	"slices"

	"github.com/throttle-go/throttle"
)

// An Option configures [New]. The With functions return Options. If two set the same
// thing, the later one wins.
type Option func(*options) *throttle.PolicyError

// options is the configuration that Options set.
type options struct {
	bounds []float64            // of classic buckets; nil: no classic buckets
	class  func(key any) string // nil: runs have no label for their key
}

// newOptions applies opts. Its error joins all problems.
func newOptions(opts []Option) (options, error) {
	var o options
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

// WithClassicBuckets adds classic buckets to the histograms, beside the native ones. They
// are for servers that scrape the text format or do not store native histograms. Other
// servers ignore them by default.
//
// bounds are the upper bounds of the buckets in seconds, finite and increasing. Without
// bounds there are 22, from 100 µs to 1000 s in steps of 1, 2.5 and 5. Each bucket adds six
// time series for each name: one for lateness, one for wait, and one for the duration of
// each of the four results. With [WithKeyLabel], multiply by the number of label values.
func WithClassicBuckets(bounds ...float64) Option {
	bounds = slices.Clone(bounds)
	return func(o *options) *throttle.PolicyError {
		for i, bound := range bounds {
			if math.IsNaN(bound) || math.IsInf(bound, 0) || i > 0 && bound <= bounds[i-1] {
				return &throttle.PolicyError{Field: "WithClassicBuckets", Value: bounds, Reason: "must be finite, and increase"}
			}
		}
		o.bounds = bounds
		if len(bounds) == 0 {
			o.bounds = defaultBounds()
		}
		return nil
	}
}

// defaultBounds range from the lateness of a timer to the longest runs.
func defaultBounds() []float64 {
	return []float64{
		0.0001, 0.00025, 0.0005,
		0.001, 0.0025, 0.005,
		0.01, 0.025, 0.05,
		0.1, 0.25, 0.5,
		1, 2.5, 5,
		10, 25, 50,
		100, 250, 500,
		1000,
	}
}

// WithKeyLabel adds the label "key" to all metrics of runs. For a run of a Group,
// KeyedCoalescer or fleet.Group its value is class of the key; for other runs it is empty.
// [Metrics.Observe] calls class, and may do so concurrently.
//
// Each value of a label is a time series of its own in every metric, here and in the
// server, for as long as the program runs. So class must return few different values,
// whatever keys others choose: the tenant's plan, not the tenant.
func WithKeyLabel(class func(key any) string) Option {
	return func(o *options) *throttle.PolicyError {
		if class == nil {
			return &throttle.PolicyError{Field: "WithKeyLabel", Value: nil, Reason: mustNotBeNil}
		}
		o.class = class
		return nil
	}
}
