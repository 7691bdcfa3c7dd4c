package main

import (
	"encoding/json"
	"io"
	"time"

	"github.com/throttle-go/throttle"
)

// A jsonResult is a result as JSON. Durations are in nanoseconds.
type jsonResult struct {
	Words   string        `json:"words"`
	Policy  jsonPolicy    `json:"policy"`
	Front   bool          `json:"front"`
	Calls   int           `json:"calls"`
	Watched time.Duration `json:"watched_ns"`
	Runs    int           `json:"runs"`
	Failed  int           `json:"failed"`
	Saved   float64       `json:"saved"`
	Running time.Duration `json:"running_ns"`
	Load    float64       `json:"load"`
	Dropped int           `json:"dropped"`
	P50     time.Duration `json:"wait_p50_ns"`
	P99     time.Duration `json:"wait_p99_ns"`
	Longest time.Duration `json:"wait_longest_ns"`
	Stale   time.Duration `json:"stale_ns"`
	Share   float64       `json:"stale"`
}

// A jsonPolicy has the fields of a policy that the command line sets.
type jsonPolicy struct {
	Interval    time.Duration `json:"interval_ns"`
	Burst       int           `json:"burst"`
	MaxLoad     float64       `json:"max_load"`
	Quiet       time.Duration `json:"quiet_ns"`
	MaxWait     time.Duration `json:"max_wait_ns"`
	MaxInterval time.Duration `json:"max_interval_ns"`
	MaxCalls    int           `json:"max_calls"`
	Retry       time.Duration `json:"retry_initial_ns"`
	RetryMax    time.Duration `json:"retry_max_ns"`
	Edges       string        `json:"edges"`
	From        string        `json:"from"`
}

// writeJSON writes results as an array.
func (s scenario) writeJSON(w io.Writer, results []result) error {
	all := make([]jsonResult, 0, len(results))
	for _, r := range results {
		all = append(all, jsonResult{
			Words: r.policy.String(), Policy: newJSONPolicy(r.policy), Front: r.front,
			Calls: len(s.calls), Watched: s.end,
			Runs: r.runs, Failed: r.failed, Saved: s.saved(r), Running: r.running, Load: s.share(r.running),
			Dropped: r.dropped, P50: r.p50, P99: r.p99, Longest: r.longest,
			Stale: r.stale, Share: s.share(r.stale),
		})
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(all)
}

func newJSONPolicy(p throttle.Policy) jsonPolicy {
	return jsonPolicy{
		Interval: p.Interval, Burst: p.Burst, MaxLoad: p.MaxLoad, Quiet: p.Quiet, MaxWait: p.MaxWait,
		MaxInterval: p.MaxInterval, MaxCalls: p.MaxCalls, Retry: p.Retry.Initial, RetryMax: p.Retry.Max,
		Edges: edgesName(p.Edges), From: fromName(p.From),
	}
}
