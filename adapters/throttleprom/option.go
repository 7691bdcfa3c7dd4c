package throttleprom

import (
	"errors"
	"math"
	"slices"

	"github.com/throttle-go/throttle"
)

// This file holds the options.

// An Option changes what [New] builds. Options are made by the With functions; of
// two that set the same thing the later one holds.
type Option func(*options) *throttle.PolicyError

// options is what they set.
type options struct {
	bounds []float64            // of classic buckets; nil: there are none
	class  func(key any) string // nil: runs have no label for their key
}

// newOptions returns what opts set, or what is wrong with them.
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

// WithClassicBuckets adds classic buckets to the histograms, beside the native ones:
// for servers that scrape the text format, or do not store native histograms. Those
// that do leave the classic ones aside, unless told otherwise.
//
// bounds are the upper bounds of the buckets in seconds, finite and in increasing order.
// If there are none, it is 22 from 100 µs to 1000 s, in steps of 1, 2.5 and 5. Each is six
// time series for each name: lateness, wait, and the durations of four results; times
// the values of the label of [WithKeyLabel].
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

// defaultBounds reach from the lateness of a timer to the longest of runs.
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

// WithKeyLabel gives all metrics of runs a label "key": for a run of a Group, class of
// its key; for others it is empty. class is called by [Metrics.Observe], concurrently.
//
// Every value of a label is a time series of its own in every metric, here and in the
// server, for as long as the program runs. So class must map the keys to few values,
// whoever chooses them: the tenant's plan, not the tenant.
func WithKeyLabel(class func(key any) string) Option {
	return func(o *options) *throttle.PolicyError {
		if class == nil {
			return &throttle.PolicyError{Field: "WithKeyLabel", Value: nil, Reason: mustNotBeNil}
		}
		o.class = class
		return nil
	}
}
