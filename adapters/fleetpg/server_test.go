//go:build linux

package fleetpg_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/adapters/fleetpg"
)

// This file runs a PostgreSQL server of the tests' own.

// A server is a PostgreSQL server on a folder and a port that stay the same.
type server struct {
	programs string // the folder of initdb and postgres
	folder   string
	port     int
	owner    *syscall.SysProcAttr

	mu      sync.Mutex
	process *os.Process   // +checklocks:mu
	ended   chan struct{} // +checklocks:mu
}

var errNotInstalled = errors.New("initdb and postgres are neither on PATH nor in /usr/lib/postgresql/*/bin")

// newServer makes the folder of a server that start starts, and remove removes.
func newServer() (*server, error) {
	s := &server{owner: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}}
	if err := s.find(); err != nil {
		return nil, err
	}
	if err := s.makeFolder(); err != nil {
		return nil, err
	}
	initdb := exec.Command(filepath.Join(s.programs, "initdb"), "--pgdata", s.data(), "--username", "postgres",
		"--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync")
	initdb.Dir, initdb.SysProcAttr = s.folder, s.owner
	if output, err := initdb.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("initdb: %w: %s", err, output), s.remove())
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, s.remove())
	}
	s.port = listener.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // it is one
	return s, listener.Close()
}

// find finds the programs, the newest if there are several.
func (s *server) find() error {
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			s.programs = filepath.Dir(path)
		}
	}
	installed, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.Reverse(installed)
	for _, folder := range append([]string{s.programs}, installed...) {
		if _, err := os.Stat(filepath.Join(folder, "postgres")); err == nil && folder != "" {
			s.programs = folder
			return nil
		}
	}
	return errNotInstalled
}

// makeFolder makes the folder. The server refuses to run as root.
func (s *server) makeFolder() (err error) {
	s.folder, err = os.MkdirTemp("", "fleetpg")
	if err != nil || os.Getuid() != 0 {
		return err
	}
	postgres, err := user.Lookup("postgres")
	if err != nil {
		return err
	}
	uid, _ := strconv.ParseUint(postgres.Uid, 10, 32)
	gid, _ := strconv.ParseUint(postgres.Gid, 10, 32)
	s.owner.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return os.Chown(s.folder, int(uid), int(gid))
}

func (s *server) data() string { return filepath.Join(s.folder, "data") }

func (s *server) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// url is where database is, with parameters.
func (s *server) url(database string, parameters ...string) string {
	return "postgres://postgres@" + s.addr() + "/" + database + "?sslmode=disable&" + strings.Join(parameters, "&")
}

