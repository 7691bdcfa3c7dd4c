//go:build linux

package fleetredis_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
)

// TestEngine_KilledServer checks that a killed server loses neither states nor the index.
func TestEngine_KilledServer(t *testing.T) {
	forEachServer(t, func(t *testing.T, s *server) {
		s.Start(t)
		client := s.client(t)
		engine := newEngine(t, client)
		w := newTwin(t, client, time.Millisecond)
		for range 300 {
			w.step(strconv.Itoa(w.random.IntN(20)))
		}
		reply, err := engine.Claim(t.Context(), "held", newClaim("id"))
		require.NoError(t, err)
		s.Kill(t)
		s.Start(t)
		for key, expected := range w.states {
			stored := load(t, client, key)
			require.Equal(t, hashed(*expected), stored)
			requireIndexed(t, client, key, stored)
		}
		again, err := engine.Claim(t.Context(), "held", newClaim("id"))
		require.NoError(t, err)
		require.Equal(t, machine.Granted, again.Verdict)
		require.Equal(t, reply.Token, again.Token)
		finished, err := engine.Finish(t.Context(), "held", machine.Finish{Token: reply.Token, Ran: true})
		require.NoError(t, err)
		require.False(t, finished.Stale)
	})
}

// TestServer_Grants checks that the append-only file contains every grant, before and after a
// loss.
func TestServer_Grants(t *testing.T) {
	forEachServer(t, func(t *testing.T, s *server) {
		s.Start(t)
		engine := newEngine(t, s.client(t))
		var granted []grant
		run := func(key string, i int) {
			c := newClaim(fmt.Sprint("id-", i))
			c.Spacing, c.Lease = 0, time.Microsecond
			for range 2 { // sent again
				reply, err := engine.Claim(t.Context(), key, c)
				require.NoError(t, err)
				if reply.Verdict == machine.Granted {
					granted = append(granted, grant{Key: key, Token: reply.Token, At: int64(reply.Now)})
				}
			}
		}
		for i := range 5 {
			for _, key := range hostileKeys() {
				run(key, i)
			}
			switch i {
			case 1:
				s.Wipe(t)
			case 2:
				s.Kill(t)
				s.Start(t)
			case 3:
				s.FlushScripts(t)
			}
		}
		require.Equal(t, granted, s.Grants(t))
	})
}

// TestEngine_ForgottenScripts checks that an operation has one effect even if the server has
// forgotten its script.
func TestEngine_ForgottenScripts(t *testing.T) {
	forEachServer(t, func(t *testing.T, s *server) {
		s.Start(t)
		w := newTwin(t, s.client(t), time.Millisecond)
		for range 200 {
			s.FlushScripts(t)
			w.step("k")
			s.FlushScripts(t)
			_, err := w.engine.Due(t.Context(), nil)
			require.NoError(t, err)
		}
	})
}

// TestEngine_Context checks that an operation ends with its context if the server does not answer.
func TestEngine_Context(t *testing.T) {
	s := startServer(t)
	options := clientOptions(s.Addr())
	options.ReadTimeout = time.Hour
	engine := newEngine(t, connect(t, options))
	require.NoError(t, engine.Check(t.Context()))
	s.Signal(t, syscall.SIGSTOP)
	for name, operation := range map[string]func(context.Context) error{
		"claim":  func(ctx context.Context) error { _, err := engine.Claim(ctx, "k", newClaim("id")); return err },
		"finish": func(ctx context.Context) error { _, err := engine.Finish(ctx, "k", machine.Finish{}); return err },
		"renew":  func(ctx context.Context) error { _, err := engine.Renew(ctx, "k", 1); return err },
		"due":    func(ctx context.Context) error { _, err := engine.Due(ctx, nil); return err },
		"check":  engine.Check,
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		start := time.Now()
		require.Error(t, operation(ctx), name)
		require.Less(t, time.Since(start), patience, name)
		cancel()
	}
}

