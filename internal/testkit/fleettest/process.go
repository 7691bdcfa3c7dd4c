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

// A process is a replica's process, seen from the test.
type process struct {
	t      *testing.T
	name   string
	record *record
	ahead  time.Duration // how far its monotonic clock is ahead

	command *exec.Cmd
	in      io.WriteCloser
	ended   chan struct{} // closed when it has ended and the record has all its events
	errors  bytes.Buffer  // its standard error; read it only after ended
	failure error         // its exit status; read it only after ended

	mu sync.Mutex // guards the fields below
	// +checklocks:mu
	number int // of the last command
	// +checklocks:mu
	answers map[int]chan event
	// +checklocks:mu
	killed int64 // when kill was called; 0 if it was not
}

// start starts the process.
func (p *process) start() {
	p.t.Helper()
	program, err := os.Executable()
	require.NoError(p.t, err)
	p.command = exec.Command(program) //nolint:gosec // the test's own program
	// With its default, the race detector makes the process wait a second at exit.
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

// read reads events until the process ends.
func (p *process) read(out io.Reader) {
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var e event
		if json.Unmarshal(line, &e) != nil {
			e = event{Kind: reported, Error: other, Text: string(line)} // so that the test fails
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

// send sends a command and returns the channel that will hold the answer.
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

// await waits for an answer and returns it.
func (p *process) await(answer <-chan event) event {
	p.t.Helper()
	select {
	case e := <-answer:
		return e
	case <-p.ended:
		select {
		case e := <-answer: // its last answer
			return e
		default:
			require.FailNow(p.t, "the process has ended", "%s: %s", p.name, p.errors.String())
		}
	case <-time.After(2 * patience()):
		require.FailNow(p.t, "the process does not answer", p.name)
	}
	return event{}
}

// tell sends a command and returns the answer.
func (p *process) tell(c command) event {
	p.t.Helper()
	return p.await(p.send(c))
}

// kill kills the process with SIGKILL, and waits for its end.
func (p *process) kill() {
	p.mu.Lock()
	if p.killed == 0 {
		p.killed = now()
	}
	p.mu.Unlock()
	select {
	case <-p.ended: // another process may have its number by now
		return
	default:
	}
	_ = syscall.Kill(-p.command.Process.Pid, syscall.SIGKILL) // it may just have ended
	<-p.ended
}

// stop pauses the process with SIGSTOP.
func (p *process) stop() {
	require.NoError(p.t, syscall.Kill(-p.command.Process.Pid, syscall.SIGSTOP))
}

// resume ends the pause that stop began.
func (p *process) resume() {
	require.NoError(p.t, syscall.Kill(-p.command.Process.Pid, syscall.SIGCONT))
}

// quit closes all throttlers of the process, waits for its end, and requires that it leaves no
// goroutine.
func (p *process) quit() {
	p.t.Helper()
	answer := p.tell(command{Do: actQuit})
	require.Empty(p.t, answer.Text, "process %s", p.name)
	require.Empty(p.t, answer.Left, "%s leaves goroutines", p.name)
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
