//go:build linux

package fleettest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A resource is something that callbacks write to, protected by fencing tokens: it accepts a
// write to a key only if the write's token is not lower than all before.
type resource struct {
	listener net.Listener

	mu sync.Mutex // guards the field below
	// +checklocks:mu
	highest map[string]int64
}

func newResource(t *testing.T) *resource {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &resource{listener: l, highest: make(map[string]int64)}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed
			}
			group.Go(func() { r.take(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		group.Wait()
	})
	return r
}

func (r *resource) addr() string { return r.listener.Addr().String() }

// last returns the token of the last write to key that it accepted.
func (r *resource) last(key string) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.highest[key]
}

// take handles one write: a line with token and key.
func (r *resource) take(conn net.Conn) {
	defer conn.Close()
	var token int64
	var key string
	_ = conn.SetDeadline(time.Now().Add(patience())) // if this fails, so does the next
	if _, err := fmt.Fscanf(conn, "%d %s\n", &token, &key); err != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if token < r.highest[key] {
		fmt.Fprintln(conn, "refused")
		return
	}
	r.highest[key] = token
	fmt.Fprintln(conn, "taken")
}

// write writes to the resource at addr, and reports whether the resource accepted it.
func write(addr, key string, token int64) (taken bool) {
	answer, err := exchange(addr, fmt.Sprintf("%d %s\n", token, key))
	return err == nil && strings.HasPrefix(answer, "taken")
}

// exchange sends a line to addr, and returns the line that comes back.
func exchange(addr, line string) (answer string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience())
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return "", err
	}
	_, sent := fmt.Fprint(conn, line)
	answer, err = bufio.NewReader(conn).ReadString('\n')
	return answer, errors.Join(sent, err)
}
