//go:build linux && !386

package fleettest_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
	"github.com/throttle-go/throttle/internal/testkit/effort"
	"github.com/throttle-go/throttle/internal/testkit/fleettest"
)

// The store of these tests is an engine in memory behind a socket. It keeps its state when a
// scenario kills it.

func TestMain(m *testing.M) { os.Exit(fleettest.Main(m, open)) }

// TestScenarios runs a few typical scenarios, or all with -effort 2. The adapters run all on their
// servers, and so does a child process of TestScenarios_Faults here.
func TestScenarios(t *testing.T) {
	var numbers []int
	if effort.Factor() == 1 && os.Getenv(faulty) == "" {
		numbers = []int{2, 3, 4, 6, 12, 19}
	}
	fleettest.Run(t, newServer(t), numbers...)
}

// A request is a call of a method of an engine, and a reply what the method returned.
type request struct {
	Key     string
	Claim   *machine.Claim
	Finish  *machine.Finish
	Renew   int64
	Due     bool
	Inspect bool
}

type reply struct {
	Claim  machine.Reply
	Finish machine.Finished
	Held   bool
	Due    machine.Due
	State  machine.State
	Error  string
}

// A remote is an engine on a server. It opens a connection for each operation.
type remote struct {
	fleet.Base

	addr string
}

func open(addr string) (fleet.Engine, error) {
	if faults()[os.Getenv(faulty)].leaks {
		go time.Sleep(time.Hour)
	}
	return &remote{addr: addr}, nil
}

func (r *remote) Claim(ctx context.Context, key string, c machine.Claim) (machine.Reply, error) {
	got, err := r.do(ctx, request{Key: key, Claim: &c})
	return got.Claim, err
}

func (r *remote) Finish(ctx context.Context, key string, f machine.Finish) (machine.Finished, error) {
	got, err := r.do(ctx, request{Key: key, Finish: &f})
	return got.Finish, err
}

func (r *remote) Renew(ctx context.Context, key string, token int64) (bool, error) {
	got, err := r.do(ctx, request{Key: key, Renew: token})
	return got.Held, err
}

func (r *remote) Due(ctx context.Context, _ []string) (machine.Due, error) {
	got, err := r.do(ctx, request{Due: true})
	return got.Due, err
}

func (r *remote) Inspect(ctx context.Context, key string) (machine.State, error) {
	got, err := r.do(ctx, request{Key: key, Inspect: true})
	return got.State, err
}

func (r *remote) Forget(context.Context, string) error { return errors.ErrUnsupported }
func (r *remote) Part(string) int                      { return 0 }

func (r *remote) Listen(context.Context, func(machine.Wake)) error { return errors.ErrUnsupported }

func (r *remote) do(ctx context.Context, asked request) (got reply, err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", r.addr)
	if err != nil {
		return reply{}, fleet.Unreachable(err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := json.NewEncoder(conn).Encode(asked); err != nil {
		return reply{}, fleet.Unreachable(err)
	}
	if err := json.NewDecoder(conn).Decode(&got); err != nil {
		return reply{}, fleet.Unreachable(err)
	}
	if got.Error != "" {
		return reply{}, errors.New(got.Error)
	}
	return got, nil
}

// A server is a store.
type server struct {
	addr  string
	fault fault

	mu       sync.Mutex // guards the fields below
	shift    time.Duration
	states   map[string]*machine.State
	grants   []fleettest.Grant
	refuses  bool
	listener net.Listener
	conns    map[net.Conn]bool
	stopped  chan struct{} // closed when the server goes on; nil while it is not stopped
}

func newServer(t *testing.T) *server {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return &server{
		addr:   l.Addr().String(),
		fault:  faults()[os.Getenv(faulty)],
		states: map[string]*machine.State{},
		conns:  map[net.Conn]bool{},
	}
}

func (s *server) Name() string { return "memory" }

func (s *server) Addr() string { return s.addr }

func (s *server) Start(tb testing.TB) {
	tb.Helper()
	l, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", s.addr)
	require.NoError(tb, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listener = l
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed
			}
			s.mu.Lock()
			s.conns[conn] = true
			s.mu.Unlock()
			go s.serve(conn)
		}
	}()
}

func (s *server) Kill(testing.TB) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listener.Close()
	for conn := range s.conns {
		conn.Close()
	}
}

func (s *server) Signal(_ testing.TB, signal os.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if signal == syscall.SIGSTOP {
		s.stopped = make(chan struct{})
		return
	}
	close(s.stopped)
	s.stopped = nil
}

func (s *server) Wipe(testing.TB) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.states)
}

func (s *server) FlushScripts(testing.TB) {}

func (s *server) Step(_ testing.TB, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shift += d
}

func (s *server) Refuse(_ testing.TB, refuse bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuses = refuse
}

func (s *server) Grants(testing.TB) []fleettest.Grant {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]fleettest.Grant{}, s.grants...)
}

func (s *server) serve(conn net.Conn) {
	defer func() {
		conn.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, conn)
	}()
	line, err := bufio.NewReader(conn).ReadBytes('\n')
	if err != nil {
		return
	}
	var asked request
	if json.Unmarshal(line, &asked) != nil {
		return
	}
	s.mu.Lock()
	stopped := s.stopped
	s.mu.Unlock()
	if stopped != nil {
		<-stopped
	}
	got := s.answer(asked)
	_ = json.NewEncoder(conn).Encode(got) // if this fails, the client asks again
}

func (s *server) answer(asked request) (got reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := machine.Time(time.Now().Add(s.shift).UnixMicro())
	switch {
	case asked.Due:
		got.Due = s.dueLocked(now)
		return got
	case s.refuses:
		got.Error = "out of memory"
		return got
	}
	state := s.states[asked.Key]
	if state == nil {
		state = &machine.State{}
		s.states[asked.Key] = state
	}
	if s.fault.before != nil {
		s.fault.before(state, asked)
	}
	var err error
	switch before := state.Token; {
	case asked.Claim != nil:
		got.Claim, err = state.Claim(now, *asked.Claim)
		if s.fault.after != nil {
			s.fault.after(state, &got)
		}
		if c := got.Claim; c.Verdict == machine.Granted && c.Token != before {
			s.grants = append(s.grants, fleettest.Grant{Key: asked.Key, Token: c.Token, At: int64(now)})
		}
	case asked.Finish != nil:
		got.Finish, err = state.Finish(now, *asked.Finish)
	case asked.Inspect:
		got.State = *state
	default:
		got.Held = state.Renew(now, asked.Renew)
	}
	if err != nil {
		got.Error = err.Error()
	}
	return got
}

// +checklocks:s.mu
func (s *server) dueLocked(now machine.Time) machine.Due {
	answer := machine.Due{Next: machine.None, Now: now}
	for key, state := range s.states {
		switch due, pending := state.Due(); {
		case !pending || s.fault.mute:
		case due <= now:
			answer.Keys = append(answer.Keys, key)
			answer.Count++
		case answer.Next == machine.None || due.Sub(now) < answer.Next:
			answer.Next = due.Sub(now)
		}
	}
	return answer
}
