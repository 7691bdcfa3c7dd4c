//go:build linux

package main

import (
	"context"
	"errors"
	"strings"

	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/internal/testkit/servers"
)

// This file holds the stores, and what a client of one does.

// A kind is a store that is measured.
type kind struct {
	name  string
	flag  string // that of the command line
	build func() (*servers.Server, error)
	more  []string // arguments of the server
	url   func(addr string) string
	hot   int // how many keys a fleet's throttlers have, of as many as the store can do
}

func kinds() []kind {
	redis := kind{
		name:  "redis, fsync always",
		flag:  "redis",
		build: func() (*servers.Server, error) { return servers.Redis("redis-server") },
		url:   func(addr string) string { return "redis://" + addr + "/0" },
		hot:   200,
	}
	relaxed := redis
	relaxed.name, relaxed.more = "redis, everysec", []string{"--appendfsync", "everysec"}
	postgres := kind{
		name:  "postgres, fsync on",
		flag:  "postgres",
		build: servers.Postgres,
		url:   func(addr string) string { return "postgres://postgres@" + addr + "/postgres?sslmode=disable" },
		hot:   40,
	}
	return []kind{redis, relaxed, postgres}
}

// A store is a kind's server.
type store struct {
	kind

	server *servers.Server
}

// start starts the server of a kind, for remove to be called on.
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

// address returns what open is given.
func (s *store) address() string { return s.url(s.server.Addr()) }

// A client is the connections of a process to a store. Its methods may be called
// concurrently.
type client interface {
	// engine returns the one on these connections.
	engine() fleet.Engine

	// prepare gives bare a state of key to read and write: a copy of the engine's.
	prepare(ctx context.Context, key string) error

	// bare makes one operation that reads and writes as much as a claim of key does, and
	// nothing else.
	bare(ctx context.Context, key string) error

	// version returns the server's name and version.
	version(ctx context.Context) (string, error)

	// total returns how many bytes of the store all keys take, beside what it takes
	// without any.
	total(ctx context.Context) (int64, error)

	// size returns how many bytes the state of key takes.
	size(ctx context.Context, key string) (int64, error)

	// commands returns how many claims and the like the store has counted, and how many
	// microseconds they took of its time: 0 if it does not tell.
	commands(ctx context.Context) (calls, took float64, err error)

	close()
}

// open opens at most so many connections, beside those that listen, to the store at url.
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
