//go:build linux

package fleetredis_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/adapters/fleetredis"
	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
)

// operations returns the operations of engine, by name.
func operations(engine *fleetredis.Engine) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"check":   engine.Check,
		"claim":   func(ctx context.Context) error { _, err := engine.Claim(ctx, "k", newClaim("id")); return err },
		"finish":  func(ctx context.Context) error { _, err := engine.Finish(ctx, "k", machine.Finish{}); return err },
		"renew":   func(ctx context.Context) error { _, err := engine.Renew(ctx, "k", 1); return err },
		"due":     func(ctx context.Context) error { _, err := engine.Due(ctx, []string{"k"}); return err },
		"inspect": func(ctx context.Context) error { _, err := engine.Inspect(ctx, "k"); return err },
		"forget":  func(ctx context.Context) error { return engine.Forget(ctx, "k") },
	}
}

// requireFailures requires that all operations fail within the given time, with an error that wraps
// the causes. Unreachable says whether that is because the server cannot be reached.
func requireFailures(t *testing.T, engine *fleetredis.Engine, within time.Duration, unreachable bool, causes ...error) {
	t.Helper()
	for name, operate := range operations(engine) {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		err := operate(ctx)
		cancel()
		require.Error(t, err, name)
		require.Equal(t, unreachable, errors.Is(err, fleet.ErrEngineUnavailable), "%s: %v", name, err)
		for _, cause := range causes {
			require.ErrorIs(t, err, cause, name)
		}
	}
}

func requireWorks(t *testing.T, engine *fleetredis.Engine) {
	t.Helper()
	for name, operate := range operations(engine) {
		require.NoError(t, operate(t.Context()), name)
	}
}

// soon is how long to wait for what does not come.
const soon = 100 * time.Millisecond

// TestEngine_Failure_Answer checks that the engine returns the errors of a server as they are, and
// that they do not count as an outage.
func TestEngine_Failure_Answer(t *testing.T) {
	s := startServer(t)
	admin := s.client(t)
	options := clientOptions(s.Addr())
	options.Username, options.Password, options.MaxRetries = "u", "password", -1
	do := func(args ...any) { require.NoError(t, admin.Do(t.Context(), args...).Err()) }
	do("ACL", "SETUSER", "u", "on", ">password", "~*", "&*", "+@all")
	for prefix, change := range map[string]struct{ begin, end []any }{
		"OOM":        {[]any{"CONFIG", "SET", "maxmemory", 1}, []any{"CONFIG", "SET", "maxmemory", 0}},
		"NOREPLICAS": {[]any{"CONFIG", "SET", "min-replicas-to-write", 1}, []any{"CONFIG", "SET", "min-replicas-to-write", 0}},
		"READONLY":   {[]any{"REPLICAOF", "127.0.0.1", 1}, []any{"REPLICAOF", "NO", "ONE"}},
		"NOPERM":     {[]any{"ACL", "SETUSER", "u", "-evalsha"}, []any{"ACL", "SETUSER", "u", "+evalsha"}},
	} {
		checked, unchecked := newEngine(t, connect(t, options)), newEngine(t, connect(t, options))
		requireWorks(t, checked)
		do(change.begin...)
		for id, engine := range map[string]*fleetredis.Engine{"new": checked, "newer": unchecked} {
			_, err := engine.Claim(t.Context(), "k", newClaim(id))
			require.True(t, redis.HasErrorPrefix(err, prefix+" "), "%s: %v", prefix, err)
			require.NotErrorIs(t, err, fleet.ErrEngineUnavailable)
		}
		do(change.end...)
		requireWorks(t, checked)
	}
}

// TestEngine_Failure_BusyPool leaves the engine no connection. Its errors are the context's or the
// pool's.
func TestEngine_Failure_BusyPool(t *testing.T) {
	s := startServer(t)
	options := clientOptions(s.Addr())
	options.PoolSize = 2
	client := connect(t, options)
	options.PoolTimeout = time.Millisecond
	hasty := connect(t, options)
	var engines []*fleetredis.Engine
	for _, client := range []*redis.Client{client, hasty} {
		engine := newEngine(t, client)
		requireWorks(t, engine)
		engines = append(engines, engine, newEngine(t, client)) // the latter has not checked the server
		for range options.PoolSize {
			conn := client.Conn()
			defer conn.Close()
			require.NoError(t, conn.Ping(t.Context()).Err())
		}
	}
	for _, engine := range engines[:2] {
		requireFailures(t, engine, soon, false, context.DeadlineExceeded)
	}
	for _, engine := range engines[2:] {
		requireFailures(t, engine, patience, false, redis.ErrPoolTimeout)
	}
}

// TestEngine_Failure_BusyPoolLater checks that a store which has not answered counts as out of reach,
// even if the client then finds no connection to try again.
func TestEngine_Failure_BusyPoolLater(t *testing.T) {
	var scripts atomic.Int64
	options := clientOptions(newServerWith(t, func(command []string) string {
		switch name := strings.ToLower(command[0]); {
		case name == "evalsha" && scripts.Add(1) == 1:
			return "*2\r\n:1\r\n:1\r\n" // for Check
		case name == "evalsha" || name == "blpop":
			return ""
		default:
			return parrot(command)
		}
	}))
	options.PoolSize, options.ReadTimeout, options.MaxRetries = 1, soon, 1000
	client := connect(t, options)
	engine := newEngine(t, client, fleetredis.WithVolatile())
	require.NoError(t, engine.Check(t.Context()))
	ctx, cancel := context.WithTimeout(t.Context(), 10*soon)
	defer cancel()
	claimed := make(chan error)
	go func() { _, err := engine.Claim(ctx, "k", newClaim("id")); claimed <- err }()
	require.Eventually(t, func() bool { return scripts.Load() > 1 }, patience, time.Millisecond)
	blocked, unblock := context.WithCancel(t.Context())
	go client.BLPop(blocked, patience, "x") // it gets the connection when the claim's first attempt ends
	err := <-claimed
	unblock()
	require.ErrorIs(t, err, fleet.ErrEngineUnavailable)
}

