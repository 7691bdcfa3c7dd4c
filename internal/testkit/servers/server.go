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

// This file holds what servers have in common.

// ErrNotInstalled is what errors.Is finds if a server's program is not on this machine.
var ErrNotInstalled = errors.New("is not installed")

// A Server keeps its folder and its port when it is killed and started again. It ends with
// the process that started it. Its methods may be called concurrently, but for Start.
type Server struct {
	folder   string
	port     int
	command  []string
	settings *syscall.SysProcAttr
	answers  func(net.Conn) bool

	mu      sync.Mutex    // guards the fields below
	process *os.Process   // nil while it does not run
	ended   chan struct{} // closed when that has ended
}

// newServer returns a Server with a folder and a port.
func newServer(name string) (*Server, error) {
	folder, err := os.MkdirTemp("", name)
	if err != nil {
		return nil, err
	}
	s := &Server{folder: folder, settings: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}}
	if s.port, err = freePort(); err != nil {
		return nil, errors.Join(err, s.Remove())
	}
	return s, nil
}

// freePort returns a port that nobody listens on. It is below those that the kernel gives to
// connections, so that it stays free while the server is down.
func freePort() (port int, err error) {
	const lowest, ports, attempts = 20000, 12000, 100
	for range attempts {
		port = lowest + rand.N(ports)
		var listener net.Listener
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		if listener, err = net.Listen("tcp", address); err == nil { //nolint:noctx // it listens at once
			return port, listener.Close()
		}
	}
	return 0, err
}

// Folder returns the folder that holds what the server keeps, and its log.
func (s *Server) Folder() string { return s.folder }

// Addr returns the address of its port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Start starts the server, with more arguments, and waits until it answers or ctx ends.
func (s *Server) Start(ctx context.Context, more ...string) error {
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	command := exec.CommandContext(context.WithoutCancel(ctx), s.command[0], append(s.command[1:], more...)...) //nolint:gosec // one of ours
	command.Dir, command.SysProcAttr, command.Stdout, command.Stderr = s.folder, s.settings, log, log
	ended, err := s.launch(command)
	if err != nil {
		return err
	}
	return s.await(ctx, ended)
}

func (s *Server) log() string { return filepath.Join(s.folder, "log") }

// launch starts command from a thread that stays: the kernel kills the server when the
// thread that has started it is gone.
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
	for !s.asked(ctx) {
		select {
		case <-ended:
			log, _ := os.ReadFile(s.log())
			return fmt.Errorf("%s has ended: %s", s.command[0], log[max(0, len(log)-2000):])
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w", s.command[0], ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

// asked reports whether the server answers, and has read what it keeps.
func (s *Server) asked(ctx context.Context) bool {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", s.Addr())
	if err != nil {
		return false
	}
	defer conn.Close()
	return conn.SetDeadline(time.Now().Add(time.Second)) == nil && s.answers(conn)
}

// Processes returns the identifiers of the server's processes, the one first that has
// started the others; none while it does not run.
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

// Kill ends all processes of the server with SIGKILL, at once, and waits for their end.
func (s *Server) Kill() {
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
	// As long as one of PostgreSQL's processes lives, it holds the shared memory, and a new
	// server refuses to start.
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
