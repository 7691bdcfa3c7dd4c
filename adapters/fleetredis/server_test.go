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
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/adapters/fleetredis"
	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/internal/testkit/servers"
)

// This file holds servers of the tests' own, and what their append-only files tell.

// A server is one of Redis or Valkey, for one test. Each grant stands in its append-only
// file.
type server struct {
	*servers.Server

	name string
	more []string // arguments
}

// forEachServer runs test with each kind of server that is installed. Redis must be where
// the environment says CI=true.
func forEachServer(t *testing.T, test func(t *testing.T, s *server)) {
	t.Helper()
	for _, name := range []string{"redis", "valkey"} {
		t.Run(name, func(t *testing.T) { test(t, newServer(t, name)) })
	}
}

// startServer starts one of Redis.
func startServer(tb testing.TB, more ...string) *server {
	tb.Helper()
	s := newServer(tb, "redis", more...)
	s.Start(tb)
	return s
}

func newServer(tb testing.TB, name string, more ...string) *server {
	tb.Helper()
	own, err := servers.Redis(name + "-server")
	if errors.Is(err, servers.ErrNotInstalled) && (name != "redis" || os.Getenv("CI") != "true") {
		tb.Skip(err)
	}
	require.NoError(tb, err)
	tb.Cleanup(func() { assert.NoError(tb, own.Remove()) })
	return &server{Server: own, name: name, more: more}
}

// Name returns "redis" or "valkey".
func (s *server) Name() string { return s.name }

// Start starts the server, again after Kill, and waits until it answers.
func (s *server) Start(tb testing.TB) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 20*time.Second)
	defer cancel()
	require.NoError(tb, s.Server.Start(ctx, s.more...))
}

// Kill ends the server with SIGKILL, if it runs, and waits for its end.
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
	client := redis.NewClient(clientOptions(address))
	engine, err := fleetredis.New(client)
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return &opened{Engine: engine, client: client}, nil
}

// An opened engine has a client of its own.
type opened struct {
	*fleetredis.Engine

	client *redis.Client
}

// Close closes the client.
func (o *opened) Close() error { return o.client.Close() }

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

// Grants returns all grants there were, in order, those before a Wipe too.
func (s *server) Grants(tb testing.TB) []grant {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join(s.Folder(), "appendonlydir", "*.incr.aof"))
	require.NoError(tb, err)
	if len(files) == 0 {
		files = []string{filepath.Join(s.Folder(), "appendonly.aof")} // before Redis 7
	}
	slices.Sort(files)
	var sets record
	for _, name := range files {
		for command := range commands(tb, name) {
			if len(command) == 3 && strings.EqualFold(command[0], "SET") {
				sets = append(sets, set{command[1], command[2]})
			}
		}
	}
	return sets.grants(tb)
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

// TestStoppedServerGoesOn: it answers nobody meanwhile.
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
