package throttleotel

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/throttle-go/throttle"
)

// An origin determines the attributes with which a run is measured.
type origin struct {
	name   string
	cause  throttle.Cause
	result throttle.Result
}

// attributeSets holds the attributes of the runs of one origin. They are kept because
// making them for each run costs more than measuring it.
type attributeSets struct {
	run      []metric.AddOption
	duration []metric.RecordOption
	start    []metric.RecordOption // without the result, which says nothing about the start
}

// attributesOf returns the attributes of runs of this origin.
func (t *Telemetry) attributesOf(of origin) *attributeSets {
	known, ok := t.measured.Load(of)
	if !ok {
		cause, result := text(causeKey, string(of.cause)), text(resultKey, string(of.result))
		known, _ = t.measured.LoadOrStore(of, &attributeSets{
			run:      []metric.AddOption{named(of.name, cause, result)},
			duration: []metric.RecordOption{named(of.name, result)},
			start:    []metric.RecordOption{named(of.name)},
		})
	}
	return known.(*attributeSets) //nolint:errcheck,forcetypeassert // nothing else is stored
}

// measure records the metrics of a finished run in the context of its span, so that
// exemplars lead to the span.
func (t *Telemetry) measure(ctx context.Context, run throttle.Run) {
	of := t.attributesOf(origin{name: run.Name, cause: run.Cause, result: run.Result})
	t.runs.Add(ctx, 1, of.run...)
	t.duration.Record(ctx, run.Ended.Sub(run.Started).Seconds(), of.duration...)
	t.lateness.Record(ctx, run.Started.Sub(run.Due).Seconds(), of.start...)
	if !run.Asked.IsZero() {
		t.wait.Record(ctx, run.Started.Sub(run.Asked).Seconds(), of.start...)
	}
}

// named returns the attributes of a measurement: more, and the name if it is not empty.
func named(name string, more ...attribute.KeyValue) metric.MeasurementOption {
	if name != "" {
		more = append(more, text(nameKey, name))
	}
	return metric.WithAttributeSet(attribute.NewSet(more...))
}