// start starts the server, with settings like "fsync=off", and waits until it answers.
func (s *server) start(settings ...string) error {
	args := []string{"-D", s.data(), "-p", strconv.Itoa(s.port), "-k", s.folder}
	defaults := []string{
		"listen_addresses=127.0.0.1", "max_connections=500", "shared_buffers=64MB",
		"fsync=on", "synchronous_commit=on", "full_page_writes=on",
	}
	for _, setting := range append(defaults, settings...) {
		args = append(args, "-c", setting)
	}
	log, err := os.OpenFile(filepath.Join(s.folder, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	command := exec.Command(filepath.Join(s.programs, "postgres"), args...)
	command.Dir, command.SysProcAttr, command.Stdout, command.Stderr = s.folder, s.owner, log, log
	if err := s.launch(command); err != nil {
		return err
	}
	return s.await()
}

// launch starts command from a thread that stays: the kernel kills the server when the
// thread that has started it is gone.
func (s *server) launch(command *exec.Cmd) error {
	started, ended := make(chan error, 1), make(chan struct{})
	go func() { // ends with the server
		runtime.LockOSThread()
		err := command.Start()
		started <- err
		if err == nil {
			_ = command.Wait()
		}
		close(ended)
	}()
	if err := <-started; err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.process, s.ended = command.Process, ended
	return nil
}

// await waits until the server answers.
func (s *server) await() error {
	s.mu.Lock()
	ended := s.ended
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, s.url("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-ended:
			log, _ := os.ReadFile(filepath.Join(s.folder, "log"))
			return fmt.Errorf("postgres has ended: %s", log[max(0, len(log)-2000):])
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// signal sends sig to all processes of the server.
func (s *server) signal(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return
	}
	for _, pid := range family(s.process.Pid) {
		_ = syscall.Kill(pid, sig)
	}
}

// kill kills all processes of the server, at once, and waits for their end.
func (s *server) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return
	}
	_ = s.process.Signal(syscall.SIGSTOP) // it begins no others meanwhile
	pids := family(s.process.Pid)
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	<-s.ended
	// As long as one of them lives, it holds the shared memory, and a new server refuses
	// to start.
	for slices.ContainsFunc(pids, alive) {
		time.Sleep(time.Millisecond)
	}
	s.process = nil
}

// remove kills the server and removes its folder.
func (s *server) remove() error {
	s.kill()
	return os.RemoveAll(s.folder)
}

// family returns the identifiers of a process and its children, which have none.
func family(parent int) []int {
	pids := []int{parent}
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if fields := stat(pid); len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// stat returns the state of a process, its parent, and more; nothing if there is none.
func stat(pid int) []string {
	line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(line), ") ")
	return strings.Fields(rest)
}

// alive reports whether the process does more than wait for its parent's attention.
func alive(pid int) bool {
	fields := stat(pid)
	return len(fields) > 0 && fields[0] != "Z" && fields[0] != "X"
}

// install fails the test, or skips it where nothing is installed.
func install(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, errNotInstalled) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	require.NoError(t, err)
}

// ownServer returns a server for the test alone, which is not started yet.
func ownServer(t testing.TB) *server {
	t.Helper()
	s, err := newServer()
	install(t, err)
	t.Cleanup(func() { assert.NoError(t, s.remove()) })
	return s
}

// A cluster is a server that tests share, each with a database of its own.
type cluster struct {
	once   sync.Once
	server *server
	err    error
	number atomic.Int64 // of databases
}

var shared cluster

// start starts the server, and migrates the database that others are made as.
func (c *cluster) start() {
	c.once.Do(func() {
		if c.server, c.err = newServer(); c.err != nil {
			return
		}
		if c.err = c.server.start(); c.err != nil {
			return
		}
		c.err = c.server.exec("postgres", "CREATE DATABASE template")
		if c.err == nil {
			c.err = c.server.migrate("template")
		}
	})
}

// exec executes statements in a database.
func (s *server) exec(database, sql string) error {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, s.url(database))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	return errors.Join(err, conn.Close(ctx))
}

func (s *server) migrate(database string) error {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, s.url(database))
	if err != nil {
		return err
	}
	return errors.Join(fleetpg.Migrate(ctx, conn), conn.Close(ctx))
}

// A database is one of a test's own on the shared server.
type database struct {
	*server

	name string
}

// newDatabase makes a database with the schema.
func newDatabase(t testing.TB) database {
	t.Helper()
	return makeDatabase(t, "TEMPLATE template")
}

// makeDatabase makes a database as options of CREATE DATABASE say.
func makeDatabase(t testing.TB, options string) database {
	t.Helper()
	shared.start()
	install(t, shared.err)
	d := database{shared.server, fmt.Sprintf("test_%d", shared.number.Add(1))}
	require.NoError(t, d.server.exec("postgres", "CREATE DATABASE "+d.name+" "+options))
	return d
}

// pool returns a pool on the database, with parameters like "pool_max_conns=1".
func (d database) pool(t testing.TB, parameters ...string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), d.url(d.name, parameters...))
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

// newEngine returns an engine on pool.
func newEngine(t testing.TB, pool *pgxpool.Pool, opts ...fleetpg.Option) *fleetpg.Engine {
	t.Helper()
	engine, err := fleetpg.New(pool, opts...)
	require.NoError(t, err)
	return engine
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.server != nil {
		if err := shared.server.remove(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}
