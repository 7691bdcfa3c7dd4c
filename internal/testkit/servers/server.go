//go:build linux

package servers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// ErrNotInstalled is the error that [Redis] and [Postgres] wrap if a program of the server is not
// on this machine.
var ErrNotInstalled = errors.New("is not installed")

// A Server is a server process. It keeps its folder and its port when you kill it and start it
// again, and it ends when the process that started it ends. You may call its methods
// concurrently, except for Start.
type Server struct {
	folder   string
	port     int
	command  []string
	settings *syscall.SysProcAttr
	answers  func(net.Conn) bool

	mu      sync.Mutex    // guards the fields below
	process *os.Process   // nil while it is not running
	ended   chan struct{} // closed when the process has ended
}

// folderVariable names the environment variable that says where servers have their folders, if
// that is not where other temporary files are. On a file system in memory, no server waits for a
// disk. While others write much to a disk, it may let a server wait for half a minute.
const folderVariable = "TESTKIT_SERVERS"

// newServer returns a Server with a folder and a port.
func newServer(name string) (*Server, error) {
	folder, err := os.MkdirTemp(os.Getenv(folderVariable), name)
	if err != nil {
		return nil, err
	}
	s := &Server{folder: folder, settings: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}}
	if s.port, err = freePort(); err != nil {
		return nil, errors.Join(err, s.Remove())
	}
	return s, nil
}

// freePort returns a port that nobody listens on. It is below the ports that the kernel gives to
// outgoing connections, so it stays free while the server is down.
func freePort() (port int, err error) {
	const lowest, ports, attempts = 20000, 12000, 100
	for range attempts {
		port = lowest + rand.N(ports)
		var listener net.Listener
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		if listener, err = net.Listen("tcp", address); err == nil { //nolint:noctx // it does not block
			return port, listener.Close()
		}
	}
	return 0, err
}

// Folder returns the folder with the server's data and its log.
func (s *Server) Folder() string { return s.folder }

// Addr returns the server's address: host and port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Start starts the server with additional arguments, and waits until it answers or ctx ends.
func (s *Server) Start(ctx context.Context, more ...string) error {
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	command := exec.CommandContext(context.WithoutCancel(ctx), s.command[0], append(s.command[1:], more...)...) //nolint:gosec // a known program
	command.Dir, command.SysProcAttr, command.Stdout, command.Stderr = s.folder, s.settings, log, log
	ended, err := s.launch(command)
	if err != nil {
		return err
	}
	return s.await(ctx, ended)
}

func (s *Server) log() string { return filepath.Join(s.folder, "log") }

// logEnd returns the last part of the server's log.
func (s *Server) logEnd() []byte {
	log, _ := os.ReadFile(s.log()) // empty if the server never started
	return log[max(0, len(log)-2000):]
}

// launch starts command from a thread that lives as long as the server: the kernel kills the
// server when the thread that started it ends.
func (s *Server) launch(command *exec.Cmd) (<-chan struct{}, error) {
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
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.process, s.ended = command.Process, ended
	return ended, nil
}

// await waits until the server answers.
func (s *Server) await(ctx context.Context, ended <-chan struct{}) error {
	for !s.ready(ctx) {
		select {
		case <-ended:
			return fmt.Errorf("%s ended: %s", s.command[0], s.logEnd())
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w", s.command[0], ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

// ready reports whether the server answers and has loaded its data.
func (s *Server) ready(ctx context.Context) bool {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", s.Addr())
	if err != nil {
		return false
	}
	defer conn.Close()
	return conn.SetDeadline(time.Now().Add(time.Second)) == nil && s.answers(conn)
}

// Processes returns the identifiers of the server's processes, beginning with the one that
// started the others. It returns nil while the server is not running.
func (s *Server) Processes() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return nil
	}
	return family(s.process.Pid)
}

// Signal sends sig to all processes of the server.
func (s *Server) Signal(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return
	}
	for _, pid := range family(s.process.Pid) {
		_ = syscall.Kill(pid, sig)
	}
}

// Kill kills all processes of the server with SIGKILL, and waits for their end.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return
	}
	_ = s.process.Signal(syscall.SIGSTOP) // so that it starts no more
	pids := family(s.process.Pid)
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	<-s.ended
	// While one of PostgreSQL's processes lives, it holds the shared memory, and a new server
	// refuses to start.
	for slices.ContainsFunc(pids, alive) {
		time.Sleep(time.Millisecond)
	}
	s.process = nil
}

// Remove kills the server and removes its folder.
func (s *Server) Remove() error {
	s.Kill()
	return os.RemoveAll(s.folder)
}

// family returns the identifiers of a process and its children. The children have none.
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

// stat returns the state of a process, its parent, and more, or nothing if there is no such
// process.
func stat(pid int) []string {
	line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(line), ") ")
	return strings.Fields(rest)
}

// alive reports whether the process exists and is not a zombie.
func alive(pid int) bool {
	fields := stat(pid)
	return len(fields) > 0 && fields[0] != "Z" && fields[0] != "X"
}
