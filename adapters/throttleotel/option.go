package throttleotel

import (
	"errors"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/throttle-go/throttle"
)

// An Option configures [New]. The With functions return Options. If two set the same
// thing, the later one wins.
type Option func(*config) *throttle.PolicyError

// WithMeterProvider sends the metrics to p instead of to [otel.GetMeterProvider]. To get
// only spans, pass a provider of package go.opentelemetry.io/otel/metric/noop.
func WithMeterProvider(p metric.MeterProvider) Option {
	return func(c *config) *throttle.PolicyError {
		if p == nil {
			return mustNotBeNil("WithMeterProvider")
		}
		c.meters = p
		return nil
	}
}

// WithTracerProvider sends the spans to p instead of to [otel.GetTracerProvider]. To get
// only metrics, pass a provider of package go.opentelemetry.io/otel/trace/noop.
func WithTracerProvider(p trace.TracerProvider) Option {
	return func(c *config) *throttle.PolicyError {
		if p == nil {
			return mustNotBeNil("WithTracerProvider")
		}
		c.tracers = p
		return nil
	}
}

// WithKeys adds a run's key in a Group, KeyedCoalescer or fleet.Group, as fmt.Sprint prints
// it, to the run's span. By default the key is left out, because it may be personal data.
// Metrics never include it.
func WithKeys() Option {
	return func(c *config) *throttle.PolicyError {
		c.withKeys = true
		return nil
	}
}

func mustNotBeNil(field string) *throttle.PolicyError {
	return &throttle.PolicyError{Field: field, Value: nil, Reason: "must not be nil"}
}

// config is the configuration that Options set.
type config struct {
	meters   metric.MeterProvider
	tracers  trace.TracerProvider
	withKeys bool
}

// newConfig applies opts. Its error joins all problems.
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
