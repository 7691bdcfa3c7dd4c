package fleetpg

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/throttle-go/throttle/fleet/machine"
)

// This file receives notifications.

// Listen implements [fleet.Engine]. It takes a connection out of the pool, which may open
// another in its place.
func (e *Engine) Listen(ctx context.Context, wake func(machine.Wake)) error {
	pooled, err := e.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("fleetpg: listen: %w", err)
	}
	conn := pooled.Hijack()
	defer func() {
		// ctx has ended, most likely. A server that does not answer is not waited for.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{e.channel}.Sanitize()); err != nil {
		return fmt.Errorf("fleetpg: listen: %w", err)
	}
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return fmt.Errorf("fleetpg: listen: %w", err)
		}
		if w, ok := parseWake(n.Payload); ok && n.Channel == e.channel {
			wake(w)
		}
	}
}

// parseWake reads what the schema's notify has written. Others may write anything.
func parseWake(payload string) (machine.Wake, bool) {
	poll, key, _ := strings.Cut(payload, " ")
	n, err := strconv.ParseInt(poll, 10, 64)
	if err != nil {
		return machine.Wake{}, false
	}
	name, err := hex.DecodeString(key)
	if err != nil {
		return machine.Wake{}, false
	}
	w := machine.Wake{Key: string(name), Poll: machine.None}
	if n >= 0 {
		w.Poll = span(n)
	}
	return w, true
}
