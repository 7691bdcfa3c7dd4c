package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// A member is a replica that takes part in the demonstration.
type member struct {
	number   int
	commands io.WriteCloser
	crash    func() error
	ended    chan struct{} // closed when all its events are in the record
	err      error         // of its end, to be read after ended
}

// newMember records the events of a member, and makes calls until commands are closed.
func (r *record) newMember(number int, commands io.WriteCloser, events io.Reader, wait func() error) *member {
	m := &member{number: number, commands: commands, ended: make(chan struct{})}
	go func() { // ends with the replica
		defer close(m.ended)
		for lines := bufio.NewScanner(events); lines.Scan(); {
			if e, ok := parse(number, lines.Text()); ok {
				r.add(e)
			}
		}
		if m.err = wait(); m.err != nil {
			wake(r.broken)
		}
	}()
	go func() { // ends with commands
		for {
			if _, err := io.WriteString(commands, "call\n"); err != nil {
				return
			}
			time.Sleep(change)
		}
	}()
	return m
}

// stop lets the replica end.
func (m *member) stop() error {
	_ = m.commands.Close()
	<-m.ended
	if m.err != nil {
		return fmt.Errorf("replica %d: %w", m.number, m.err)
	}
	return nil
}

// parse returns the event of a line.
func parse(member int, line string) (event, bool) {
	at, rest, _ := strings.Cut(line, " ")
	nanos, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return event{}, false
	}
	kind, detail, _ := strings.Cut(rest, " ")
	calls, _ := strconv.Atoi(detail) // 0 without a detail
	return event{at: time.Unix(0, nanos), member: member, kind: kind, calls: calls}, true
}

// startProcess starts a replica in a process of its own, which locks the file at path. Its
// crash is kill -9.
func (r *record) startProcess(number int, path string) (*member, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	command := exec.Command(program, path)
	command.Env = append(os.Environ(), asReplica+"=1")
	command.Stderr = os.Stderr
	events, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	commands, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	var killed atomic.Bool
	m := r.newMember(number, commands, events, func() error {
		err := command.Wait()
		if killed.Load() {
			return nil // err only says so
		}
		return err
	})
	m.crash = func() error {
		killed.Store(true)
		at := time.Now()
		if err := command.Process.Kill(); err != nil {
			return err
		}
		<-m.ended
		r.end(number, at)
		return nil
	}
	return m, nil
}

// startConnected starts a replica in this process, which takes part in the election of a
// cluster. Its crash is a cut connection.
func (r *record) startConnected(ctx context.Context, number int, c cluster, namespace, name string) (*member, error) {
	cut := new(atomic.Bool)
	client, err := c.connect(cut)
	if err != nil {
		return nil, err
	}
	identity := fmt.Sprintf("%d-%d", os.Getpid(), number)
	e := newLeaseElection(client.CoordinationV1(), namespace, name, identity)
	commandsRead, commands := io.Pipe()
	events, eventsWrite := io.Pipe()
	result := make(chan error, 1)
	go func() { // ends with commands
		err := serve(ctx, e, commandsRead, eventsWrite)
		result <- err
		_ = commandsRead.Close()
		_ = eventsWrite.Close()
	}()
	m := r.newMember(number, commands, events, func() error { return <-result })
	m.crash = func() error {
		cut.Store(true)
		r.add(event{at: time.Now(), member: number, kind: "cut"})
		return nil
	}
	return m, nil
}
