//go:build linux

package main

import (
	"context"
	"sync/atomic"

	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
)

// A counter is an engine that counts its messages.
type counter struct {
	fleet.Engine

	claims, finishes, renewals, looks atomic.Int64

	calls, runs, errors atomic.Int64 // as callers and callbacks report
}

// note is an error handler.
func (c *counter) note(error) { c.errors.Add(1) }

// Claim implements [fleet.Engine].
func (c *counter) Claim(ctx context.Context, key string, m machine.Claim) (machine.Reply, error) {
	c.claims.Add(1)
	return c.Engine.Claim(ctx, key, m)
}

// Finish implements [fleet.Engine].
func (c *counter) Finish(ctx context.Context, key string, f machine.Finish) (machine.Finished, error) {
	c.finishes.Add(1)
	return c.Engine.Finish(ctx, key, f)
}

// Renew implements [fleet.Engine].
func (c *counter) Renew(ctx context.Context, key string, token int64) (bool, error) {
	c.renewals.Add(1)
	return c.Engine.Renew(ctx, key, token)
}

// Due implements [fleet.Engine].
func (c *counter) Due(ctx context.Context, held []string) (machine.Due, error) {
	c.looks.Add(1)
	return c.Engine.Due(ctx, held)
}

// totals are counts of one process or the sum of several.
type totals struct {
	Claims, Finishes, Renewals, Looks int64
	Calls, Runs, Errors               int64
}

// totals returns the counts so far.
func (c *counter) totals() totals {
	return totals{
		Claims:   c.claims.Load(),
		Finishes: c.finishes.Load(),
		Renewals: c.renewals.Load(),
		Looks:    c.looks.Load(),
		Calls:    c.calls.Load(),
		Runs:     c.runs.Load(),
		Errors:   c.errors.Load(),
	}
}

// plus returns t and n times other.
func (t totals) plus(n int64, other totals) totals {
	return totals{
		Claims:   t.Claims + n*other.Claims,
		Finishes: t.Finishes + n*other.Finishes,
		Renewals: t.Renewals + n*other.Renewals,
		Looks:    t.Looks + n*other.Looks,
		Calls:    t.Calls + n*other.Calls,
		Runs:     t.Runs + n*other.Runs,
		Errors:   t.Errors + n*other.Errors,
	}
}
