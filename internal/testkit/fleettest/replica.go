//go:build linux

package fleettest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
)

// This file is a replica's process.

// replicaVariable names the environment variable that says that a process is a replica's.
const replicaVariable = "FLEETTEST_REPLICA"

// Main runs the tests of m, or makes the process a replica's if it was started as that.
// TestMain calls it, does nothing before, and exits with code. open returns a new engine on
// the store, or on a proxy to it, at addr; its Close method, if it has one, releases all
// that open made.
func Main(m *testing.M, open func(addr string) (fleet.Engine, error)) (code int) {
	if os.Getenv(replicaVariable) == "" {
		return m.Run()
	}
	serve(os.Stdin, os.Stdout, open)
	return 0
}

// A host is a process that has throttlers.
type host struct {
	open   func(string) (fleet.Engine, error)
	offset int64
	before map[string]string // the goroutines that were there first

	throttlers map[string]*hosted // changed by serve only

	mu sync.Mutex // guards the field below
	// +checklocks:mu
	out *json.Encoder
}

// A hosted is a throttler of a host.
type hosted struct {
	host      *host
	name      string
	key       string
	engine    *watched
	throttler *fleet.Throttler
	behavior  atomic.Pointer[behavior]
}

// A watched engine remembers when the last claim for new calls was sent that has been
// answered.
type watched struct {
	fleet.Engine
	registered atomic.Int64
	reached    atomic.Bool // the store has answered
}

// Due implements [fleet.Engine].
func (w *watched) Due(ctx context.Context, skip int) (machine.Due, error) {
	due, err := w.Engine.Due(ctx, skip)
	if err == nil {
		w.reached.Store(true)
	}
	return due, err
}

// Claim implements [fleet.Engine].
func (w *watched) Claim(ctx context.Context, key string, c machine.Claim) (machine.Reply, error) {
	sent := now()
	reply, err := w.Engine.Claim(ctx, key, c)
	if err == nil && c.New {
		w.registered.Store(sent)
	}
	return reply, err
}

// close releases what open made.
func (w *watched) close() {
	switch e := w.Engine.(type) {
	case io.Closer:
		_ = e.Close() // it may have lost its connection
	case interface{ Close() }:
		e.Close()
	}
}

// serve does what in says, until it ends.
func serve(in io.Reader, out io.Writer, open func(string) (fleet.Engine, error)) {
	h := &host{
		open:       open,
		offset:     offset(),
		before:     goroutines(),
		throttlers: make(map[string]*hosted),
		out:        json.NewEncoder(out),
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var c command
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			h.emit(event{Kind: answered, Error: other, Text: err.Error()})
			return
		}
		if c.Do == actQuit {
			h.emit(h.quit(c))
			return
		}
		h.obey(c)
	}
}

func (h *host) emit(e event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	_ = h.out.Encode(e) // who reads it has ended if that fails
}

// now returns the machine's monotonic clock.
func (h *host) now() int64 { return now() - h.offset }

// obey does what c says, and answers, later if it takes time.
func (h *host) obey(c command) {
	answer := event{Kind: answered, Number: c.Number, Throttler: c.Throttler, At: h.now()}
	switch c.Do {
	case actOpen:
		t, err := h.make(c.Throttler, *c.Options)
		if err != nil {
			answer.Error, answer.Text = other, err.Error()
			h.emit(answer)
			return
		}
		go func() {
			if !eventually(t.engine.reached.Load) {
				answer.Error, answer.Text = unavailable, "the store does not answer"
			}
			h.emit(answer)
		}()
		return
	case actCallAll:
		h.callAll()
		h.emit(answer)
		return
	case actBehave, actCall, actRegister, actDo, actCancel, actStats, actShutdown, actClose, actQuit:
	}
	t := h.throttlers[c.Throttler]
	if t == nil {
		answer.Error, answer.Text = other, fmt.Sprintf("there is no throttler %q", c.Throttler)
		h.emit(answer)
		return
	}
	answer.Key = t.key
	go func() {
		err := t.obey(c, &answer)
		answer.Error, answer.Token = kindOf(err)
		if err != nil {
			answer.Text = err.Error()
		}
		h.emit(answer)
	}()
}

