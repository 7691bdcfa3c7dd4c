package fleetredis

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/throttle-go/throttle/fleet"
)

// This file holds what is asked of the store before it is used.

// Check asks the store whether it is fit for the engine. The first operation does so too,
// and each after it until the answer was yes; Check is for a program that wants to know
// as it starts. It returns
//
//   - an error that wraps [fleet.ErrNotDurable] and says why, unless [WithVolatile] was
//     given, if a master does not have its append-only file on, may evict keys that have
//     no expiry, or does not tell;
//   - a [*fleet.StateError] if the namespace has another number of shards;
//   - another error if the store, or one of a cluster's masters, could not be reached.
func (e *Engine) Check(ctx context.Context) error {
	if !e.volatile {
		if err := e.checkDurable(ctx); err != nil {
			return e.withoutSecrets(err)
		}
	}
	for _, p := range e.parts(ctx, 0, 0) {
		if p.err != nil {
			return p.err
		}
	}
	e.checked.Store(true)
	return nil
}

// ready returns nil once Check has.
func (e *Engine) ready(ctx context.Context) error {
	if e.checked.Load() {
		return nil
	}
	select {
	case e.checking <- struct{}{}:
		defer func() { <-e.checking }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if e.checked.Load() {
		return nil
	}
	return e.Check(ctx)
}

func (e *Engine) checkDurable(ctx context.Context) error {
	type cluster interface {
		ForEachMaster(ctx context.Context, fn func(context.Context, *redis.Client) error) error
	}
	if c, ok := e.client.(cluster); ok {
		return c.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
			err := e.checkServer(ctx, master)
			if errors.Is(err, fleet.ErrNotDurable) {
				return fmt.Errorf("%w, at %s", err, master.Options().Addr)
			}
			return err
		})
	}
	return e.checkServer(ctx, e.client)
}

// checkServer asks by INFO, which services that forbid CONFIG answer too.
func (e *Engine) checkServer(ctx context.Context, server redis.Cmdable) error {
	info, err := server.Info(ctx).Result()
	switch {
	case redis.IsPermissionError(err) || redis.HasErrorPrefix(err, "unknown command"):
		return fmt.Errorf("%w: it does not tell whether it is: %w", fleet.ErrNotDurable, e.withoutSecrets(err))
	case err != nil:
		return err
	}
	told := make(map[string]string)
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		told[name] = value
	}
	switch aof, policy := told["aof_enabled"], told["maxmemory_policy"]; {
	case aof == "" || policy == "":
		return fmt.Errorf("%w: INFO does not tell whether it is", fleet.ErrNotDurable)
	case aof != "1":
		return fmt.Errorf("%w: its append-only file is off (appendonly)", fleet.ErrNotDurable)
	case policy != "noeviction" && !strings.HasPrefix(policy, "volatile-"):
		return fmt.Errorf("%w: it may evict any key (maxmemory-policy %s)", fleet.ErrNotDurable, policy)
	}
	return nil
}
