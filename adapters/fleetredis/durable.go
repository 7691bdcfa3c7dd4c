package fleetredis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/throttle-go/throttle/fleet"
)

// Check reports whether the store is fit for the engine. The engine also calls it before each
// operation until it has succeeded once. Call it yourself to find out when the program starts. It
// returns
//
//   - an error that wraps [fleet.ErrNotDurable] and says why, if a master has its append-only
//     file off, may evict keys without expiry, or does not say; not with [WithVolatile];
//   - a [*fleet.StateError] if the namespace has another number of shards;
//   - an error that wraps [fleet.ErrEngineUnavailable] if it cannot reach the store, or one master
//     of a cluster;
//   - another error of the server or of the client.
func (e *Engine) Check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !e.volatile {
		if err := e.checkDurable(ctx); err != nil {
			return err
		}
	}
	for _, p := range e.parts(ctx, nil) {
		if p.err != nil {
			return p.err
		}
	}
	e.checked.Store(true)
	return nil
}

// ready returns nil if Check has succeeded once, and otherwise calls it.
func (e *Engine) ready(ctx context.Context) error {
	if e.checked.Load() {
		return ctx.Err()
	}
	select {
	case e.checking <- struct{}{}:
		defer func() { <-e.checking }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if e.checked.Load() {
		return ctx.Err()
	}
	return e.Check(ctx)
}

func (e *Engine) checkDurable(ctx context.Context) error {
	c, ok := e.client.(cluster)
	if !ok {
		return e.failure(e.checkServer(ctx, e.client), func() bool { return isBusy(e.client) })
	}
	var busy atomic.Bool // a master that cannot be checked
	err := c.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
		err := e.checkServer(ctx, master)
		switch {
		case errors.Is(err, fleet.ErrNotDurable):
			return fmt.Errorf("%w, at %s", err, master.Options().Addr)
		case err != nil && isBusy(master):
			busy.Store(true)
		}
		return err
	})
	return e.failure(err, busy.Load)
}

// checkServer checks one server. It uses INFO, because many services forbid CONFIG.
func (e *Engine) checkServer(ctx context.Context, server redis.Cmdable) error {
	info, err := server.Info(ctx).Result()
	switch {
	case redis.IsPermissionError(err) || redis.HasErrorPrefix(err, "unknown command"):
		return fmt.Errorf("%w: cannot find out: %w", fleet.ErrNotDurable, e.withoutSecrets(err))
	case err != nil:
		return err
	}
	fields := make(map[string]string)
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		fields[name] = value
	}
	switch aof, policy := fields["aof_enabled"], fields["maxmemory_policy"]; {
	case aof == "" || policy == "":
		return fmt.Errorf("%w: INFO does not say whether it is", fleet.ErrNotDurable)
	case aof != "1":
		return fmt.Errorf("%w: its append-only file is off (appendonly)", fleet.ErrNotDurable)
	case policy != "noeviction" && !strings.HasPrefix(policy, "volatile-"):
		return fmt.Errorf("%w: it may evict any key (maxmemory-policy %s)", fleet.ErrNotDurable, policy)
	}
	return nil
}
