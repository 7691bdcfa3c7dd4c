package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// An event is a line that a process has printed.
type event struct {
	at      time.Time
	process int
	kind    string // call or edit, message, told, run, end, error, kill
	detail  string // the key, or without tenants the token of a run or end
}

// A record holds the events of all processes.
type record struct {
	mu     sync.Mutex // guards the fields below
	events []event
	ran    chan int // receives the process of each run while nextRun waits
}

func (r *record) add(e event) {
	r.mu.Lock()
	r.events = append(r.events, e)
	r.mu.Unlock()
	if e.kind == "run" {
		select {
		case r.ran <- e.process:
		default:
		}
	}
}

// all returns the events of a kind, ordered by time.
func (r *record) all(kind string) []event {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []event
	for _, e := range r.events {
		if e.kind == kind {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b event) int { return a.at.Compare(b.at) })
	return all
}

// last returns the time of the last event of a kind with that detail in process 0, which makes the
// last calls. It is 0 if there is none.
func (r *record) last(kind, detail string) (at time.Time) {
	for _, e := range r.all(kind) {
		if e.process == 0 && e.detail == detail {
			at = e.at
		}
	}
	return at
}

// runSince returns the first run since the given time, and whether there is one.
func (r *record) runSince(at time.Time) (event, bool) {
	runs := r.all("run")
	i := slices.IndexFunc(runs, func(run event) bool { return !run.at.Before(at) })
	if i < 0 {
		return event{}, false
	}
	return runs[i], true
}

// A process is one process of the service.
type process struct {
	number   int
	command  *exec.Cmd
	commands io.WriteCloser
	ended    chan struct{} // closed when all its events are in the record
}

// start starts a process.
func (r *record) start(number int, arguments ...string) (*process, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{number: number, command: exec.Command(program, arguments...), ended: make(chan struct{})}
	p.command.Env = append(os.Environ(), asReplica+"=1")
	p.command.Stderr = os.Stderr
	events, err := p.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if p.commands, err = p.command.StdinPipe(); err != nil {
		return nil, err
	}
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	go func() { // ends with the process
		defer close(p.ended)
		for lines := bufio.NewScanner(events); lines.Scan(); {
			if e, ok := parse(number, lines.Text()); ok {
				r.add(e)
			}
		}
	}()
	return p, nil
}

// parse returns the event of a line.
func parse(process int, line string) (event, bool) {
	at, rest, _ := strings.Cut(line, " ")
	micros, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return event{}, false
	}
	kind, detail, _ := strings.Cut(rest, " ")
	return event{time.UnixMicro(micros), process, kind, detail}, true
}

// send sends the process a command.
func (p *process) send(command string) error {
	_, err := fmt.Fprintln(p.commands, command)
	return err
}

// kill ends the process like kill -9.
func (p *process) kill(r *record) error {
	if err := p.command.Process.Kill(); err != nil {
		return err
	}
	r.add(event{time.Now(), p.number, "kill", ""})
	<-p.ended
	_ = p.command.Wait() // the error only says that it was killed
	return nil
}

// stop lets the process end.
func (p *process) stop() error {
	if err := p.commands.Close(); err != nil {
		return err
	}
	<-p.ended
	return p.command.Wait()
}