// make makes a throttler with an engine of its own.
func (h *host) make(name string, o options) (*hosted, error) {
	opened, err := h.open(o.Address)
	if err != nil {
		return nil, err
	}
	engine := &watched{Engine: opened}
	t := &hosted{host: h, name: name, key: o.Key, engine: engine}
	t.behavior.Store(&o.Behavior)
	opts := []fleet.Option{fleet.WithGuard(o.Guard), fleet.WithLease(o.Lease), fleet.WithErrorHandler(t.report)}
	if o.Local {
		opts = append(opts, fleet.RunLocal())
	}
	policy := throttle.Policy{Interval: o.Interval, Retry: throttle.Backoff{Initial: o.Retry}}
	t.throttler, err = fleet.New(engine, o.Key, policy, t.run, opts...)
	if err != nil {
		return nil, err
	}
	h.throttlers[name] = t
	return t, nil
}

// callAll calls all throttlers at once.
func (h *host) callAll() {
	var group sync.WaitGroup
	begin := make(chan struct{})
	for _, t := range h.throttlers {
		group.Go(func() {
			<-begin
			t.throttler.Call()
		})
	}
	close(begin)
	group.Wait()
}

// quit closes all, and tells of goroutines that are left.
func (h *host) quit(c command) event {
	ctx, cancel := context.WithTimeout(context.Background(), patience())
	defer cancel()
	answer := event{Kind: answered, Number: c.Number}
	for _, t := range h.throttlers {
		_ = t.throttler.Close() // always nil
		if err := t.throttler.Shutdown(ctx); err != nil {
			answer.Error, answer.Text = other, err.Error()
		}
		t.engine.close()
	}
	answer.Left = goroutinesSince(h.before)
	return answer
}

func (t *hosted) obey(c command, answer *event) error {
	switch c.Do {
	case actBehave:
		t.behavior.Store(c.Behavior)
	case actCall:
		for i := range c.Times {
			if i > 0 && c.Pace > 0 {
				time.Sleep(c.Pace)
			}
			answer.At = t.host.now()
			t.throttler.Call()
		}
	case actRegister:
		return t.register(answer)
	case actCancel:
		t.throttler.Cancel()
	case actClose:
		return t.throttler.Close()
	case actStats:
		s := t.throttler.Stats()
		answer.Stats = stats{Pending: s.Pending, Running: s.Running, Closed: s.Closed, Asking: !s.Next.IsZero()}
	case actDo:
		ctx, cancel := context.WithTimeout(context.Background(), c.Within)
		defer cancel()
		return t.throttler.Do(ctx)
	case actShutdown:
		ctx, cancel := context.WithTimeout(context.Background(), c.Within)
		defer cancel()
		return t.throttler.Shutdown(ctx)
	case actOpen, actCallAll, actQuit:
	}
	return nil
}

// register calls, and returns once the store knows of that.
func (t *hosted) register(answer *event) error {
	sent := now()
	answer.At = t.host.now()
	t.throttler.Call()
	if !eventually(func() bool { return t.engine.registered.Load() >= sent }) {
		return context.DeadlineExceeded
	}
	return nil
}

// report is the error handler.
func (t *hosted) report(err error) {
	e := event{Kind: reported, Throttler: t.name, Key: t.key, At: t.host.now(), Text: err.Error()}
	e.Error, e.Token = kindOf(err)
	t.host.emit(e)
}

// run is the callback.
func (t *hosted) run(ctx context.Context) (err error) {
	at := t.host.now()
	token, _ := fleet.Token(ctx)
	b := *t.behavior.Load()
	t.host.emit(event{Kind: started, Throttler: t.name, Key: t.key, At: at, Token: token})
	end := event{Kind: ended, Throttler: t.name, Key: t.key, Token: token}
	defer func() { // even when it panics
		end.At = t.host.now()
		t.host.emit(end)
	}()
	if b.Early {
		end.Refused = !write(b.Written, t.key, token)
	}
	timer := time.NewTimer(b.Take)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-whileHeeded(ctx, b.Heed):
	}
	if b.Written != "" && !b.Early {
		end.Refused = !write(b.Written, t.key, token)
	}
	end.Error, _ = kindOf(context.Cause(ctx))
	switch {
	case b.Panic != "":
		panic(b.Panic) //nolint:forbidigo // the callback does as it was told
	case b.Fail != "":
		return errors.New(b.Fail)
	case b.Heed:
		return context.Cause(ctx)
	default:
		return nil
	}
}

func whileHeeded(ctx context.Context, heed bool) <-chan struct{} {
	if heed {
		return ctx.Done()
	}
	return nil
}
