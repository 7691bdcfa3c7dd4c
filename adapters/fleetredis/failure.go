package fleetredis

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/throttle-go/throttle/fleet"
)

// A reason says why an operation has failed.
type reason uint8

const (
	other   reason = iota // an error of the server, or of this process
	network               // the store could not be reached, or has not answered in time
	late                  // the deadline has passed, whatever the client was waiting for
)

// reasonOf returns why an operation has failed with err, an error of the client.
//
// If the deadline passes while the client reads or writes, the client returns the connection's
// time-out, or the context's error if it would have tried again. It also returns the context's error
// if the deadline passes while it dials, or waits before it tries again, or waits for a connection of
// its pool.
func reasonOf(err error) reason {
	var operation *net.OpError
	var certificate *tls.CertificateVerificationError
	var failure net.Error
	switch {
	case errors.As(err, &operation): // even if the pool has canceled it
		return network
	case errors.Is(err, context.DeadlineExceeded): // it is a net.Error
		return late
	case errors.As(err, &failure), errors.As(err, &certificate), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return network
	default:
		return other
	}
}

// failure returns the error of an operation, given the client's, which may be nil. If the deadline has
// passed, waited reports whether the client has only waited for a connection that others use.
func (e *Engine) failure(err error, waited func() bool) error {
	if err == nil {
		return nil
	}
	switch reasonOf(err) {
	case network:
		return fleet.Unreachable(e.withoutSecrets(err))
	case late:
		if !waited() {
			return fleet.Unreachable(err)
		}
	case other:
	}
	return e.withoutSecrets(err)
}

// waited reports whether the client has only waited for a connection that others use, when the
// deadline of an operation on s has passed.
func (e *Engine) waited(ctx context.Context, s shard, m *mark) bool {
	if m.written.Load() {
		return false
	}
	if c, ok := e.client.(cluster); ok {
		master, err := c.MasterForKey(ctx, s.index)
		return err == nil && isBusy(master)
	}
	return isBusy(e.client)
}

// isBusy reports whether server, a client of one server, has all its connections in use. While it
// dials or sets up a connection, it has one less.
func isBusy(server any) bool {
	c, ok := server.(interface {
		Options() *redis.Options
		PoolStats() *redis.PoolStats
	})
	if !ok {
		return false
	}
	stats := c.PoolStats()
	return int64(stats.TotalConns)-int64(stats.IdleConns) >= int64(c.Options().PoolSize)
}

// withoutSecrets returns err, with credentials removed from its text.
func (e *Engine) withoutSecrets(err error) error {
	// A server repeats the arguments of an unknown command, and some do not know AUTH.
	text, _, _ := strings.Cut(err.Error(), ", with args beginning with")
	if e.password != "" {
		text = strings.ReplaceAll(text, e.password, "[password]")
	}
	if text == err.Error() {
		return err
	}
	return errors.New(text)
}