// A wire forwards bytes to a server and back. While it is cut, it drops the server's answers and
// breaks the connection. While it is silent, it drops the answers and keeps the connection.
type wire struct {
	listener net.Listener
	cut      atomic.Bool
	silent   atomic.Bool
	lost     atomic.Int64 // answers
	accepted atomic.Int64 // connections
	wait     sync.WaitGroup
}

func newWire(t *testing.T, address string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w := &wire{listener: l}
	t.Cleanup(func() {
		l.Close()
		w.wait.Wait()
	})
	w.wait.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			w.accepted.Add(1)
			far, err := net.Dial("tcp", address)
			if err != nil {
				near.Close()
				continue
			}
			// A client may leave a connection open that has never answered.
			context.AfterFunc(t.Context(), func() { near.Close() })
			w.wait.Go(func() { defer far.Close(); _, _ = io.Copy(far, near) })
			w.wait.Go(func() { w.answer(near, far) })
		}
	})
	return w
}

// answer forwards the server's answers. It breaks the connection if the wire is cut.
func (w *wire) answer(near, far net.Conn) {
	defer near.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := far.Read(buffer)
		if err != nil {
			return
		}
		if w.cut.Load() {
			w.lost.Add(1)
			return
		}
		if w.silent.Load() {
			continue
		}
		if _, err := near.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// TestEngine_LostReply checks that there is one grant, whether the client or its caller sends the
// claim again.
func TestEngine_LostReply(t *testing.T) {
	s := startServer(t)
	w := newWire(t, s.Addr())
	options := clientOptions(w.listener.Addr().String())
	options.MaxRetries = -1
	engine := newEngine(t, connect(t, options))
	require.NoError(t, engine.Check(t.Context()))

	w.cut.Store(true)
	_, err := engine.Claim(t.Context(), "k", newClaim("id"))
	require.ErrorIs(t, err, fleet.ErrEngineUnavailable)
	require.Positive(t, w.lost.Load())
	w.cut.Store(false)
	reply, err := engine.Claim(t.Context(), "k", newClaim("id"))
	require.NoError(t, err)
	assert.Equal(t, machine.Granted, reply.Verdict)
	assert.Equal(t, []grant{{Key: "k", Token: reply.Token, At: int64(load(t, s.client(t), "k").Granted)}}, s.Grants(t))

	options = clientOptions(w.listener.Addr().String())
	options.MaxRetries, options.MinRetryBackoff, options.MaxRetryBackoff = 1000, time.Millisecond, time.Millisecond
	engine = newEngine(t, connect(t, options))
	require.NoError(t, engine.Check(t.Context()))
	w.lost.Store(0)
	w.cut.Store(true)
	done := make(chan error, 1)
	go func() {
		_, err := engine.Finish(t.Context(), "k", machine.Finish{Token: reply.Token, Ran: true})
		done <- err
	}()
	require.Eventually(t, func() bool { return w.lost.Load() > 3 }, patience, time.Millisecond)
	w.cut.Store(false)
	require.NoError(t, <-done)
	state := load(t, s.client(t), "k")
	assert.Empty(t, state.Owner)
	assert.Equal(t, int64(1), state.Acknowledged)
}

// TestEngine_FullServer checks that nothing changes while the server is out of memory, and that the
// key goes on afterwards.
func TestEngine_FullServer(t *testing.T) {
	s := startServer(t)
	client := s.client(t)
	engine := newEngine(t, client)
	_, err := engine.Claim(t.Context(), "k", newClaim("first"))
	require.NoError(t, err)
	before := load(t, client, "k")
	s.Refuse(t, true)
	for _, key := range []string{"k", "other"} {
		_, err = engine.Claim(t.Context(), key, newClaim("second"))
		require.ErrorContains(t, err, "OOM")
	}
	s.Refuse(t, false)
	require.Equal(t, before, load(t, client, "k"))
	requireIndexed(t, client, "k", before)
	require.ErrorIs(t, client.ZScore(t.Context(), index, "other").Err(), redis.Nil)
}
