//go:build linux

package servers

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
)

// Redis returns a Redis server, not started yet, or a Valkey server if program is
// "valkey-server" and not "redis-server". The server writes each change to its append-only file
// before it answers, and never rewrites that file.
func Redis(program string) (*Server, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return nil, fmt.Errorf("%s %w: %w", program, ErrNotInstalled, err)
	}
	s, err := newServer("redis")
	if err != nil {
		return nil, err
	}
	s.command = []string{
		path, "--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--dir", s.folder,
		"--save", "", "--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0",
	}
	s.answers = func(conn net.Conn) bool {
		if _, err := io.WriteString(conn, "PING\r\n"); err != nil {
			return false
		}
		answer, err := bufio.NewReader(conn).ReadString('\n')
		return err == nil && !strings.HasPrefix(answer, "-LOADING")
	}
	return s, nil
}
