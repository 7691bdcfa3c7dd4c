package throttleotel

import (
	"context"

	"go.opentelemetry.io/otel/metric"

	"github.com/throttle-go/throttle"
)

// A Source is an argument of [Telemetry.Add]: a [*throttle.Throttler], a
// [*throttle.Coalescer], a [*throttle.Group], a [*throttle.KeyedCoalescer], a
// [*fleet.Throttler] or a [*fleet.Group]. A Source with a Len() int method counts as a Group;
// Len is its number of keys. A Source with a Counts() [fleet.Counts] method counts as a
// throttler of a fleet. A fleet.Group has both. The methods of a Source are called
// concurrently, and with no lock held.
type Source interface {
	Name() string
	Stats() throttle.Stats
}

// Add exports source.Stats at every collection, under the current name of source, until
// you call remove. Sources of one name are added up. The counts of a removed source stay in
// the sum for as long as the program runs. To include its last calls, close source before
// you remove it. A source that is added twice is counted twice. Add ignores a nil source
// and a nil pointer.
//
// Until it is removed, source cannot be garbage collected. remove may be called several
// times, and concurrently.
func (t *Telemetry) Add(source Source) (remove func()) { return t.sources.Add(source) }

// observe sends the sums of all sources and engines to o.
func (t *Telemetry) observe(_ context.Context, o metric.Observer) error {
	for _, sum := range t.sources.Sums() {
		if sum.Fleet {
			t.fleetInstruments.observe(o, sum.Name, sum.Counts)
		}
		of := named(sum.Name)
		counted := sum.Calls > 0 // 0 may mean that calls are not counted, which Coalescers always do
		if counted {
			o.ObserveInt64(t.calls, number(sum.Calls), of)
			o.ObserveInt64(t.refused, number(sum.Refused), of)
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
		if counted {
			o.ObserveInt64(t.values, int64(sum.Values), of)
			o.ObserveInt64(t.batches, int64(sum.Batches), of)
		}
	}
	for _, sum := range t.engines.Sums() {
		t.engineInstruments.observe(o, sum)
	}
	return nil
}
