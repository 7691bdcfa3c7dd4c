package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/adapters/fleetpg"
	"github.com/throttle-go/throttle/adapters/fleetredis"
	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
)

// checkURL returns what is wrong with the URL of a store.
func checkURL(url string) (err error) {
	switch scheme, _, _ := strings.Cut(url, ":"); scheme {
	case "redis", "rediss":
		_, err = redis.ParseURL(url)
	case "postgres", "postgresql":
		_, err = pgxpool.ParseConfig(url)
	default:
		err = fmt.Errorf("-url is %q, not redis://… or postgres://…", url)
	}
	return err
}

// open returns an engine on the store at url, and a function that closes its connections.
func open(ctx context.Context, url, namespace string) (fleet.Engine, func(), error) {
	if strings.HasPrefix(url, "redis") {
		options, err := redis.ParseURL(url)
		if err != nil {
			return nil, nil, err
		}
		options.ContextTimeoutEnabled = true
		client := redis.NewClient(options)
		engine, err := fleetredis.New(client, fleetredis.WithNamespace(namespace))
		return engine, func() { _ = client.Close() }, err
	}
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return nil, nil, err
	}
	if err := fleetpg.Migrate(ctx, pool); err != nil {
		pool.Close()
		return nil, nil, err
	}
	engine, err := fleetpg.New(pool, fleetpg.WithNamespace(namespace))
	return engine, pool.Close, err
}

// printTo returns a function that prints an event of now.
func printTo(events io.Writer) func(format string, args ...any) {
	return func(format string, args ...any) { printAt(events, time.Now(), format, args...) }
}

// printAt prints an event as a line with the time.
func printAt(events io.Writer, at time.Time, format string, args ...any) {
	fmt.Fprintf(events, "%d "+format+"\n", append([]any{at.UnixMicro()}, args...)...)
}

// A reporter is an engine that prints the event "message" for each claim and finish that it
// sends, and "told" when the store has received a claim that tells of calls. That event has the
// time at which the claim was sent: the store knows of the calls before.
type reporter struct {
	fleet.Engine

	events io.Writer
}

// Claim implements [fleet.Engine].
func (r reporter) Claim(ctx context.Context, key string, c machine.Claim) (machine.Reply, error) {
	sent := time.Now()
	printAt(r.events, sent, "message %s", key)
	reply, err := r.Engine.Claim(ctx, key, c)
	if c.New && err == nil {
		printAt(r.events, sent, "told %s", key)
	}
	return reply, err
}

// Finish implements [fleet.Engine].
func (r reporter) Finish(ctx context.Context, key string, f machine.Finish) (machine.Finished, error) {
	printAt(r.events, time.Now(), "message %s", key)
	return r.Engine.Finish(ctx, key, f)
}

// indexKey is the key of the index, where there are no tenants.
const indexKey = "index"

// serve is a process of the service. It asks for a rebuild of the index whenever something
// changes, which here happens at random until the command "quiet". It returns at the end of
// the commands. It prints the events "call" with the key, "run" and "end" with the token, and
// the events of a reporter.
func serve(ctx context.Context, url, namespace string, interval time.Duration, commands io.Reader, events io.Writer) error {
	engine, disconnect, err := open(ctx, url, namespace)
	if err != nil {
		return err
	}
	defer disconnect()
	printEvent := printTo(events)

	rebuild := func(ctx context.Context) error {
		token, _ := fleet.Token(ctx) // a store should refuse a lower token than it has seen
		printEvent("run %d", token)
		time.Sleep(work)
		printEvent("end %d", token)
		return nil
	}
	index, err := fleet.New(reporter{engine, events}, indexKey, throttle.Every(interval), rebuild,
		fleet.WithLease(lease),
		fleet.WithErrorHandler(func(err error) { printEvent("error %v", err) }))
	if err != nil {
		return err
	}

	quiet := make(chan struct{})
	go func() {
		for pause := change; ; pause = rand.N(2 * change) {
			select {
			case <-quiet:
				return
			case <-time.After(pause):
				printEvent("call %s", indexKey)
				index.Call()
			}
		}
	}()
	for lines := bufio.NewScanner(commands); lines.Scan(); {
		switch lines.Text() {
		case "quiet":
			close(quiet)
		case "call":
			printEvent("call %s", indexKey)
			index.Call()
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return index.Shutdown(ctx) // hands a pending run to the others
}
