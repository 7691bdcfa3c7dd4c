package fleetredis

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/throttle-go/throttle/fleet/machine"
)

// This file holds how an engine hears of runs that have ended.

const (
	// silence is after how long without a message the server is asked for one; as long
	// after that, the connection counts as broken.
	silence = 5 * time.Second

	// Bounds of the pause before another connection is made.
	firstPause, lastPause = 100 * time.Millisecond, 5 * time.Second
)

// Listen tells of runs that have ended, as [fleet.Engine] says, on a connection of its own.
// If that breaks, it makes another, and misses what comes between. It returns the context's
// error, or the server's if that forbids it.
func (e *Engine) Listen(ctx context.Context, wake func(machine.Wake)) error {
	pause := firstPause
	for {
		heard, err := e.hear(ctx, wake)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if redis.IsPermissionError(err) {
			return e.withoutSecrets(err)
		}
		if heard {
			pause = firstPause
		}
		select {
		case <-time.After(pause/2 + rand.N(pause/2)):
		case <-ctx.Done():
			return ctx.Err()
		}
		pause = min(2*pause, lastPause)
	}
}

// hear listens on one connection until it breaks, and reports whether it was one.
func (e *Engine) hear(ctx context.Context, wake func(machine.Wake)) (heard bool, err error) {
	subscription := e.client.Subscribe(ctx, e.channel)
	defer subscription.Close()
	// A read ends when the connection is closed, not when the context ends.
	stop := context.AfterFunc(ctx, func() { subscription.Close() })
	defer stop()
	asked := false
	for {
		message, err := subscription.ReceiveTimeout(ctx, silence)
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() && !asked {
			asked = true
			err = subscription.Ping(ctx)
			if err == nil {
				continue
			}
		}
		if err != nil {
			return heard, err
		}
		heard, asked = true, false
		if m, ok := message.(*redis.Message); ok {
			if w, ok := parseWake(m.Payload); ok {
				wake(w)
			}
		}
	}
}

// parseWake parses what finish.lua publishes, and reports whether it can be that: anybody
// may publish.
func parseWake(payload string) (w machine.Wake, ok bool) {
	poll, key, ok := strings.Cut(payload, " ")
	n, err := strconv.ParseInt(poll, 10, 64)
	switch {
	case !ok || err != nil || n < -1 || n > machine.MaxSpan.Microseconds():
		return machine.Wake{}, false
	case n == -1:
		return machine.Wake{Key: key, Poll: machine.None}, true
	default:
		return machine.Wake{Key: key, Poll: time.Duration(n) * time.Microsecond}, true
	}
}
