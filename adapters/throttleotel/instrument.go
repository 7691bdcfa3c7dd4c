package throttleotel

import "go.opentelemetry.io/otel/metric"

// instruments makes instruments of meter and collects the errors.
type instruments struct {
	meter    metric.Meter
	problems []error
}

// keep returns made and collects problem, if there is one.
func keep[T any](i *instruments, made T, problem error) T {
	if problem != nil {
		i.problems = append(i.problems, problem)
	}
	return made
}

func (i *instruments) counter(name, unit, description string) metric.Int64Counter {
	made, err := i.meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(description))
	return keep(i, made, err)
}

// histogram makes a histogram of seconds. Its buckets range from the usual lateness of a
// timer to minutes of waiting. The default buckets cannot tell a timer's lateness from none.
func (i *instruments) histogram(name, description string) metric.Float64Histogram {
	made, err := i.meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description),
		metric.WithExplicitBucketBoundaries(
			0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
			0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300))
	return keep(i, made, err)
}

// total makes a counter whose value is read from sources.
func (i *instruments) total(name, unit, description string) metric.Int64ObservableCounter {
	made, err := i.meter.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
	return keep(i, made, err)
}

// level makes an instrument for a number that may fall, and that may be added up.
func (i *instruments) level(name, unit, description string) metric.Int64ObservableUpDownCounter {
	made, err := i.meter.Int64ObservableUpDownCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
	return keep(i, made, err)
}

// gauge makes an instrument for a number that must not be added up.
func (i *instruments) gauge(name, unit, description string) metric.Float64ObservableGauge {
	made, err := i.meter.Float64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(description))
	return keep(i, made, err)
}
