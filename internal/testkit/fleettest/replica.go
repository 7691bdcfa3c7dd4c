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

	"go.uber.org/goleak"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
)

// The code in this file runs in a replica's process.

// replicaVariable names the environment variable that makes a process a replica.
const replicaVariable = "FLEETTEST_REPLICA"

// Main runs the tests of m, or turns the process into a replica if a scenario started it.
// Call it first in TestMain, and exit with code. The function open returns a new engine that
// uses the store, or a proxy in front of it, at addr. If the engine has a Close method, that
// method releases everything that open created.
func Main(m *testing.M, open func(addr string) (fleet.Engine, error)) (code int) {
	if os.Getenv(replicaVariable) == "" {
		return m.Run()
	}
	serve(os.Stdin, os.Stdout, open)
	return 0
}

// A host is a process with throttlers.
type host struct {
	open   func(string) (fleet.Engine, error)
	offset int64
	before goleak.Option // ignores the goroutines that were there at the start

	throttlers map[string]*hosted // only serve changes it
	crowds     map[string]*crowd  // and this

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
	behavior  atomic.Pointer[given]
}

// A given is a behavior of a throttler.
type given struct {
	behavior

	replaced chan struct{} // closed when the throttler gets another behavior
}

// A watched engine reports what the store granted and renewed.
type watched struct {
	fleet.Engine

	throttler *hosted
	guard     time.Duration
	lease     time.Duration

	registered atomic.Int64 // when the last claim for new calls was sent that the store answered
	reached    atomic.Bool  // the store has answered

	mu sync.Mutex // guards the fields below
	// The identifier of the last claim, and when it was first sent.
	// +checklocks:mu
	last string
	// +checklocks:mu
	sent int64
}

// Due implements [fleet.Engine].
func (w *watched) Due(ctx context.Context, held []string) (machine.Due, error) {
	due, err := w.Engine.Due(ctx, held)
	if err == nil {
		w.reached.Store(true)
	}
	return due, err
}

// Claim implements [fleet.Engine].
func (w *watched) Claim(ctx context.Context, key string, c machine.Claim) (machine.Reply, error) {
	sent := w.firstSent(c.ID)
	reply, err := w.Engine.Claim(ctx, key, c)
	if err != nil {
		return reply, err
	}
	granted := reply.Verdict == machine.Granted
	if granted || c.New || c.Age >= 0 {
		e := event{Kind: claimed, At: w.throttler.host.now(), Sent: sent}
		switch {
		case c.New:
			e.Call = e.At
		case c.Age >= 0: // the longer a claim takes, the later its call seems to be
			e.Call = e.At - c.Age.Microseconds()
		}
		if granted {
			e.Token, e.Start, e.Until = reply.Token, sent+w.guard.Microseconds(), w.leaseFrom(sent)
		}
		w.throttler.emit(e)
	}
	if c.New {
		w.registered.Store(sent)
	}
	return reply, nil
}

// firstSent returns when the claim with that identifier was first sent: now, unless it is sent
// again. A throttler has only one claim out at a time.
func (w *watched) firstSent(id string) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if id != w.last {
		w.last, w.sent = id, w.throttler.host.now()
	}
	return w.sent
}

// Renew implements [fleet.Engine].
func (w *watched) Renew(ctx context.Context, key string, token int64) (held bool, err error) {
	sent := w.throttler.host.now()
	held, err = w.Engine.Renew(ctx, key, token)
	if held && err == nil {
		w.throttler.emit(event{Kind: renewed, Sent: sent, Token: token, Until: w.leaseFrom(sent)})
	}
	return held, err
}

// leaseFrom returns the earliest end of a lease whose message was sent at an instant. The
// store's clock may be faster than this one, by one in a thousand.
func (w *watched) leaseFrom(sent int64) int64 {
	return sent + (w.lease - w.lease/1000).Microseconds()
}

// close releases what open created.
func (w *watched) close() { closeEngine(w.Engine) }

func closeEngine(e fleet.Engine) {
	switch e := e.(type) {
	case io.Closer:
		_ = e.Close() // it may have lost its connection
	case interface{ Close() }:
		e.Close()
	}
}

