package throttleotel

import (
	"errors"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/throttle-go/throttle"
)

// This file holds the options, and the values they set.

// An Option changes what [New] builds. Options are made by the With functions; of
// two that set the same thing the later one holds.
type Option func(*config) *throttle.PolicyError

// WithMeterProvider makes p receive the metrics, instead of
// [otel.GetMeterProvider]'s. One of package go.opentelemetry.io/otel/metric/noop
// leaves the spans alone.
func WithMeterProvider(p metric.MeterProvider) Option {
	return func(c *config) *throttle.PolicyError {
		if p == nil {
			return mustNotBeNil("WithMeterProvider")
		}
		c.meters = p
		return nil
	}
}

// WithTracerProvider makes p receive the spans, instead of
// [otel.GetTracerProvider]'s. One of package go.opentelemetry.io/otel/trace/noop
// leaves the metrics alone.
func WithTracerProvider(p trace.TracerProvider) Option {
	return func(c *config) *throttle.PolicyError {
		if p == nil {
			return mustNotBeNil("WithTracerProvider")
		}
		c.tracers = p
		return nil
	}
}

// WithKeys puts a Group's key, as fmt.Sprint prints it, on the spans of its runs.
// It is left out otherwise, since it may be personal data. It is never on metrics.
func WithKeys() Option {
	return func(c *config) *throttle.PolicyError {
		c.withKeys = true
		return nil
	}
}

func mustNotBeNil(field string) *throttle.PolicyError {
	return &throttle.PolicyError{Field: field, Value: nil, Reason: "must not be nil"}
}

// config is what options set.
type config struct {
	meters   metric.MeterProvider
	tracers  trace.TracerProvider
	withKeys bool
}

// newConfig applies opts.
func newConfig(opts []Option) (config, error) {
	c := config{meters: otel.GetMeterProvider(), tracers: otel.GetTracerProvider()}
	var problems []error
	for _, opt := range opts {
		problem := mustNotBeNil("Option")
		if opt != nil {
			problem = opt(&c)
		}
		if problem != nil {
			problems = append(problems, problem)
		}
	}
	return c, errors.Join(problems...)
}
