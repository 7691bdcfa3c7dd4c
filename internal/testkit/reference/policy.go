package reference

import (
	"fmt"
	"math"
	"strings"

	"github.com/throttle-go/throttle"
)

// faults lists the fields of a policy that are invalid, each as often as it breaks a
// rule.
func faults(p throttle.Policy) (faults []string) {
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
		{"Retry.Jitter", !(p.Retry.Jitter >= 0 && p.Retry.Jitter <= 1)},
		{"MaxLoad", !(p.MaxLoad >= 0 && p.MaxLoad < 1)},
		{"Jitter", !(p.Jitter >= 0 && p.Jitter <= 1)},
		{"Edges", p.Edges&^(throttle.Leading|throttle.Trailing) != 0},
		{"From", p.From > throttle.FromEnd},
		// Combinations in which a field would be ignored, or is absurd.
		{"MaxWait", p.MaxWait > 0 && (p.Quiet == 0 || p.MaxWait < p.Quiet || leadingOnly)},
		{"MaxInterval", p.MaxInterval > 0 && p.MaxInterval < p.Interval},
		{"Jitter", p.Jitter > 0 && p.MaxInterval == 0},
		{"MaxCalls", p.MaxCalls > 0 && leadingOnly},
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

// spoilers each make a policy invalid in one field.
func spoilers() []func(*throttle.Policy) {
	return []func(*throttle.Policy){
		func(p *throttle.Policy) { p.Interval = -1 },
		func(p *throttle.Policy) { p.Burst = -1 },
		func(p *throttle.Policy) { p.Quiet = -1 },
		func(p *throttle.Policy) { p.MaxWait = -1 },
		func(p *throttle.Policy) { p.MaxInterval = -1 },
		func(p *throttle.Policy) { p.MaxCalls = -1 },
		func(p *throttle.Policy) { p.MaxLoad = -0.5 },
		func(p *throttle.Policy) { p.MaxLoad = 1 },
		func(p *throttle.Policy) { p.MaxLoad = math.NaN() },
		func(p *throttle.Policy) { p.Jitter = -0.5 },
		func(p *throttle.Policy) { p.Jitter = 1.5 },
		func(p *throttle.Policy) { p.Jitter = math.NaN() },
		func(p *throttle.Policy) { p.MaxInterval, p.Jitter = 0, 0.5 },
		func(p *throttle.Policy) { p.Edges = 4 },
		func(p *throttle.Policy) { p.From = 2 },
		func(p *throttle.Policy) { p.Retry.Initial = -1 },
		func(p *throttle.Policy) { p.Retry.Max = -1 },
		func(p *throttle.Policy) { p.Retry.MaxAttempts = -1 },
		func(p *throttle.Policy) { p.Retry.Jitter = -0.5 },
		func(p *throttle.Policy) { p.Retry.Jitter = 1.5 },
		func(p *throttle.Policy) { p.Retry.Jitter = math.NaN() },
	}
}

// mend clears the fields that a valid policy must not have, or changes them to the nearest
// valid value.
func mend(p throttle.Policy) throttle.Policy {
	leadingOnly := p.Edges == throttle.Leading
	trailingOnly := p.Edges == throttle.Trailing || p.Edges == 0 && p.Quiet > 0
	if p.Quiet == 0 || leadingOnly {
		p.MaxWait = 0
	}
	if p.MaxWait > 0 {
		p.MaxWait = max(p.MaxWait, p.Quiet)
	}
	if p.MaxInterval > 0 {
		p.MaxInterval = max(p.MaxInterval, p.Interval)
	} else {
		p.Jitter = 0
	}
	if leadingOnly {
		p.MaxCalls = 0
	}
	if p.Interval == 0 || p.From == throttle.FromEnd || trailingOnly && p.Quiet == 0 {
		p.Burst = min(p.Burst, 1)
	}
	if p.Retry.Initial == 0 {
		p.Retry = throttle.Backoff{}
	}
	if p.Retry.Max > 0 {
		p.Retry.Max = max(p.Retry.Max, p.Retry.Initial)
	}
	return p
}

// policyText describes a policy by the fields that are set.
func policyText(p throttle.Policy) string {
	var fields []string
	add := func(name string, value, zero any) {
		if value != zero {
			fields = append(fields, fmt.Sprintf("%s: %v", name, value))
		}
	}
	none := throttle.Policy{}
	add("Interval", p.Interval, none.Interval)
	add("Burst", p.Burst, none.Burst)
	add("MaxLoad", p.MaxLoad, none.MaxLoad)
	add("Quiet", p.Quiet, none.Quiet)
	add("MaxWait", p.MaxWait, none.MaxWait)
	add("MaxInterval", p.MaxInterval, none.MaxInterval)
	add("Jitter", p.Jitter, none.Jitter)
	add("MaxCalls", p.MaxCalls, none.MaxCalls)
	add("Retry", fmt.Sprintf("%+v", p.Retry), fmt.Sprintf("%+v", none.Retry))
	switch p.Edges {
	case 0:
	case throttle.Leading:
		fields = append(fields, "Edges: Leading")
	case throttle.Trailing:
		fields = append(fields, "Edges: Trailing")
	case throttle.Leading | throttle.Trailing:
		fields = append(fields, "Edges: Leading|Trailing")
	default:
		fields = append(fields, fmt.Sprintf("Edges: %d", uint8(p.Edges)))
	}
	if p.From == throttle.FromEnd {
		fields = append(fields, "From: FromEnd")
	} else if p.From != 0 {
		fields = append(fields, fmt.Sprintf("From: %d", uint8(p.From)))
	}
	return "Policy{" + strings.Join(fields, ", ") + "}"
}
