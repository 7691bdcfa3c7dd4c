package throttle_test

// This file says which policies are valid, by the reference model's reading.

import "github.com/throttle-go/throttle"

// modelFaults lists what is wrong with a policy, by field.
func modelFaults(p throttle.Policy) (faults []string) {
	leadingOnly := p.Edges == throttle.Leading
	trailingOnly := p.Edges == throttle.Trailing || p.Edges == 0 && p.Quiet > 0
	otherRetry := p.Retry
	otherRetry.Initial = 0
	for _, rule := range []struct {
		field  string
		broken bool
	}{
		{"Interval", p.Interval < 0},
		{"Burst", p.Burst < 0},
		{"Quiet", p.Quiet < 0},
		{"MaxWait", p.MaxWait < 0},
		{"MaxInterval", p.MaxInterval < 0},
		{"MaxCalls", p.MaxCalls < 0},
		{"Retry.Initial", p.Retry.Initial < 0},
		{"Retry.Max", p.Retry.Max < 0},
		{"Retry.MaxAttempts", p.Retry.MaxAttempts < 0},
		{"Retry.Jitter", p.Retry.Jitter < 0 || p.Retry.Jitter != p.Retry.Jitter},
		{"Edges", p.Edges&^(throttle.Leading|throttle.Trailing) != 0},
		{"From", p.From > throttle.FromEnd},
		// What would be ignored, or is absurd.
		{"MaxWait", p.MaxWait > 0 && (p.Quiet == 0 || p.MaxWait < p.Quiet || leadingOnly)},
		{"MaxInterval", p.MaxInterval > 0 && p.MaxInterval < p.Interval},
		{"MaxCalls", p.MaxCalls > 0 && (leadingOnly || p.Quiet == 0 && !trailingOnly)},
		{"Burst", p.Burst > 1 && (p.Interval == 0 || p.From == throttle.FromEnd || trailingOnly && p.Quiet == 0)},
		{"Retry.Max", p.Retry.Max > 0 && p.Retry.Max < p.Retry.Initial},
		{"Retry.Initial", p.Retry.Initial == 0 && otherRetry != throttle.Backoff{}},
	} {
		if rule.broken {
			faults = append(faults, rule.field)
		}
	}
	return faults
}
