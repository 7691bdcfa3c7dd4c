package main

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/throttle-go/throttle"
)

// mostPolicies bounds the grid. A larger one is most likely a mistake, and nobody reads so
// many rows.
const mostPolicies = 10_000

// A grid holds the values of each field of a policy. An empty list stands for the zero
// value alone.
type grid struct {
	interval    []time.Duration
	quiet       []time.Duration
	maxWait     []time.Duration
	maxInterval []time.Duration
	burst       []int
	maxLoad     []float64
	maxCalls    []int
	edges       []throttle.Edges
	from        []throttle.From
	retry       []time.Duration
	retryMax    []time.Duration
}

// The default grid has the policy without a limit for comparison, longer and longer
// intervals, and each of these after a little quiet: without a bound, and with one.
const (
	defaultInterval = "0,100ms,300ms,1s,3s,10s"
	defaultQuiet    = "0,100ms"
	defaultMaxWait  = "0,1s"
)

// define defines the flags of the grid.
func (g *grid) define(set *flag.FlagSet) {
	const lists = " `durations` separated by commas"
	set.Var(list[time.Duration]{&g.interval, parseDuration}, "interval", "Policy.Interval:"+lists+orDefault(defaultInterval))
	set.Var(list[time.Duration]{&g.quiet, parseDuration}, "quiet", "Policy.Quiet:"+lists+orDefault(defaultQuiet))
	set.Var(list[time.Duration]{&g.maxWait, parseDuration}, "maxwait", "Policy.MaxWait:"+lists+orDefault(defaultMaxWait))
	set.Var(list[time.Duration]{&g.maxInterval, parseDuration}, "maxinterval", "Policy.MaxInterval:"+lists)
	set.Var(list[int]{&g.burst, parseNumber}, "burst", "Policy.Burst: `numbers` separated by commas")
	set.Var(list[float64]{&g.maxLoad, parseShare}, "maxload", "Policy.MaxLoad: `shares` of the time, separated by commas")
	set.Var(list[int]{&g.maxCalls, parseNumber}, "maxcalls", "Policy.MaxCalls: `numbers` separated by commas")
	set.Var(list[throttle.Edges]{&g.edges, parseEdges}, "edges",
		"Policy.Edges: `words` of both, leading and trailing, separated by commas; an empty one is the default")
	set.Var(list[throttle.From]{&g.from, parseFrom}, "from", "Policy.From: `words` of start and end, separated by commas")
	set.Var(list[time.Duration]{&g.retry, parseDuration}, "retry", "Policy.Retry.Initial:"+lists)
	set.Var(list[time.Duration]{&g.retryMax, parseDuration}, "retrymax", "Policy.Retry.Max:"+lists)
}

func orDefault(values string) string {
	return " (without any flag of a Policy: " + values + ")"
}

// isEmpty reports whether the command line sets no list.
func (g *grid) isEmpty() bool { return slices.Max(g.lengths()) == 0 }

// useDefault makes g the default grid.
func (g *grid) useDefault() {
	durations := func(values *[]time.Duration, text string) {
		_ = list[time.Duration]{values, parseDuration}.Set(text) // a test checks the constants
	}
	durations(&g.interval, defaultInterval)
	durations(&g.quiet, defaultQuiet)
	durations(&g.maxWait, defaultMaxWait)
}

// policies returns the valid policies of the grid, each once.
func (g *grid) policies() ([]throttle.Policy, error) {
	if g.isTooLarge() {
		return nil, fmt.Errorf("the grid has more than %d policies", mostPolicies)
	}
	seen := map[throttle.Policy]bool{}
	var valid []throttle.Policy
	all := g.product()
	for _, p := range all {
		if !seen[p] && p.Validate() == nil {
			valid = append(valid, p)
		}
		seen[p] = true
	}
	if len(valid) == 0 {
		problems := strings.ReplaceAll(all[0].Validate().Error(), "\n", "; ") // each is a line
		return nil, errors.New("the grid has no valid policy: " + problems)
	}
	return valid, nil
}

// lengths returns the lengths of all lists.
func (g *grid) lengths() []int {
	return []int{
		len(g.interval), len(g.quiet), len(g.maxWait), len(g.maxInterval), len(g.burst), len(g.maxLoad),
		len(g.maxCalls), len(g.edges), len(g.from), len(g.retry), len(g.retryMax),
	}
}

// isTooLarge reports whether the product has more than mostPolicies.
func (g *grid) isTooLarge() bool {
	size := 1
	for _, n := range g.lengths() {
		size *= max(n, 1)
		if size > mostPolicies {
			return true // before it overflows
		}
	}
	return false
}

// product returns all combinations of the values. The last field varies fastest.
func (g *grid) product() []throttle.Policy {
	all := []throttle.Policy{{}}
	all = vary(all, g.edges, func(p *throttle.Policy, v throttle.Edges) { p.Edges = v })
	all = vary(all, g.from, func(p *throttle.Policy, v throttle.From) { p.From = v })
	all = vary(all, g.quiet, func(p *throttle.Policy, v time.Duration) { p.Quiet = v })
	all = vary(all, g.maxWait, func(p *throttle.Policy, v time.Duration) { p.MaxWait = v })
	all = vary(all, g.interval, func(p *throttle.Policy, v time.Duration) { p.Interval = v })
	all = vary(all, g.maxInterval, func(p *throttle.Policy, v time.Duration) { p.MaxInterval = v })
	all = vary(all, g.burst, func(p *throttle.Policy, v int) { p.Burst = v })
	all = vary(all, g.maxLoad, func(p *throttle.Policy, v float64) { p.MaxLoad = v })
	all = vary(all, g.maxCalls, func(p *throttle.Policy, v int) { p.MaxCalls = v })
	all = vary(all, g.retry, func(p *throttle.Policy, v time.Duration) { p.Retry.Initial = v })
	return vary(all, g.retryMax, func(p *throttle.Policy, v time.Duration) { p.Retry.Max = v })
}

// vary returns each of the policies with each of the values.
func vary[T any](policies []throttle.Policy, values []T, set func(*throttle.Policy, T)) []throttle.Policy {
	if len(values) == 0 {
		return policies
	}
	varied := make([]throttle.Policy, 0, len(policies)*len(values))
	for _, p := range policies {
		for _, value := range values {
			set(&p, value)
			varied = append(varied, p)
		}
	}
	return varied
}