// TestEngine_Failure_Context uses contexts that have ended, and a client that its owner has closed.
func TestEngine_Failure_Context(t *testing.T) {
	s := startServer(t)
	client := s.client(t)
	engine := newEngine(t, client)
	requireFailures(t, engine, 0, false, context.DeadlineExceeded)
	requireWorks(t, engine)
	requireFailures(t, engine, 0, false, context.DeadlineExceeded)
	require.NoError(t, client.Close())
	requireFailures(t, engine, patience, false, redis.ErrClosed)
	requireFailures(t, newEngine(t, client), patience, false, redis.ErrClosed)
}

// TestEngine_Failure_Server stops and kills the server under engines with and without connections,
// whose clients try once or more often.
func TestEngine_Failure_Server(t *testing.T) {
	s := startServer(t)
	var engines []*fleetredis.Engine
	for _, retries := range []int{-1, 3} {
		options := clientOptions(s.Addr())
		options.MaxRetries, options.PoolSize = retries, 1
		connected := newEngine(t, connect(t, options))
		requireWorks(t, connected)
		engines = append(engines, connected, newEngine(t, connect(t, options)))
	}
	s.Signal(t, syscall.SIGSTOP)
	for _, engine := range engines {
		requireFailures(t, engine, soon, true)
	}
	impatient := newEngine(t, connect(t, impatientOptions(s.Addr())))
	_, err := impatient.Claim(t.Context(), "k", newClaim("id"))
	require.ErrorIs(t, err, fleet.ErrEngineUnavailable, "the client's own time-out")
	s.Signal(t, syscall.SIGCONT)
	for _, engine := range engines {
		requireWorks(t, engine)
	}
	s.Kill(t)
	for _, engine := range engines {
		requireFailures(t, engine, soon, true)
		requireFailures(t, engine, patience, true)
	}
}

// TestEngine_Failure_Dial checks which errors of a dialer count as an outage.
func TestEngine_Failure_Dial(t *testing.T) {
	for name, c := range map[string]struct {
		err         error
		unreachable bool
	}{
		"address":         {&net.OpError{Op: "dial", Err: &net.AddrError{Err: "bad"}}, true},
		"canceled":        {&net.OpError{Op: "dial", Err: context.Canceled}, true}, // by the pool, for another operation
		"name":            {&net.DNSError{Err: "no such host"}, true},
		"certificate":     {&tls.CertificateVerificationError{Err: errors.New("expired")}, true},
		"end":             {io.ErrUnexpectedEOF, true},
		"of this program": {errors.New("no credentials"), false},
	} {
		t.Run(name, func(t *testing.T) {
			options := clientOptions("127.0.0.1:1")
			options.Dialer = func(context.Context, string, string) (net.Conn, error) { return nil, c.err }
			requireFailures(t, newEngine(t, connect(t, options)), patience, c.unreachable, c.err)
		})
	}
	t.Run("silent network", func(t *testing.T) {
		options := clientOptions("127.0.0.1:1")
		options.Dialer = func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		engine := newEngine(t, connect(t, options))
		requireFailures(t, engine, soon, true)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(soon, cancel)
		_, err := engine.Claim(ctx, "k", newClaim("id"))
		require.Equal(t, context.Canceled, err)
	})
}

// TestWithMaxInFlight lets many throttlers claim while no claim is answered.
func TestWithMaxInFlight(t *testing.T) {
	s := startServer(t)
	for _, c := range []struct {
		connections int
		opts        []fleetredis.Option
		expected    int
	}{
		{1, nil, 1},
		{4, nil, 4},
		{40, nil, fleet.DefaultInFlight},
		{40, []fleetredis.Option{fleetredis.WithMaxInFlight(20)}, 20},
		{4, []fleetredis.Option{fleetredis.WithMaxInFlight(1)}, 1},
	} {
		options := clientOptions(s.Addr())
		options.PoolSize = c.connections
		engine := newEngine(t, connect(t, options), c.opts...)
		require.NoError(t, engine.Check(t.Context()))
		s.Signal(t, syscall.SIGSTOP)
		const throttlers = 30
		for i := range throttlers {
			throttler, err := fleet.New(engine, strconv.Itoa(i), throttle.Every(time.Hour), func(context.Context) error { return nil },
				fleet.WithGuard(4*time.Second), fleet.WithErrorHandler(func(error) {})) // a claim may take as long as the guard
			require.NoError(t, err)
			defer func() { assert.NoError(t, throttler.Close()) }()
			throttler.Call()
		}
		require.EventuallyWithT(t, func(collect *assert.CollectT) {
			health := engine.Health()
			assert.Equal(collect, c.expected, health.InFlight)
			assert.Equal(collect, throttlers-c.expected, health.Waiting)
		}, patience, time.Millisecond)
		s.Signal(t, syscall.SIGCONT)
	}
}
