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

const (
	// silence is how long to wait for a message before pinging the server. If the server is
	// silent for as long again, the connection is broken.
	silence = 5 * time.Second

	// Bounds of the pause before the next connection.
	firstPause, lastPause = 100 * time.Millisecond, 5 * time.Second
)

// Listen implements [fleet.Engine]. It uses a separate connection. If the connection breaks, it
// opens another one, and misses the messages in between. It returns the context's error, or the
// server's if the server forbids to subscribe.
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

// hear listens on one connection until it breaks, and reports whether the connection ever worked.
func (e *Engine) hear(ctx context.Context, wake func(machine.Wake)) (heard bool, err error) {
	subscription := e.client.Subscribe(ctx, e.channel)
	defer subscription.Close()
	// Closing the connection ends a read. The context does not.
	stop := context.AfterFunc(ctx, func() { subscription.Close() })
	defer stop()
	asked := false
	for {
		message, err := subscription.ReceiveTimeout(ctx, silence)
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() && !asked {
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

// parseWake parses a message of finish.lua. It reports false for anything else, as others may
// publish on the channel too.
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
