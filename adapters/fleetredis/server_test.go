package fleetredis_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/adapters/fleetredis"
	"github.com/throttle-go/throttle/fleet"
)

// This file holds servers of the tests' own, and what their append-only files tell.

// A server is a redis-server or valkey-server with a port and a folder of its own, for one
// test. Each grant stands in its append-only file, which it never rewrites.
type server struct {
	binary string
	folder string
	port   int
	more   []string // arguments

	process *exec.Cmd // nil while it does not run
}

// forEachServer runs test with each kind of server that is installed. Redis must be where
// the environment says CI=true.
func forEachServer(t *testing.T, test func(t *testing.T, s *server)) {
	t.Helper()
	for _, binary := range []string{"redis-server", "valkey-server"} {
		t.Run(binary, func(t *testing.T) { test(t, newServer(t, binary)) })
	}
}

// startServer starts a redis-server.
func startServer(tb testing.TB, more ...string) *server {
	tb.Helper()
	s := newServer(tb, "redis-server", more...)
	s.Start(tb)
	return s
}

func newServer(tb testing.TB, binary string, more ...string) *server {
	tb.Helper()
	path, err := exec.LookPath(binary)
	if err != nil {
		if os.Getenv("CI") == "true" && binary == "redis-server" {
			tb.Fatal(err)
		}
		tb.Skip(err)
	}
	s := &server{binary: path, folder: tb.TempDir(), port: freePort(tb), more: more}
	tb.Cleanup(func() { s.Kill(tb) })
	return s
}

func freePort(tb testing.TB) int {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	defer l.Close()
	address, ok := l.Addr().(*net.TCPAddr)
	require.True(tb, ok)
	return address.Port
}

func (s *server) Name() string { return strings.TrimSuffix(filepath.Base(s.binary), "-server") }

func (s *server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Start starts the server, again after Kill, and waits until it answers.
func (s *server) Start(tb testing.TB) {
	tb.Helper()
	arguments := append([]string{
		"--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--dir", s.folder,
		"--save", "", "--appendonly", "yes", "--appendfsync", "always",
		"--auto-aof-rewrite-percentage", "0", "--logfile", filepath.Join(s.folder, "log"),
	}, s.more...)
	s.process = exec.CommandContext(context.WithoutCancel(tb.Context()), s.binary, arguments...)
	require.NoError(tb, s.process.Start())
	require.Eventually(tb, s.answers, 20*time.Second, 5*time.Millisecond, "the server does not answer")
}

// answers reports whether the server has come up, and read its file.
func (s *server) answers() bool {
	conn, err := net.DialTimeout("tcp", s.Addr(), time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "PING\r\n"); err != nil {
		return false
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	return err == nil && !strings.HasPrefix(answer, "-LOADING")
}

// Kill ends the server with SIGKILL, if it runs, and waits for its end.
func (s *server) Kill(tb testing.TB) {
	tb.Helper()
	if s.process == nil {
		return
	}
	require.NoError(tb, s.process.Process.Kill())
	_ = s.process.Wait() // the error says that it was killed
	s.process = nil
}

// Signal sends sig to the server.
func (s *server) Signal(tb testing.TB, sig os.Signal) {
	tb.Helper()
	require.NoError(tb, s.process.Process.Signal(sig))
}

// Wipe makes the server lose all it holds.
func (s *server) Wipe(tb testing.TB) {
	tb.Helper()
	client := s.client(tb)
	defer client.Close()
	require.NoError(tb, client.FlushAll(tb.Context()).Err())
}

// FlushScripts makes the server forget all scripts.
func (s *server) FlushScripts(tb testing.TB) {
	tb.Helper()
	client := s.client(tb)
	defer client.Close()
	require.NoError(tb, client.ScriptFlush(tb.Context()).Err())
}

// client returns a client of the server for the test's own use.
func (s *server) client(tb testing.TB) *redis.Client {
	tb.Helper()
	client := redis.NewClient(clientOptions(s.Addr()))
	tb.Cleanup(func() { client.Close() })
	return client
}

// open returns an engine as a replica has it.
func open(address string) (fleet.Engine, error) {
	return fleetredis.New(redis.NewClient(clientOptions(address)))
}

func clientOptions(address string) *redis.Options {
	return &redis.Options{
		Addr:                  address,
		ContextTimeoutEnabled: true,
		DialTimeout:           500 * time.Millisecond,
		ReadTimeout:           500 * time.Millisecond,
		WriteTimeout:          500 * time.Millisecond,
		DialerRetries:         1,
	}
}

// A grant is what the server's record tells of one.
type grant struct {
	Key   string
	Token int64
	At    int64 // on the store's clock, in microseconds
}

// Grants returns all grants there were, in order, those before a Wipe too.
func (s *server) Grants(tb testing.TB) []grant {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join(s.folder, "appendonlydir", "*.incr.aof"))
	require.NoError(tb, err)
	if len(files) == 0 {
		files = []string{filepath.Join(s.folder, "appendonly.aof")} // before Redis 7
	}
	slices.Sort(files)
	var grants []grant
	tokens := make(map[string]int64)
	for _, name := range files {
		for command := range commands(tb, name) {
			if len(command) < 3 || !strings.EqualFold(command[0], "SET") {
				continue
			}
			_, key, ok := strings.Cut(command[1], "}:key:")
			if !ok {
				continue
			}
			state := decode(tb, command[2])
			if state.Token != 0 && state.Token != tokens[key] {
				grants = append(grants, grant{key, state.Token, int64(state.Granted)})
			}
			tokens[key] = state.Token
		}
	}
	return grants
}

// commands yields the commands of an append-only file, up to one that was not fully written.
func commands(tb testing.TB, name string) func(yield func([]string) bool) {
	tb.Helper()
	return func(yield func([]string) bool) {
		file, err := os.Open(name)
		require.NoError(tb, err)
		defer file.Close()
		r := bufio.NewReader(file)
		for {
			command, err := readCommand(r)
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return
			}
			require.NoError(tb, err, name)
			if !yield(command) {
				return
			}
		}
	}
}

func readCommand(r *bufio.Reader) ([]string, error) {
	n, err := readLength(r, '*')
	if err != nil {
		return nil, err
	}
	command := make([]string, n)
	for i := range command {
		n, err := readLength(r, '$')
		if err != nil {
			return nil, err
		}
		data := make([]byte, n+len("\r\n"))
		if _, err := io.ReadFull(r, data); err != nil {
			return nil, err
		}
		command[i] = string(data[:n])
	}
	return command, nil
}

func readLength(r *bufio.Reader, mark byte) (int, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return 0, err
	}
	if line[0] != mark {
		return 0, fmt.Errorf("%q does not begin with %q", line, mark)
	}
	return strconv.Atoi(strings.TrimSpace(line[1:]))
}

// A stopped server answers nobody, and goes on where it was.
func TestStoppedServerGoesOn(t *testing.T) {
	s := startServer(t)
	client := s.client(t)
	s.Signal(t, syscall.SIGSTOP)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.Error(t, client.Ping(ctx).Err())
	s.Signal(t, syscall.SIGCONT)
	require.NoError(t, client.Ping(t.Context()).Err())
}
