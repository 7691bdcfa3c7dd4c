package throttleotel

import "go.opentelemetry.io/otel/metric"

// This file holds how instruments are made.

// instruments makes instruments of meter, and collects what that refuses.
type instruments struct {
	meter    metric.Meter
	problems []error
}

// keep returns made, and collects problem.
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

// histogram makes one of seconds. Its buckets begin with a timer's usual lateness,
// which the default ones would not tell from none, and end with minutes of waiting.
func (i *instruments) histogram(name, description string) metric.Float64Histogram {
	made, err := i.meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description),
		metric.WithExplicitBucketBoundaries(
			0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
			0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300))
	return keep(i, made, err)
}

// total makes a counter of what is counted elsewhere.
func (i *instruments) total(name, unit, description string) metric.Int64ObservableCounter {
	made, err := i.meter.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
	return keep(i, made, err)
}

// level makes an instrument of a number that may be added up, and falls again.
func (i *instruments) level(name, unit, description string) metric.Int64ObservableUpDownCounter {
	made, err := i.meter.Int64ObservableUpDownCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
	return keep(i, made, err)
}

// gauge makes an instrument of a number that must not be added up.
func (i *instruments) gauge(name, unit, description string) metric.Float64ObservableGauge {
	made, err := i.meter.Float64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(description))
	return keep(i, made, err)
}
