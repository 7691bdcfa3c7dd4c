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

// This file sends and receives notifications.

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

// payload returns the text of a notification, or nil if the key is too long for one,
// which has less than 8000 bytes.
func payload(w machine.Wake) *string {
	const longest = 3900
	if len(w.Key) > longest {
		return nil
	}
	poll := int64(-1)
	if w.Poll != machine.None {
		poll = w.Poll.Microseconds()
	}
	text := strconv.FormatInt(poll, 10) + " " + hex.EncodeToString([]byte(w.Key))
	return &text
}

// tell notifies those who listen, in a transaction of its own: one that has written
// nothing does not wait for the disk as it commits, which the server lets one
// transaction do at a time of those that notify. It is for promptness only.
func (e *Engine) tell(ctx context.Context, w machine.Wake) {
	text := payload(w)
	if text == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, _ = e.pool.Exec(ctx, "SELECT pg_notify($1, $2)", e.channel, *text)
}
