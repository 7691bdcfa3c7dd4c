package fleetpg

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/throttle-go/throttle/fleet"
)

// with calls do with a connection of the pool.
func (e *Engine) with(ctx context.Context, do func(conn *pgxpool.Conn) error) error {
	conn, err := e.acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	return do(conn)
}

// acquire takes a connection out of the pool. If that takes too long, the error says whether the
// server is to blame.
func (e *Engine) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	before := e.pool.Stat()
	conn, err := e.pool.Acquire(ctx)
	switch {
	case err == nil:
		return conn, nil
	case ctx.Err() == nil || !errors.Is(err, context.DeadlineExceeded):
		return nil, err
	case inUse(before, e.pool.Stat()):
		return nil, err
	default: // no answer to a ping or a new connection
		return nil, fleet.Unreachable(err)
	}
}

// inUse reports whether all connections of the pool were in use, given what it says before and after
// somebody has waited for one in vain.
func inUse(before, after *pgxpool.Stat) bool {
	most := before.MaxConns()
	if before.AcquiredConns()+before.ConstructingConns() < most {
		return false
	}
	// Those that were not in use may never have been answered.
	return before.AcquiredConns() >= most || after.AcquiredConns() >= most
}

// failure returns the error of an operation on key, given pgx's.
func failure(key string, err error) error {
	connecting := &pgconn.ConnectError{}
	if errors.As(err, &connecting) {
		err = &connectError{err.Error(), connecting.Unwrap()}
	}
	answer := &pgconn.PgError{}
	switch {
	case !errors.As(err, &answer):
		if isTransport(err) {
			return fleet.Unreachable(err)
		}
	case answer.Code == "THR01":
		return notDurable(answer.Message)
	case answer.Code == "THR02", strings.HasPrefix(answer.Code, "22"): // such as a number out of range
		return &fleet.StateError{Key: key, Reason: answer.Message}
	case strings.HasPrefix(answer.Code, "08"), // the connection failed
		answer.Code == "57P01", answer.Code == "57P02", // the server ends it
		answer.Code == "57P03": // the server is starting
		return fleet.Unreachable(err)
	}
	return err
}

// isTransport reports whether err, which no server has answered, says that the server could not be
// reached, or has not answered in time.
func isTransport(err error) bool {
	connecting, network := &connectError{}, net.Error(nil)
	switch {
	case errors.Is(err, context.Canceled):
		return false
	case errors.As(err, &connecting):
		return true
	case errors.Is(err, context.DeadlineExceeded):
		return pgconn.Timeout(err) && !pgconn.SafeToRetry(err) // otherwise nothing was sent
	default:
		return errors.As(err, &network) ||
			errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	}
}

// A connectError is a [pgconn.ConnectError] without the configuration, which contains the password.
type connectError struct {
	text string
	err  error
}

func (e *connectError) Error() string { return e.text }
func (e *connectError) Unwrap() error { return e.err }
