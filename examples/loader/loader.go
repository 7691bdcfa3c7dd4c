package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/throttle-go/throttle"
)

// A request asks for one item.
type request struct {
	id     int
	answer chan answer // has room for the answer, so that nobody waits for a client that is gone
}

// An answer is an item, or why there is none.
type answer struct {
	item string
	err  error
}

var errUnknown = errors.New("there is no such item")

// A loader collects the requests for items of a tenant, and asks the database for all of
// them in one query. The first request is queried at once. Those that come during a query
// share the next one.
type loader struct {
	query    func(ctx context.Context, tenant string, ids []int) (map[int]string, error)
	requests *throttle.KeyedCoalescer[string, request, []request]
}

func newLoader(
	query func(ctx context.Context, tenant string, ids []int) (map[int]string, error), opts ...throttle.Option,
) (*loader, error) {
	l := &loader{query: query}
	policy := throttle.Policy{
		MaxCalls: 100, // items in one query
		Retry:    throttle.Backoff{Initial: 5 * time.Millisecond, MaxAttempts: 3},
	}
	opts = append([]throttle.Option{
		throttle.WithName("loader"),
		throttle.WithMaxConcurrent(connections), // queries, over all tenants
		throttle.WithMaxPending(10_000),         // requests, over all tenants; further ones wait
		throttle.WithMaxKeys(1000),              // clients can send any name
		throttle.WithErrorHandler(l.failed),
	}, opts...)
	var err error
	l.requests, err = throttle.NewKeyedCoalescer(policy, throttle.Batch[request](), l.answer, opts...)
	return l, err
}

// load returns one item of a tenant.
func (l *loader) load(ctx context.Context, tenant string, id int) (string, error) {
	r := request{id, make(chan answer, 1)}
	if err := l.requests.Send(ctx, tenant, r); err != nil {
		return "", err
	}
	select {
	case a := <-r.answer:
		return a.item, a.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// answer makes one query and answers the whole batch. If the query fails, it answers
// nobody: the batch is repeated or lost.
func (l *loader) answer(ctx context.Context, tenant string, batch []request) error {
	asked := make(map[int]bool)
	var ids []int // each once
	for _, r := range batch {
		if !asked[r.id] {
			asked[r.id] = true
			ids = append(ids, r.id)
		}
	}
	items, err := l.query(ctx, tenant, ids)
	if err != nil {
		return err
	}
	for _, r := range batch {
		a := answer{item: items[r.id]}
		if a.item == "" {
			a.err = fmt.Errorf("%w: %s, %d", errUnknown, tenant, r.id)
		}
		r.answer <- a
	}
	return nil
}

// failed is the error handler. It answers the requests of a lost batch, whether its query
// has failed, has panicked, or was never made. Nobody else gets these errors: the loader
// never waits for a run.
func (l *loader) failed(err error) {
	var lost *throttle.LostError
	if !errors.As(err, &lost) {
		return // the query will be repeated
	}
	for _, r := range lost.Value.([]request) { //nolint:errcheck,forcetypeassert // the loader's batches are of this type
		r.answer <- answer{err: lost.Err}
	}
}

// close refuses further requests, answers those that wait with an error, and waits for the
// active queries.
func (l *loader) close(ctx context.Context) error {
	return errors.Join(l.requests.Close(), l.requests.Shutdown(ctx))
}
