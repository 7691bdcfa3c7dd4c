//go:build linux

package fleettest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// This file holds a replica's process as the test sees it.

// A process is one.
type process struct {
	t      *testing.T
	name   string
	record *record
	ahead  time.Duration // how far its monotonic clock is

	command *exec.Cmd
	in      io.WriteCloser
	ended   chan struct{} // closed once it has ended, and all that it told is in the record
	errors  bytes.Buffer  // what it wrote to standard error, once it has ended
	failure error         // how it ended, once it has

	mu sync.Mutex // guards the fields below
	// +checklocks:mu
	number int // of the last command
	// +checklocks:mu
	answers map[int]chan event
	// +checklocks:mu
	killed int64 // when; 0 if it was not
	// +checklocks:mu
	stopped bool // it once was
}

// start starts the process.
func (p *process) start() {
	p.t.Helper()
	program, err := os.Executable()
	require.NoError(p.t, err)
	p.command = exec.Command(program) //nolint:gosec // it is this very program
	// The race detector would have it wait for a second when it quits.
	p.command.Env = append(os.Environ(), replicaVariable+"=1", "GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	p.command.Stderr = &p.errors
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if p.ahead != 0 {
		require.NoError(p.t, ahead(p.command, p.ahead))
	}
	in, err := p.command.StdinPipe()
	require.NoError(p.t, err)
	p.in = in
	out, err := p.command.StdoutPipe()
	require.NoError(p.t, err)
	require.NoError(p.t, p.command.Start())
	go func() {
		defer close(p.ended)
		p.read(out)
		p.failure = p.command.Wait()
	}()
	p.t.Cleanup(p.kill)
}

// read reads events until there are no more.
func (p *process) read(out io.Reader) {
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var e event
		if json.Unmarshal(line, &e) != nil {
			e = event{Kind: reported, Error: other, Text: string(line)} // a test that reads the record fails
		}
		e.Process = p.name
		p.record.add(e)
		if e.Kind == answered {
			p.mu.Lock()
			answer := p.answers[e.Number]
			delete(p.answers, e.Number)
			p.mu.Unlock()
			if answer != nil {
				answer <- e
			}
		}
	}
}

// send sends a command, and returns what its answer comes from.
func (p *process) send(c command) <-chan event {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.number++
	c.Number = p.number
	answer := make(chan event, 1)
	p.answers[c.Number] = answer
	line, err := json.Marshal(c)
	require.NoError(p.t, err)
	_, err = p.in.Write(append(line, '\n'))
	require.NoError(p.t, err, "process %s: %s", p.name, c.Do)
	return answer
}

// await returns an answer.
func (p *process) await(answer <-chan event) event {
	p.t.Helper()
	select {
	case e := <-answer:
		return e
	case <-p.ended:
		select {
		case e := <-answer: // its last
			return e
		default:
			require.FailNow(p.t, "a process ended", "%s: %s", p.name, p.errors.String())
		}
	case <-time.After(2 * patience()):
		require.FailNow(p.t, "a process does not answer", p.name)
	}
	return event{}
}

// tell has c done, and returns the answer.
func (p *process) tell(c command) event {
	p.t.Helper()
	return p.await(p.send(c))
}

// kill ends the process with SIGKILL, and waits for its end.
func (p *process) kill() {
	p.mu.Lock()
	if p.killed == 0 {
		p.killed = now()
	}
	p.mu.Unlock()
	select {
	case <-p.ended: // its number may be another's by now
		return
	default:
	}
	_ = syscall.Kill(-p.command.Process.Pid, syscall.SIGKILL) // it may be about to end
	<-p.ended
}

// stop stops the process with SIGSTOP, and resume has it go on.
func (p *process) stop() {
	p.mu.Lock()
	p.stopped = true
	p.mu.Unlock()
	require.NoError(p.t, syscall.Kill(-p.command.Process.Pid, syscall.SIGSTOP))
}

func (p *process) resume() {
	require.NoError(p.t, syscall.Kill(-p.command.Process.Pid, syscall.SIGCONT))
}

// quit has the process close all and end, and requires that no goroutine is left there.
func (p *process) quit() {
	p.t.Helper()
	answer := p.tell(command{Do: actQuit})
	require.Empty(p.t, answer.Text, "process %s", p.name)
	require.Empty(p.t, answer.Left, "goroutines are left in process %s", p.name)
	<-p.ended
	require.NoError(p.t, p.failure, "process %s: %s", p.name, p.errors.String())
}

// isOver reports whether the process was killed or has quit.
func (p *process) isOver() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}
