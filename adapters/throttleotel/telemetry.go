package throttleotel

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/throttle-go/throttle/adapters/internal/sources"
)

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
	verdictKey = attribute.Key("throttle.verdict")
	engineKey  = attribute.Key("throttle.engine")
)

// A Telemetry exports runs with [Telemetry.Trace], the state of throttles with
// [Telemetry.Add], and that of engines with [Telemetry.AddEngine]. It lives as long as its
// MeterProvider. One is enough for a whole program. If two share a MeterProvider and both
// have sources or engines of the same name, the metrics of that name are undefined.
//
// Create one with [New]; the zero value cannot be used. Its methods may be called
// concurrently.
type Telemetry struct {
	tracer   trace.Tracer
	withKeys bool // on spans

	// Metrics of runs.
	runs     metric.Int64Counter
	duration metric.Float64Histogram
	lateness metric.Float64Histogram
	wait     metric.Float64Histogram
	measured sync.Map // *attributeSets by origin

	// Metrics of sources.
	calls   metric.Int64ObservableCounter
	dropped metric.Int64ObservableCounter
	refused metric.Int64ObservableCounter
	pending metric.Int64ObservableUpDownCounter
	running metric.Int64ObservableUpDownCounter
	due     metric.Float64ObservableGauge
	keys    metric.Int64ObservableUpDownCounter
	values  metric.Int64ObservableUpDownCounter
	batches metric.Int64ObservableUpDownCounter

	fleetInstruments  fleetInstruments
	engineInstruments engineInstruments

	sources sources.Set
	engines sources.Engines
}

// New returns a Telemetry that uses the providers in opts, or else the global ones. You may
// set the global providers after New. If opts are invalid, the error joins one
// [*throttle.PolicyError] for each problem. Otherwise it joins the errors of the
// MeterProvider.
func New(opts ...Option) (*Telemetry, error) {
	c, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	t := &Telemetry{tracer: c.tracers.Tracer(scope), withKeys: c.withKeys}
	if err := t.instrument(c.meters.Meter(scope)); err != nil {
		return nil, fmt.Errorf("throttleotel: %w", err)
	}
	return t, nil
}

// instrument makes the instruments.
func (t *Telemetry) instrument(meter metric.Meter) error {
	i := instruments{meter: meter}
	t.runs = i.counter("throttle.runs", "{run}", "Runs that have ended.")
	t.duration = i.histogram("throttle.run.duration", "Time from a run's start to the callback's return.")
	t.lateness = i.histogram("throttle.run.lateness", "Time from when a run was due to its start.")
	t.wait = i.histogram("throttle.run.wait", "Time from the first call that a run covers to its start.")
	t.calls = i.total("throttle.calls", "{call}", "Calls accepted or dropped, if they are counted.")
	t.dropped = i.total("throttle.call.dropped", "{call}", "Calls dropped because the policy has no trailing edge.")
	t.refused = i.total("throttle.call.refused", "{call}", "Calls refused because too many values wait.")
	t.pending = i.level("throttle.pending", "{throttle}", "Throttles in which a call or a retry waits for its run.")
	t.running = i.level("throttle.running", "{throttle}", "Throttles in which a run is active.")
	t.due = i.gauge("throttle.run.due", "s", "Unix time at which the next run is due, at the earliest while one is active.")
	t.keys = i.level("throttle.key.count", "{key}", "Keys that Groups and KeyedCoalescers hold.")
	t.values = i.level("throttle.value.count", "{call}", "Calls whose values wait for a run.")
	t.batches = i.level("throttle.batch.count", "{batch}", "Batches of values that wait for a run.")
	t.fleetInstruments, t.engineInstruments = newFleetInstruments(&i), newEngineInstruments(&i)
	if err := errors.Join(i.problems...); err != nil {
		return err
	}
	all := []metric.Observable{
		t.calls, t.dropped, t.refused, t.pending, t.running, t.due, t.keys, t.values, t.batches,
	}
	_, err := meter.RegisterCallback(t.observe,
		slices.Concat(all, t.fleetInstruments.all(), t.engineInstruments.all())...)
	return err
}
