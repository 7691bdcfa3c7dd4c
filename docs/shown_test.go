package docs_test

import (
	"context"

	"github.com/throttle-go/throttle"
)

// Scenarios call these functions, and POLICIES.md shows them.

func flush(ctx context.Context, save *throttle.Throttler) error {
	return save.Flush(ctx) // nil once all that was asked for is done
}

func cancel(save *throttle.Throttler) bool {
	return save.Cancel() // whether anything was pending
}

func newWriter(
	p throttle.Policy, write func(context.Context, []string) error, opts ...throttle.Option,
) (*throttle.Coalescer[string, []string], error) {
	return throttle.NewCoalescer(p, throttle.Batch[string](), write, opts...)
}
