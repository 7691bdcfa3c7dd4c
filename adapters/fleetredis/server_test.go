//go:build linux

package fleetredis_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
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
	"github.com/throttle-go/throttle/internal/testkit/servers"
)

// A server is a Redis or Valkey server for one test. Its append-only file contains every grant.
type server struct {
	*servers.Server

	name string
	more []string // more arguments
}

// forEachServer runs test with Redis and with Valkey, as far as they are installed.
func forEachServer(t *testing.T, test func(t *testing.T, s *server)) {
	t.Helper()
	for _, name := range []string{"redis", "valkey"} {
		t.Run(name, func(t *testing.T) { test(t, newServer(t, name)) })
	}
}

// startServer starts a Redis server.
func startServer(tb testing.TB, more ...string) *server {
	tb.Helper()
	s := newServer(tb, "redis", more...)
	s.Start(tb)
	return s
}

// newServer returns a server that is not started. Without Redis the test fails in CI; without
// Valkey it never does.
func newServer(tb testing.TB, name string, more ...string) *server {
	tb.Helper()
	own, err := servers.Redis(name + "-server")
	if name == "valkey" && errors.Is(err, servers.ErrNotInstalled) {
		tb.Skipf("needs a server: %v", err)
	}
	servers.Require(tb, err)
	servers.RemoveAtEnd(tb, own)
	return &server{Server: own, name: name, more: more}
}

// Name returns "redis" or "valkey".
func (s *server) Name() string { return s.name }

// Start starts the server, for the first time or after Kill, and waits until it answers.
func (s *server) Start(tb testing.TB) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	require.NoError(tb, s.Server.Start(ctx, s.more...))
}

// Kill kills the server with SIGKILL, if it is running, and waits for its end.
func (s *server) Kill(tb testing.TB) {
	tb.Helper()
	s.Server.Kill()
}

// Signal sends sig, a [syscall.Signal], to the server.
func (s *server) Signal(tb testing.TB, sig os.Signal) {
	tb.Helper()
	number, ok := sig.(syscall.Signal)
	require.True(tb, ok)
	s.Server.Signal(number)
}

// Wipe deletes all data of the server.
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

// Refuse makes the server run out of memory, or ends that.
func (s *server) Refuse(tb testing.TB, refuse bool) {
	tb.Helper()
	limit := "0" // none
	if refuse {
		limit = "1"
	}
	client := s.client(tb)
	defer client.Close()
	require.NoError(tb, client.ConfigSet(tb.Context(), "maxmemory", limit).Err())
}

// client returns a client of the server, which the test closes at its end.
func (s *server) client(tb testing.TB) *redis.Client {
	tb.Helper()
	return newClient(tb, s.Addr())
}

func newClient(tb testing.TB, address string) *redis.Client {
	tb.Helper()
	return connect(tb, clientOptions(address))
}

func connect(tb testing.TB, options *redis.Options) *redis.Client {
	tb.Helper()
	client := redis.NewClient(options)
	tb.Cleanup(func() { client.Close() })
	return client
}

// open returns the engine of a replica.
func open(address string) (fleet.Engine, error) {
	client := redis.NewClient(impatientOptions(address))
	engine, err := fleetredis.New(client)
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return &opened{Engine: engine, client: client}, nil
}

// An opened engine has its own client.
type opened struct {
	*fleetredis.Engine

	client *redis.Client
}

// Close closes the client.
func (o *opened) Close() error { return o.client.Close() }

// patience is how long to wait for something that must come, however busy the machine is.
const patience = 30 * time.Second

// clientOptions returns the options of a client that is patient. If it timed out on a busy
// machine it would send the operation again, and its reply could be another one: the second copy
// of a finish is stale.
func clientOptions(address string) *redis.Options {
	return &redis.Options{
		Addr:                  address,
		ContextTimeoutEnabled: true,
		DialTimeout:           patience,
		ReadTimeout:           patience,
		WriteTimeout:          patience,
		DialerRetries:         1,
	}
}

// impatientOptions returns the options of a client that soon gives up a silent connection.
func impatientOptions(address string) *redis.Options {
	const soon = 500 * time.Millisecond
	options := clientOptions(address)
	options.DialTimeout, options.ReadTimeout, options.WriteTimeout = soon, soon, soon
	return options
}

// Grants returns all grants in order, including those before a Wipe.
func (s *server) Grants(tb testing.TB) []grant {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join(s.Folder(), "appendonlydir", "*.incr.aof"))
	require.NoError(tb, err)
	if len(files) == 0 {
		files = []string{filepath.Join(s.Folder(), "appendonly.aof")} // before Redis 7
	}
	slices.Sort(files)
	var writes record
	for _, name := range files {
		for command := range commands(tb, name) {
			if len(command) >= 4 && strings.EqualFold(command[0], "HSET") {
				writes = append(writes, write{command[1], command[2], command[3]})
			}
		}
	}
	return writes.grants(tb)
}

// commands yields the commands of an append-only file, up to one that is incomplete.
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

// TestServer_Signal stops a server, which then answers nobody, and lets it go on.
func TestServer_Signal(t *testing.T) {
	s := startServer(t)
	client := s.client(t)
	s.Signal(t, syscall.SIGSTOP)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.Error(t, client.Ping(ctx).Err())
	s.Signal(t, syscall.SIGCONT)
	require.NoError(t, client.Ping(t.Context()).Err())
}
