package throttleotel

import (
	"errors"
	"fmt"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// This file holds what New builds: the tracer and the instruments.

// scope is the name of the instrumentation scope.
const scope = "github.com/throttle-go/throttle/adapters/throttleotel"

// Names of attributes.
const (
	nameKey    = attribute.Key("throttle.name")
	causeKey   = attribute.Key("throttle.cause")
	resultKey  = attribute.Key("throttle.result")
	attemptKey = attribute.Key("throttle.attempt")
	callsKey   = attribute.Key("throttle.calls")
	waitKey    = attribute.Key("throttle.wait")
	groupKey   = attribute.Key("throttle.key")
)

// A Telemetry tells OpenTelemetry of runs, by [Telemetry.Option], and of what waits
// for one, by [Telemetry.Add]. One does for all of a program, as it lives as long as
// the MeterProvider that it was built with.
//
// It is built by [New], and its zero value cannot be used. Its methods may be
// called concurrently.
type Telemetry struct {
	tracer   trace.Tracer
	withKeys bool // on spans

	// Of runs.
	runs     metric.Int64Counter
	duration metric.Float64Histogram
	lateness metric.Float64Histogram
	wait     metric.Float64Histogram

	// Of sources.
	calls   metric.Int64ObservableCounter
	dropped metric.Int64ObservableCounter
	pending metric.Int64ObservableUpDownCounter
	running metric.Int64ObservableUpDownCounter
	keys    metric.Int64ObservableUpDownCounter

	mu sync.Mutex // guards the field below

	// +checklocks:mu
	families map[string]family // by name
}

// New returns a Telemetry with the global providers, or those that opts give. The
// global ones may be set later. Its error joins a [*throttle.PolicyError] for every
// invalid option, or else what the MeterProvider has reported.
func New(opts ...Option) (*Telemetry, error) {
	c, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	t := &Telemetry{
		tracer:   c.tracers.Tracer(scope),
		withKeys: c.withKeys,
		families: make(map[string]family),
	}
	if err := t.instrument(c.meters.Meter(scope)); err != nil {
		return nil, fmt.Errorf("throttleotel: %w", err)
	}
	return t, nil
}

// instrument makes the instruments.
func (t *Telemetry) instrument(m metric.Meter) error {
	const seconds, runs, calls, throttles, keys = "s", "{run}", "{call}", "{throttle}", "{key}"
	var errs [10]error
	t.runs, errs[0] = m.Int64Counter("throttle.runs",
		metric.WithUnit(runs), metric.WithDescription("Runs that have ended."))
	t.duration, errs[1] = m.Float64Histogram("throttle.run.duration", buckets(),
		metric.WithUnit(seconds), metric.WithDescription("How long the callback took."))
	t.lateness, errs[2] = m.Float64Histogram("throttle.run.lateness", buckets(),
		metric.WithUnit(seconds), metric.WithDescription("Time from when a run was due to its start."))
	t.wait, errs[3] = m.Float64Histogram("throttle.run.wait", buckets(),
		metric.WithUnit(seconds), metric.WithDescription("Time from the first call that a run covers to its start."))
	t.calls, errs[4] = m.Int64ObservableCounter("throttle.calls",
		metric.WithUnit(calls), metric.WithDescription("Calls accepted or dropped, if they are counted."))
	t.dropped, errs[5] = m.Int64ObservableCounter("throttle.calls.dropped",
		metric.WithUnit(calls), metric.WithDescription("Calls dropped because the policy has no trailing edge."))
	t.pending, errs[6] = m.Int64ObservableUpDownCounter("throttle.pending",
		metric.WithUnit(throttles), metric.WithDescription("Throttles in which a call or a retry waits for its run."))
	t.running, errs[7] = m.Int64ObservableUpDownCounter("throttle.running",
		metric.WithUnit(throttles), metric.WithDescription("Throttles in which a run is active."))
	t.keys, errs[8] = m.Int64ObservableUpDownCounter("throttle.keys",
		metric.WithUnit(keys), metric.WithDescription("Keys held by Groups."))
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	_, errs[9] = m.RegisterCallback(t.observe, t.calls, t.dropped, t.pending, t.running, t.keys)
	return errs[9]
}

// buckets returns the boundaries of histograms, in seconds: from a timer's usual
// lateness, which the default ones would not tell from none, to minutes of waiting.
func buckets() metric.HistogramOption {
	return metric.WithExplicitBucketBoundaries(
		0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
		0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
}
