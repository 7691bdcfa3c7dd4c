//go:build linux

package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/internal/testkit/servers"
)

// A kind is a kind of store to measure.
type kind struct {
	name  string
	flag  string // its name on the command line
	build func() (*servers.Server, error)
	more  []string // arguments of the server
	url   func(addr string) string
	hot   int // number of keys that a fleet calls all the time, within the store's capacity

	crowds []crowd
}

func kinds() []kind {
	redis := kind{
		name:  "redis, fsync always",
		flag:  "redis",
		build: func() (*servers.Server, error) { return servers.Redis("redis-server") },
		url:   func(addr string) string { return "redis://" + addr + "/0" },
		hot:   200,

		crowds: []crowd{{10_000, time.Minute}, {5000, time.Second}},
	}
	relaxed := redis
	relaxed.name, relaxed.more = "redis, everysec", []string{"--appendfsync", "everysec"}
	postgres := kind{
		name:  "postgres, fsync on",
		flag:  "postgres",
		build: servers.Postgres,
		url:   func(addr string) string { return "postgres://postgres@" + addr + "/postgres?sslmode=disable" },
		hot:   40,

		crowds: []crowd{{1000, time.Minute}, {500, time.Second}},
	}
	return []kind{redis, relaxed, postgres}
}

// A store is a kind's server.
type store struct {
	kind

	server *servers.Server
}

// start starts the server of a kind. The caller must call remove.
func (k kind) start(ctx context.Context) (*store, error) {
	server, err := k.build()
	if err != nil {
		return nil, err
	}
	if err := server.Start(ctx, k.more...); err != nil {
		return nil, errors.Join(err, server.Remove())
	}
	return &store{kind: k, server: server}, nil
}

func (s *store) remove() { _ = s.server.Remove() }

// address returns the URL for open.
func (s *store) address() string { return s.url(s.server.Addr()) }

// A client is the connections of a process to a store. Its methods may be called
// concurrently.
type client interface {
	// engine returns the engine on these connections.
	engine() fleet.Engine

	// prepare makes a state of key for bare to read and write: a copy of the engine's.
	prepare(ctx context.Context, key string) error

	// bare makes one operation that reads and writes as much as a claim of key does, and
	// nothing else.
	bare(ctx context.Context, key string) error

	// version returns the server's name and version.
	version(ctx context.Context) (string, error)

	// total returns how many bytes of the store all keys take, beside what it takes
	// without any.
	total(ctx context.Context) (int64, error)

	// size returns the bytes of the state of key.
	size(ctx context.Context, key string) (int64, error)

	// commands returns the store's count of claims and the like, and the microseconds
	// that it spent on them; 0 if the store does not count them.
	commands(ctx context.Context) (calls, took float64, err error)

	close()
}

// open connects to the store at url, with at most the given number of connections besides
// those that listen.
func open(ctx context.Context, url string, connections int) (client, error) {
	if strings.HasPrefix(url, "redis") {
		return openRedis(url, connections)
	}
	return openPostgres(ctx, url, connections)
}

// client opens connections to s.
func (s *store) client(ctx context.Context, connections int) (client, error) {
	return open(ctx, s.address(), connections)
}
