// Command fleet is a service of several processes that share an index and rebuild it after
// changes, at most once per interval in all processes together. It starts the processes,
// kills some of them with kill -9, and records when they ran.
//
//	cd examples/fleet && go run .                    # on a redis-server of its own
//	go run . -store postgres                         # on a PostgreSQL of its own
//	go run . -url redis://localhost:6379/0           # on one that runs already
//	go run . -url postgres://user@localhost/database
//
// It fails if two runs began too close to each other, if a token did not rise, or if no run
// served the last call. It kills the process of that call as soon as the store knows of it:
//
//	5 processes on Redis, at most one run in 400ms
//
//	process 0  █····█·✗················█···························█·········█····························✗····
//	process 1  ····································█·····✗················································█····█
//	process 2  ·········█··············································✗··········✗··············✗···█·········
//	process 3  ·················✗··········█···█··············█······························█·················
//	process 4  ·············█··················✗········································█········█·············
//	together   █····█···█···█···█······█···█···█···█····█·····█····█···█·····█····█·····█····█···█···█···█····█
//	           █ a run begins   ✗ kill -9, and a new process   9.956s in all
//
//	calls        583
//	runs          21   from 441ms to 701ms apart
//	broken off     4   half-way, and repeated by another process
//	killed         8
//	last call          served 445ms after process 0 made it, by process 2
//
// With -tenants, each tenant has an index of its own, and all processes edit its documents.
// They share a fleet.Group, which re-indexes a tenant's documents when its edits have stopped,
// or after five intervals of edits:
//
//	go run . -tenants 8                              # and the flags above
//
// It fails if no re-index followed the last edit of a tenant. It kills the process of these
// edits as soon as the store knows of them:
//
//	edits       1158   of 8 tenants
//	re-indexed    36   24 after 400ms without edits, 12 during edits
//	messages     581   to tell of edits, and to begin and end runs
//	broken off     3   half-way, and repeated by another process
//	killed         8   processes 4 3 3 1 1 0 3 0
//	last edits         re-indexed at most 615ms after they were made, though their process was killed
//
// Copy from replica.go, or for a fleet.Group from editor.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"strconv"
	"time"

	"github.com/throttle-go/throttle/internal/flags"
	"github.com/throttle-go/throttle/internal/testkit/servers"
)

const (
	work   = 60 * time.Millisecond  // duration of a rebuild
	change = 80 * time.Millisecond  // between two calls of one process, on average
	lease  = 700 * time.Millisecond // how long the others wait for the run of a dead process

	// asReplica names the environment variable that makes this program a process of the
	// service.
	asReplica = "EXAMPLE_REPLICA"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	var err error
	if os.Getenv(asReplica) != "" {
		err = replica(ctx, os.Args[1:])
	} else {
		err = run(ctx, os.Args[1:], os.Stdout)
	}
	stop()
	flags.Exit("fleet", err)
}

// replica is the main of one process of the service. Its arguments are the store's URL, the
// namespace, the interval, and the number of tenants.
func replica(ctx context.Context, args []string) error {
	interval, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	tenants, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	if tenants > 0 {
		return serveTenants(ctx, args[0], args[1], interval, tenants, os.Stdin, os.Stdout)
	}
	return serve(ctx, args[0], args[1], interval, os.Stdin, os.Stdout)
}

// A config holds the flags.
type config struct {
	store, url string
	replicas   int
	tenants    int           // 0: one index for all
	interval   time.Duration // Quiet, if there are tenants
	duration   time.Duration
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	var c config
	set := flag.NewFlagSet("fleet", flag.ContinueOnError)
	set.StringVar(&c.store, "store", "redis", "`kind` of the server to start: redis or postgres")
	set.StringVar(&c.url, "url", "", "`address` of a server to use instead, redis://… or postgres://…")
	set.IntVar(&c.replicas, "replicas", 5, "`number` of processes")
	set.IntVar(&c.tenants, "tenants", 0, "`number` of tenants, each with an index of its own; 0 means one index for all")
	set.DurationVar(&c.interval, "interval", 400*time.Millisecond,
		"least `time` between two runs; with -tenants, between a tenant's last edit and a run")
	set.DurationVar(&c.duration, "duration", 8*time.Second, "`time` during which processes are killed")
	if err := flags.Parse(set, args, stdout, c.check); err != nil {
		return err
	}
	if c.url == "" {
		stop, err := c.startServer(ctx)
		if err != nil {
			return err
		}
		defer stop()
	}
	return c.show(ctx, stdout)
}

// check returns what is wrong with the values of the flags.
func (c *config) check() error {
	if c.store != "redis" && c.store != "postgres" {
		return fmt.Errorf("-store is %q, not redis or postgres", c.store)
	}
	if c.replicas < 2 {
		return fmt.Errorf("-replicas is %d, must be at least 2", c.replicas)
	}
	if c.tenants < 0 {
		return fmt.Errorf("-tenants is %d, must be at least 0", c.tenants)
	}
	if c.interval <= 0 || c.duration <= 0 {
		return errors.New("-interval and -duration must be more than 0")
	}
	if c.url == "" {
		return nil
	}
	return checkURL(c.url)
}

