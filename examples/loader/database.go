package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	connections = 8    // most queries at a time
	items       = 1000 // of each tenant, from number 0
	oneIn       = 10   // one query of a tenant in so many fails
)

// itemOf returns the content of an item.
func itemOf(tenant string, id int) string { return fmt.Sprintf("item %d of %s", id, tenant) }

// A database is slow and fails now and then. It counts what it is asked.
type database struct {
	mu sync.Mutex // guards the fields below

	// +checklocks:mu
	queries map[string]int // of each tenant
	// +checklocks:mu
	active map[string]bool // tenants with an active query
	// +checklocks:mu
	seen usage
}

// A usage is the summary of what a database was asked.
type usage struct {
	queries, failed int
	most            int     // queries at a time
	faults          []error // queries that came too soon
}

func newDatabase() *database {
	return &database{queries: make(map[string]int), active: make(map[string]bool)}
}

var errBroken = errors.New("the connection broke")

// query returns the items with these numbers, after a while.
func (d *database) query(ctx context.Context, tenant string, ids []int) (map[int]string, error) {
	fails := d.enter(tenant)
	defer d.leave(tenant)
	select {
	case <-time.After(3*time.Millisecond + rand.N(4*time.Millisecond)):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if fails {
		return nil, errBroken
	}
	found := make(map[int]string)
	for _, id := range ids {
		if id >= 0 && id < items {
			found[id] = itemOf(tenant, id)
		}
	}
	return found, nil
}

// enter begins a query, and reports whether it fails.
func (d *database) enter(tenant string) (fails bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.active[tenant] {
		d.seen.faults = append(d.seen.faults, fmt.Errorf("two queries for %s at the same time", tenant))
	}
	d.active[tenant] = true
	if d.seen.most = max(d.seen.most, len(d.active)); len(d.active) > connections {
		d.seen.faults = append(d.seen.faults, fmt.Errorf("%d queries at the same time", len(d.active)))
	}
	d.seen.queries++
	d.queries[tenant]++
	if d.queries[tenant]%oneIn != 0 {
		return false
	}
	d.seen.failed++
	return true
}

func (d *database) leave(tenant string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.active, tenant)
}

// usage returns what the database has seen so far.
func (d *database) usage() usage {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.seen
}
