package fleetpg

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/throttle-go/throttle/fleet/machine"
)

// Listen implements [fleet.Engine]. It takes a connection out of the pool for good; the pool may open
// another one in its place. So it does not count towards the pool's MaxConns.
func (e *Engine) Listen(ctx context.Context, wake func(machine.Wake)) error {
	pooled, err := e.acquire(ctx)
	if err != nil {
		return fmt.Errorf("throttle: listen: %w", failure("", err))
	}
	conn := pooled.Hijack()
	defer func() {
		// ctx has most likely ended. Do not wait for a server that does not answer.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{e.channel}.Sanitize()); err != nil {
		return fmt.Errorf("throttle: listen: %w", failure("", err))
	}
	for {
		n, err := conn.WaitForNotification(ctx)
		switch {
		case ctx.Err() != nil: // the server need not have sent anything
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("throttle: listen: %w", failure("", err))
		}
		if w, ok := parse(n.Payload); ok {
			wake(w)
		}
	}
}

// payload returns the text of a notification. PostgreSQL allows 7999 bytes.
func payload(w machine.Wake) string {
	poll := int64(-1)
	if w.Poll != machine.None {
		poll = w.Poll.Microseconds()
	}
	return strconv.FormatInt(poll, 10) + " " + w.Key
}

// parse reads the text of a notification. It reports false if payload cannot have written it:
// others may notify with anything.
func parse(text string) (machine.Wake, bool) {
	poll, key, found := strings.Cut(text, " ")
	n, err := strconv.ParseInt(poll, 10, 64)
	if err != nil || !found {
		return machine.Wake{}, false
	}
	w := machine.Wake{Key: key, Poll: machine.None}
	if n >= 0 {
		w.Poll = span(n)
	}
	return w, true
}

// notify notifies the engines that listen, in a transaction that writes nothing. The server commits
// only one notifying transaction at a time, and such a transaction does not wait for the disk.
// Only promptness depends on it, so there is no error.
func (e *Engine) notify(ctx context.Context, conn *pgxpool.Conn, w machine.Wake) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, _ = conn.Exec(ctx, "SELECT pg_notify($1::text, $2::text)", e.channel, payload(w))
}