// serve obeys the commands in in, until actQuit or the end of in.
func serve(in io.Reader, out io.Writer, open func(string) (fleet.Engine, error)) {
	h := &host{
		open:       open,
		offset:     offset(),
		before:     goleak.IgnoreCurrent(),
		throttlers: make(map[string]*hosted),
		crowds:     make(map[string]*crowd),
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
	_ = h.out.Encode(e) // it fails if the test has ended, and then nobody reads it
}

// now returns the machine's monotonic clock.
func (h *host) now() int64 { return now() - h.offset }

// obey does what c says and answers, in the background if it takes time.
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
	case actGather:
		gathered, err := h.gather(*c.Options)
		if err != nil {
			answer.Error, answer.Text = other, err.Error()
		} else {
			h.crowds[c.Throttler] = gathered
		}
		h.emit(answer)
		return
	case actCallAll:
		h.callAll()
		h.emit(answer)
		return
	case actBehave, actCall, actRegister, actDo, actCancel, actStats, actShutdown, actClose, actQuit:
	}
	if crowd := h.crowds[c.Throttler]; crowd != nil {
		go func() {
			crowd.obey(c, &answer)
			h.emit(answer)
		}()
		return
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

// make creates a throttler with its own engine.
func (h *host) make(name string, o options) (*hosted, error) {
	opened, err := h.open(o.Address)
	if err != nil {
		return nil, err
	}
	t := &hosted{host: h, name: name, key: o.Key}
	t.engine = &watched{Engine: opened, throttler: t, guard: o.Guard, lease: o.Lease}
	t.behavior.Store(&given{o.Behavior, make(chan struct{})})
	policy := throttle.Policy{Interval: o.Interval, Quiet: o.Quiet, MaxWait: o.MaxWait, Retry: throttle.Backoff{Initial: o.Retry}}
	t.throttler, err = fleet.New(t.engine, o.Key, policy, t.run, o.asOptions(t.report)...)
	if err != nil {
		return nil, err
	}
	h.throttlers[name] = t
	return t, nil
}

// callAll calls all throttlers at the same time.
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

// quit closes all throttlers, and reports leaked goroutines.
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
	for _, crowd := range h.crowds {
		if err := crowd.close(ctx); err != nil {
			answer.Error, answer.Text = other, err.Error()
		}
	}
	var leak error
	if !eventually(func() bool { leak = goleak.Find(h.before); return leak == nil }) {
		answer.Left = []string{leak.Error()}
	}
	return answer
}

// emit sends an event about the throttler, at the present instant unless the event has one.
func (t *hosted) emit(e event) {
	e.Throttler, e.Key = t.name, t.key
	if e.At == 0 {
		e.At = t.host.now()
	}
	t.host.emit(e)
}

func (t *hosted) obey(c command, answer *event) error {
	switch c.Do {
	case actBehave:
		before := t.behavior.Swap(&given{*c.Behavior, make(chan struct{})})
		close(before.replaced)
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
	case actOpen, actGather, actCallAll, actQuit:
	}
	return nil
}

// register calls, and waits until the store knows about the call.
func (t *hosted) register(answer *event) error {
	answer.At = t.host.now()
	t.throttler.Call()
	if !eventually(func() bool { return t.engine.registered.Load() >= answer.At }) {
		return context.DeadlineExceeded
	}
	return nil
}

// report is the error handler.
func (t *hosted) report(err error) {
	e := event{Kind: reported, Text: err.Error()}
	e.Error, e.Token = kindOf(err)
	t.emit(e)
}

// run is the callback.
func (t *hosted) run(ctx context.Context) (err error) {
	at := t.host.now()
	token, _ := fleet.Token(ctx)
	b := t.behavior.Load()
	t.emit(event{Kind: started, At: at, Token: token})
	end := event{Kind: ended, Token: token}
	defer func() { t.emit(end) }() // even if it panics
	if b.Early {
		end.Refused = !write(b.Written, t.key, token)
	}
	b.wait(ctx)
	if b.Written != "" && !b.Early {
		end.Refused = !write(b.Written, t.key, token)
	}
	end.Error, _ = kindOf(context.Cause(ctx))
	switch {
	case b.Panic != "":
		panic(b.Panic) //nolint:forbidigo // the test wants this callback to panic
	case b.Fail != "":
		return errors.New(b.Fail)
	case b.Heed:
		return context.Cause(ctx)
	default:
		return nil
	}
}

// wait waits until the callback is to return.
func (g *given) wait(ctx context.Context) {
	var done, replaced <-chan struct{}
	var timeout <-chan time.Time
	if g.Heed {
		done = ctx.Done()
	}
	if g.Hold {
		replaced = g.replaced
	} else {
		timer := time.NewTimer(g.Take)
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case <-done:
	case <-replaced:
	case <-timeout:
	}
}
