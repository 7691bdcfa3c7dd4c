//go:build linux

package servers

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// Postgres returns a PostgreSQL server, not started yet, with the user postgres, the database
// postgres, and no password.
func Postgres() (*Server, error) {
	programs, err := postgresPrograms()
	if err != nil {
		return nil, err
	}
	s, err := newServer("postgres")
	if err != nil {
		return nil, err
	}
	if err := s.initialize(programs); err != nil {
		return nil, errors.Join(err, s.Remove())
	}
	return s, nil
}

// initialize creates the server's data folder.
func (s *Server) initialize(programs string) error {
	if err := s.disown(); err != nil {
		return err
	}
	data := filepath.Join(s.folder, "data")
	initdb := exec.Command(filepath.Join(programs, "initdb"), "--pgdata", data, //nolint:gosec,noctx // a known program that takes seconds
		"--username", "postgres", "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync")
	initdb.Dir, initdb.SysProcAttr = s.folder, s.settings
	if output, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, output)
	}
	s.command = []string{filepath.Join(programs, "postgres"), "-D", data, "-p", strconv.Itoa(s.port), "-k", s.folder}
	for _, setting := range []string{
		"listen_addresses=127.0.0.1", "max_connections=500", "shared_buffers=64MB",
		"fsync=on", "synchronous_commit=on", "full_page_writes=on",
		"dynamic_shared_memory_type=mmap", // in the data folder: a killed server leaves the other kinds behind
	} {
		s.command = append(s.command, "-c", setting)
	}
	s.answers = answersAsPostgres
	return nil
}

// postgresPrograms returns the folder of initdb and postgres: the one on PATH, or the newest
// version that is installed.
func postgresPrograms() (string, error) {
	var folders []string
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			folders = append(folders, filepath.Dir(path))
		}
	}
	installed, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.Reverse(installed)
	for _, folder := range append(folders, installed...) {
		if _, err := os.Stat(filepath.Join(folder, "postgres")); err == nil {
			return folder, nil
		}
	}
	return "", fmt.Errorf("postgres %w, neither on PATH nor in /usr/lib/postgresql/*/bin", ErrNotInstalled)
}

// disown gives the folder to the user postgres if root runs the test: the server refuses to run
// as root.
func (s *Server) disown() error {
	if os.Getuid() != 0 {
		return nil
	}
	postgres, err := user.Lookup("postgres")
	if err != nil {
		return err
	}
	uid, _ := strconv.ParseUint(postgres.Uid, 10, 32)
	gid, _ := strconv.ParseUint(postgres.Gid, 10, 32)
	s.settings.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return os.Chown(s.folder, int(uid), int(gid))
}

// answersAsPostgres asks for a session, and reports whether the server grants it.
func answersAsPostgres(conn net.Conn) bool {
	const version, size = "\x00\x03\x00\x00", "\x00\x00\x00\x29"
	if _, err := io.WriteString(conn, size+version+"user\x00postgres\x00database\x00postgres\x00\x00"); err != nil {
		return false
	}
	kind := make([]byte, 1)
	_, err := io.ReadFull(conn, kind)
	return err == nil && kind[0] == 'R' // an error is 'E'
}