// startServer starts a server for the example, and sets the URL to it.
func (c *config) startServer(ctx context.Context) (stop func(), err error) {
	var server *servers.Server
	if c.store == "redis" {
		server, err = servers.Redis("redis-server")
	} else {
		server, err = servers.Postgres()
	}
	if err != nil {
		return nil, err
	}
	stop = func() { _ = server.Remove() }
	if err := server.Start(ctx); err != nil {
		stop()
		return nil, err
	}
	if c.store == "redis" {
		c.url = "redis://" + server.Addr()
	} else {
		c.url = "postgres://postgres@" + server.Addr() + "/postgres?sslmode=disable"
	}
	return stop, nil
}

// show runs the service, kills some of its processes, and prints what happened.
func (c *config) show(ctx context.Context, stdout io.Writer) error {
	// A new namespace, so that calls of an earlier example do not count.
	namespace := "example-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	r := &record{ran: make(chan int)}
	fleet := make([]*process, c.replicas)
	start := func(i int) (err error) {
		fleet[i], err = r.start(i, c.url, namespace, c.interval.String(), strconv.Itoa(c.tenants))
		return err
	}
	defer func() {
		for _, p := range fleet {
			if p != nil {
				_ = p.command.Process.Kill() // unless it has ended
			}
		}
	}()
	for i := range fleet {
		if err := start(i); err != nil {
			return err
		}
	}
	fmt.Fprintf(stdout, "%d processes on %s, %s\n\n", c.replicas, c.kind(), c.rule())

	begin := time.Now()
	if err := c.killSome(ctx, r, fleet, start); err != nil {
		return err
	}
	var last time.Time
	var err error
	if c.tenants > 0 {
		err = c.lastEdits(ctx, r, fleet)
	} else {
		last, err = c.lastCall(ctx, r, fleet)
	}
	if err != nil {
		return err
	}
	for _, p := range fleet[1:] {
		if err := p.stop(); err != nil {
			return err
		}
	}
	r.draw(stdout, begin, c.replicas)
	if c.tenants > 0 {
		return r.judgeEdits(stdout, c.interval, c.tenants)
	}
	return r.judge(stdout, c.interval, last)
}

// killSome kills processes and starts new ones, some at random, some in the middle of a run.
func (c *config) killSome(ctx context.Context, r *record, fleet []*process, start func(i int) error) error {
	begin := time.Now()
	for n := 0; time.Since(begin) < c.duration; n++ {
		victim := rand.IntN(len(fleet))
		if n%2 == 1 {
			victim = r.nextRun(ctx) // in the middle of the run
		} else {
			pause(ctx, c.duration/10)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := errors.Join(fleet[victim].kill(r), start(victim)); err != nil {
			return err
		}
		pause(ctx, c.duration/10)
	}
	return nil
}

// kind returns the name of the store.
func (c *config) kind() string {
	if c.url[0] == 'r' {
		return "Redis"
	}
	return "PostgreSQL"
}

// rule returns when a run may begin.
func (c *config) rule() string {
	if c.tenants == 0 {
		return fmt.Sprintf("at most one run in %v", c.interval)
	}
	return fmt.Sprintf("%d tenants, a run after %v without edits or %v of edits", c.tenants, c.interval, maxWait(c.interval))
}

// lastCall silences all processes, lets one make a last call, and kills it as soon as the
// store knows of the call. It returns the time of that call.
func (c *config) lastCall(ctx context.Context, r *record, fleet []*process) (time.Time, error) {
	for _, p := range fleet {
		if err := p.send("quiet"); err != nil {
			return time.Time{}, err
		}
	}
	r.nextRun(ctx)
	begin := time.Now()
	if err := fleet[0].send("call"); err != nil {
		return time.Time{}, err
	}
	// A process does not tell of a call if it waits for a run that will serve it.
	await(ctx, func() bool {
		call := r.last("call", indexKey)
		_, served := r.runSince(call)
		return call.After(begin) && (served || !r.last("told", indexKey).Before(call))
	})
	if err := fleet[0].kill(r); err != nil {
		return time.Time{}, err
	}
	call := r.last("call", indexKey)
	await(ctx, func() bool {
		_, served := r.runSince(call)
		return served
	})
	return call, ctx.Err()
}

// await waits until done returns true, but at most ten seconds: the judges will complain.
func await(ctx context.Context, done func() bool) {
	for end := time.Now().Add(10 * time.Second); !done() && time.Now().Before(end) && ctx.Err() == nil; {
		pause(ctx, 10*time.Millisecond)
	}
}

// nextRun waits for the next run, and returns its process.
func (r *record) nextRun(ctx context.Context) int {
	select {
	case process := <-r.ran:
		return process
	case <-ctx.Done():
	case <-time.After(5 * time.Second): // judge will complain
	}
	return 0
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
