package throttleotel

import (
	"context"

	"go.opentelemetry.io/otel/metric"

	"github.com/throttle-go/throttle"
)

// This file holds what is told of throttles between their runs.

// A Source is what [Telemetry.Add] takes: a [*throttle.Throttler], a
// [*throttle.Coalescer] or a [*throttle.Group], whose method Len tells how many keys it
// holds; whatever else has that method counts as a Group. Its methods are called
// concurrently, with no lock held.
type Source interface {
	Name() string
	Stats() throttle.Stats
}

// Add makes t tell what source.Stats says, whenever metrics are collected, until
// remove is called, under the name that source has now. Those of one name are told as
// their sum. The counts of those that were removed stay in it for as long as the
// program runs: to count to the end, close source first. A source that is added again
// is counted again. A nil source, or a nil pointer, counts for nothing.
//
// Until it is removed, t keeps source from being garbage collected. remove may be
// called several times, and concurrently.
func (t *Telemetry) Add(source Source) (remove func()) { return t.sources.Add(source) }

// observe tells o of all sources.
func (t *Telemetry) observe(_ context.Context, o metric.Observer) error {
	for _, sum := range t.sources.Sums() {
		of := named(sum.Name)
		if sum.Calls > 0 { // else it may be that nobody counts
			o.ObserveInt64(t.calls, number(sum.Calls), of)
		}
		o.ObserveInt64(t.dropped, number(sum.Dropped), of)
		if sum.Sources == 0 {
			continue
		}
		o.ObserveInt64(t.pending, int64(sum.Pending), of)
		o.ObserveInt64(t.running, int64(sum.Running), of)
		if !sum.Next.IsZero() {
			o.ObserveFloat64(t.due, sum.NextUnix(), of)
		}
		if sum.Groups > 0 {
			o.ObserveInt64(t.keys, int64(sum.Keys), of)
		}
	}
	return nil
}
