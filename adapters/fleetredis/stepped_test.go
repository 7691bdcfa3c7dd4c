//go:build linux

package fleetredis_test

import (
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	miniredisserver "github.com/alicebob/miniredis/v2/server"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/fleet/machine"
)

// A steppedServer is a miniredis with a clock that a test can move. It keeps its data when it is
// killed and started again, and claims to be durable.
type steppedServer struct {
	miniredis *miniredis.Miniredis
	started   bool

	mu sync.Mutex // guards the fields below
	// How far its clock is ahead of this machine's.
	// +checklocks:mu
	shift time.Duration
	// +checklocks:mu
	writes record
	// Closed when the server goes on; nil while it is not stopped.
	// +checklocks:mu
	stopped chan struct{}
}

// newSteppedServer returns a server that is not started.
func newSteppedServer(tb testing.TB) *steppedServer {
	tb.Helper()
	s := &steppedServer{miniredis: miniredis.NewMiniRedis()}
	tb.Cleanup(s.miniredis.Close)
	return s
}

// hook is called before each command, including those of a script. Miniredis calls it for those
// while it holds the lock that makes the script atomic.
func (s *steppedServer) hook(peer *miniredisserver.Peer, command string, arguments ...string) (done bool) {
	s.mu.Lock()
	stopped := s.stopped
	s.mu.Unlock()
	if stopped != nil {
		<-stopped
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch command {
	case "TIME":
		now := time.Now().Add(s.shift)
		peer.WriteLen(2)
		peer.WriteBulk(strconv.FormatInt(now.Unix(), 10))
		peer.WriteBulk(strconv.Itoa(now.Nanosecond() / int(time.Microsecond)))
		return true
	case "INFO":
		peer.WriteBulk("aof_enabled:1\r\nmaxmemory_policy:noeviction\r\n")
		return true
	case "HSET":
		s.writes = append(s.writes, write{arguments[0], arguments[1], arguments[2]})
	}
	return false
}

func (s *steppedServer) Name() string { return "miniredis" }

func (s *steppedServer) Addr() string { return s.miniredis.Addr() }

// Start starts the server, for the first time or after Kill.
func (s *steppedServer) Start(tb testing.TB) {
	tb.Helper()
	require.NoError(tb, s.miniredis.Start()) // on the same port
	s.miniredis.Server().SetPreHook(s.hook)
	s.started = true
}

// Kill ends the server if it is running.
func (s *steppedServer) Kill(testing.TB) {
	if s.started {
		s.miniredis.Close()
		s.started = false
	}
}

// Signal stops the server or lets it go on.
func (s *steppedServer) Signal(tb testing.TB, sig os.Signal) {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch sig {
	case syscall.SIGSTOP:
		s.stopped = make(chan struct{})
	case syscall.SIGCONT:
		close(s.stopped)
		s.stopped = nil
	default:
		require.Fail(tb, "unknown signal", sig)
	}
}

func (s *steppedServer) Wipe(testing.TB) { s.miniredis.FlushAll() }

func (s *steppedServer) FlushScripts(tb testing.TB) {
	tb.Helper()
	require.NoError(tb, newClient(tb, s.Addr()).ScriptFlush(tb.Context()).Err())
}

// Refuse makes the server answer everything with an error, or ends that.
func (s *steppedServer) Refuse(_ testing.TB, refuse bool) {
	message := "" // none
	if refuse {
		message = "OOM command not allowed when used memory > 'maxmemory'."
	}
	s.miniredis.SetError(message)
}

// Grants returns all grants in order.
func (s *steppedServer) Grants(tb testing.TB) []grant {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writes.grants(tb)
}

// Step moves the clock by d from now on.
func (s *steppedServer) Step(_ testing.TB, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shift += d
}

// TestEngine_ClockSteps checks that after the clock steps back by an hour, the next grant is due no
// later than the spacing, and tokens still rise.
func TestEngine_ClockSteps(t *testing.T) {
	s := newSteppedServer(t)
	s.Start(t)
	engine := newEngine(t, newClient(t, s.Addr()))
	c := newClaim("first")
	c.Spacing, c.Lease = time.Millisecond, time.Millisecond
	first, err := engine.Claim(t.Context(), "k", c)
	require.NoError(t, err)
	s.Step(t, -time.Hour)
	c.ID = "second"
	second, err := engine.Claim(t.Context(), "k", c)
	require.NoError(t, err)
	require.Equal(t, machine.Deferred, second.Verdict)
	require.LessOrEqual(t, second.Poll, time.Millisecond)
	require.Less(t, second.Now, first.Now)
	s.Kill(t)
	s.Start(t)
	s.FlushScripts(t)
	s.Signal(t, syscall.SIGSTOP)
	time.AfterFunc(2*time.Millisecond, func() { s.Signal(t, syscall.SIGCONT) })
	c.ID = "third"
	third, err := engine.Claim(t.Context(), "k", c)
	require.NoError(t, err)
	assert.Equal(t, []grant{
		{Key: "k", Token: first.Token, At: int64(first.Now)},
		{Key: "k", Token: first.Token + 1, At: int64(third.Now)},
	}, s.Grants(t))
}
