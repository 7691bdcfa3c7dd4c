package reference

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/throttle-go/throttle"
)

// A BatchReport is the result of PlayBatches.
type BatchReport struct {
	Failure string         // the first problem, with what has happened until then; empty if there is none
	Reached map[string]int // how often each of BatchFeatures was reached
}

// BatchFeatures returns what a script can reach.
func BatchFeatures() []string {
	return []string{
		"joined in a call", "joined after a failure", "left apart", "batch too full", "value too heavy", "given up", "fresh attempts",
		"unfinished", "unfinished of another type", "asked to run again", "refused", "waited for room", "left the queue",
		"came back without room", "batches canceled", "canceled during the run", "dropped while paused", "lost by Shutdown", "undecided",
	}
}

// PlayBatches plays what data says on a Coalescer, or on a KeyedCoalescer of some keys, in a
// bubble of fake time, and follows its batches in a model: a list of lists for each key. The
// model is told when runs start and end; it says which batch a run takes, whether a call
// finds room, what happens to a batch whose run has failed, and what Cancel returns. It
// fails t only if goroutines are left.
func PlayBatches(t *testing.T, data []byte) (report BatchReport) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		p := newBatchPlayer(NewDecoder(data))
		defer p.leaveNothingBehind()
		for step := 0; p.script.More() && step < 120 && p.ok() && !p.ending; step++ {
			p.step()
		}
		p.end()
		report = BatchReport{p.failure, p.reached}
	})
	return report
}

// A list is a batch in the model.
type list struct {
	values   []int
	calls    int // whose values it has, or had before Unfinished
	weight   int
	failures int  // of its own runs
	repeated bool // its run has failed, and no call has joined it since
}

// A keyOfLists is a key in the model.
type keyOfLists struct {
	waiting  []*list
	running  *list // nil if no run is active
	canceled bool  // the active run will not be repeated
}

// A batchForm is a KeyedCoalescer, or a Coalescer, which ignores the key.
type batchForm interface {
	Call(key, value int) error
	CallWithin(key, value int, d time.Duration) error
	Send(ctx context.Context, key, value int) error
	Do(ctx context.Context, key, value int) error
	Flush(ctx context.Context, key int) error
	Cancel(key int) (dropped [][]int)
	Remove(key int) (dropped [][]int)
	Pause()
	Resume()
	SetPolicy(p throttle.Policy) error
	Stats() throttle.Stats
	Close() error
	Shutdown(ctx context.Context) error
}

// An unkeyed is a Coalescer as a batchForm.
type unkeyed struct {
	*throttle.Coalescer[int, []int]
}

func (c unkeyed) Call(_, value int) error { return c.Coalescer.Call(value) }
func (c unkeyed) CallWithin(_, value int, d time.Duration) error {
	return c.Coalescer.CallWithin(value, d)
}

func (c unkeyed) Send(ctx context.Context, _, value int) error { return c.Coalescer.Send(ctx, value) }
func (c unkeyed) Do(ctx context.Context, _, value int) error   { return c.Coalescer.Do(ctx, value) }
func (c unkeyed) Flush(ctx context.Context, _ int) error       { return c.Coalescer.Flush(ctx) }
func (c unkeyed) Cancel(int) [][]int                           { return c.Coalescer.Cancel() }
func (c unkeyed) Remove(int) [][]int                           { return c.Coalescer.Cancel() }

// A batchPlayer plays one script.
type batchPlayer struct {
	script *Decoder
	begin  time.Time
	real   batchForm
	values *ValueLog
	users  sync.WaitGroup

	policy     throttle.Policy
	join       bool
	maxWeight  int // 0: none
	maxPending int // 0: none

	mu       sync.Mutex    // guards the fields below
	keys     []*keyOfLists // one for a Coalescer
	paused   bool
	ending   bool  // Shutdown or Close was called
	closed   bool  // Close was called, or Shutdown has returned
	queue    []int // values that wait for room
	accepted map[int]bool
	early    []int // accepted by the Coalescer, as Send says, but not yet by the model
	reached  map[string]int
	runs     int
	log      []string
	failure  string
}

// pick draws a number of milliseconds.
func (d *Decoder) pick(milliseconds ...int) time.Duration {
	return time.Duration(milliseconds[d.Pick(len(milliseconds))]) * time.Millisecond
}

// weightOf returns the weight of a value.
func weightOf(value int) int { return value % 4 }

// keyOf returns the key that a value is handed over for.
func (p *batchPlayer) keyOf(value int) int { return value % len(p.keys) }

// listsOf returns the lists that a value belongs to.
func (p *batchPlayer) listsOf(value int) *keyOfLists { return p.keys[p.keyOf(value)] }

func newBatchPlayer(script *Decoder) *batchPlayer {
	p := &batchPlayer{
		script: script, begin: time.Now(), values: NewValueLog(false), accepted: make(map[int]bool), reached: make(map[string]int),
		join: script.Pick(2) == 0, maxWeight: []int{0, 0, 2, 6}[script.Pick(4)], maxPending: []int{0, 1, 3, 5}[script.Pick(4)],
	}
	p.policy = throttle.Policy{
		Interval: script.pick(0, 0, 10, 50),
		Quiet:    script.pick(0, 0, 0, 30),
		MaxCalls: script.Pick(4),
		Retry: throttle.Backoff{
			Initial:     script.pick(0, 5, 20, 50),
			MaxAttempts: script.Pick(4), Eager: script.Pick(2) == 0,
		},
	}
	if p.policy.Retry.Initial == 0 {
		p.policy.Retry = throttle.Backoff{}
	}
	merger := throttle.Batch[int]()
	if p.join {
		merger.Join = func(older, newer []int) []int { return append(older, newer...) }
	}
	opts := []throttle.Option{throttle.WithObserver(p.observe), throttle.WithErrorHandler(p.values.Report)}
	if p.maxWeight > 0 {
		opts = append(opts, throttle.WithMaxWeight(p.maxWeight, weightOf))
	}
	if p.maxPending > 0 {
		opts = append(opts, throttle.WithMaxPending(p.maxPending))
	}
	p.keys = make([]*keyOfLists, 1+2*script.Pick(2))
	for key := range p.keys {
		p.keys[key] = new(keyOfLists)
	}
	if len(p.keys) > 1 {
		p.real = throttle.Must(throttle.NewKeyedCoalescer(p.policy, merger, p.callback, opts...))
		return p
	}
	p.real = unkeyed{throttle.Must(throttle.NewCoalescer(p.policy, merger, func(ctx context.Context, values []int) error {
		return p.callback(ctx, 0, values)
	}, opts...))}
	return p
}

func (p *batchPlayer) ok() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failure == ""
}

// sayLocked logs what happens.
func (p *batchPlayer) sayLocked(format string, args ...any) {
	p.log = append(p.log, fmt.Sprintf("%10v  ", time.Since(p.begin))+fmt.Sprintf(format, args...))
}

func (p *batchPlayer) failLocked(format string, args ...any) {
	p.sayLocked(format, args...)
	if p.failure == "" {
		p.failure = fmt.Sprintf("%v, join %t, max weight %d, max pending %d, keys %d\n%s",
			p.policy, p.join, p.maxWeight, p.maxPending, len(p.keys), strings.Join(p.log, "\n"))
	}
}

// step lets time pass, and then does something.
func (p *batchPlayer) step() {
	time.Sleep(p.script.pick(0, 0, 0, 1, 5, 10, 25, 60))
	synctest.Wait()
	p.act(p.script.Pick(32))
	synctest.Wait()
	p.compare()
}

func (p *batchPlayer) act(what int) {
	switch {
	case what < 14:
		p.call()
	case what < 18:
		p.send("Send", p.real.Send)
	case what < 21:
		p.send("Do", p.real.Do)
	case what < 23:
		key := p.pickKey()
		p.users.Go(func() { p.values.Report(p.real.Flush(context.Background(), key)) })
	case what < 24:
		p.cancel("Cancel", p.real.Cancel)
	case what < 25:
		p.cancel("Remove", p.real.Remove)
	case what < 27:
		p.setPolicy()
	case what < 28:
		p.pause()
	case what < 31:
		p.resume()
	default:
		if p.script.Pick(4) == 0 {
			p.finish()
		}
	}
}

func (p *batchPlayer) pickKey() int { return p.script.Pick(len(p.keys)) }

// pendingLocked returns how many batches wait, and how many calls' values.
func (p *batchPlayer) pendingLocked() (batches, calls int) {
	for _, k := range p.keys {
		batches += len(k.waiting)
		for _, l := range k.waiting {
			calls += l.calls
		}
	}
	return batches, calls
}

// isFullLocked reports whether one more value would exceed what may wait.
func (p *batchPlayer) isFullLocked() bool {
	_, calls := p.pendingLocked()
	return p.maxPending > 0 && calls >= p.maxPending
}

func (p *batchPlayer) fitsLocked(into *list, calls, weight int) bool {
	return (p.policy.MaxCalls == 0 || into.calls+calls <= p.policy.MaxCalls) &&
		(p.maxWeight == 0 || into.weight+weight <= p.maxWeight)
}

// hasRoomLocked reports whether a call finds room.
func (p *batchPlayer) hasRoomLocked() bool {
	return len(p.queue) == 0 && !p.isFullLocked()
}

// acceptLocked adds a value to the last batch of its key, or to a new one.
func (p *batchPlayer) acceptLocked(value int) {
	k := p.listsOf(value)
	p.accepted[value] = true
	weight := weightOf(value)
	if p.maxWeight > 0 && weight > p.maxWeight {
		p.reached["value too heavy"]++
	}
	if n := len(k.waiting); n > 0 {
		last := k.waiting[n-1]
		switch fits := p.fitsLocked(last, 1, weight); {
		case !fits:
			p.reached["batch too full"]++
		case !last.repeated || p.join:
			if last.repeated {
				p.reached["joined in a call"]++
				last.failures, last.repeated = 0, false
			}
			last.values, last.calls, last.weight = append(last.values, value), last.calls+1, last.weight+weight
			return
		}
	}
	k.waiting = append(k.waiting, &list{values: []int{value}, calls: 1, weight: weight})
}

// admitLocked lets those in who wait for room, the first first. At the end they are
// refused.
func (p *batchPlayer) admitLocked() {
	for !p.ending && len(p.queue) > 0 && !p.isFullLocked() {
		p.acceptLocked(p.queue[0])
		p.queue = p.queue[1:]
		p.reached["waited for room"]++
	}
}

func (p *batchPlayer) call() {
	value := p.values.Next()
	p.mu.Lock()
	var want error
	if p.hasRoomLocked() {
		p.acceptLocked(value)
	} else {
		want = throttle.ErrFull
		p.reached["refused"]++
	}
	p.sayLocked("Call(%d)", value)
	p.mu.Unlock()
	var err error
	if p.script.seldom(4) {
		err = p.real.CallWithin(p.keyOf(value), value, p.script.Short())
	} else {
		err = p.real.Call(p.keyOf(value), value)
	}
	if !errors.Is(err, want) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.failLocked("Call(%d) returns %v", value, err)
	}
	if err != nil {
		p.values.Refuse(value)
	}
}

// send calls Send or Do in a goroutine. Of several keys, whoever comes in when one key's run
// starts can make another key's run start at once, and the model cannot tell which of the
// two callbacks it hears first. So nobody waits for room then.
func (p *batchPlayer) send(name string, method func(ctx context.Context, key, value int) error) {
	p.mu.Lock()
	hasRoom := p.hasRoomLocked()
	if !hasRoom && len(p.keys) > 1 {
		p.mu.Unlock()
		return
	}
	value := p.values.Next()
	p.sayLocked("%s(%d)", name, value)
	if hasRoom {
		p.acceptLocked(value)
	} else {
		p.queue = append(p.queue, value)
	}
	p.mu.Unlock()
	limit := never
	if p.script.seldom(3) {
		limit = p.script.Short() + 333*time.Microsecond // no run starts or ends then
	}
	p.users.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		err := method(ctx, p.keyOf(value), value)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.sayLocked("%s(%d) returns %v", name, value, err)
		if i := slices.Index(p.queue, value); i >= 0 && !p.accepted[value] {
			if err == nil { // a run has started, but its callback has not said so yet
				p.early = append(p.early, value)
				return
			}
			if !errors.Is(err, context.DeadlineExceeded) && !(p.ending && errors.Is(err, throttle.ErrClosed)) {
				p.failLocked("but it has no room")
			}
			p.queue = slices.Delete(p.queue, i, i+1)
			p.reached["left the queue"]++
			p.values.Refuse(value)
			return
		}
		if name == "Send" && err != nil {
			p.failLocked("but it has room")
		}
		p.values.Report(err)
	})
}

// cancel cancels or removes a key, unless the model could not tell which of those who then
// find room are still in time for the run that starts at once.
func (p *batchPlayer) cancel(name string, method func(key int) (dropped [][]int)) {
	key := p.pickKey()
	k := p.keys[key]
	p.mu.Lock()
	if k.running == nil && len(p.queue) > 0 {
		p.mu.Unlock()
		return
	}
	var want [][]int
	for _, l := range k.waiting {
		want = append(want, l.values)
	}
	if len(want) > 1 {
		p.reached["batches canceled"]++
	}
	if k.running != nil {
		k.canceled = true
	}
	k.waiting = nil
	p.sayLocked("%s(%d)", name, key)
	p.admitLocked()
	p.mu.Unlock()
	got := method(key)
	p.values.Canceled(got)
	if !slices.EqualFunc(want, got, slices.Equal) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.failLocked("it returns %v, want %v", got, want)
	}
}

func (p *batchPlayer) setPolicy() {
	p.mu.Lock()
	p.policy.MaxCalls = p.script.Pick(4)
	policy := p.policy
	p.sayLocked("SetPolicy(%v)", policy)
	p.mu.Unlock()
	if err := p.real.SetPolicy(policy); err != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.failLocked("SetPolicy returns %v", err)
	}
}

func (p *batchPlayer) pause() {
	p.mu.Lock()
	p.paused = true
	p.sayLocked("Pause")
	p.mu.Unlock()
	p.real.Pause()
}

func (p *batchPlayer) resume() {
	p.mu.Lock()
	p.paused = false
	p.sayLocked("Resume")
	p.mu.Unlock()
	p.real.Resume()
}

// finish closes the Coalescer in some way.
func (p *batchPlayer) finish() {
	limit := p.script.pick(0, 0, 5, 30) + 777*time.Microsecond
	if p.script.Pick(2) == 0 {
		limit = never
	}
	p.mu.Lock()
	p.ending = true
	p.sayLocked("the end, within %v", limit)
	if p.paused {
		p.dropLocked("dropped while paused")
		for _, k := range p.keys {
			k.canceled = true
		}
	}
	p.mu.Unlock()
	p.users.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		err := p.real.Shutdown(ctx)
		p.values.Report(err)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.sayLocked("Shutdown returns %v", err)
		var undecided []int
		for _, lost := range LostErrors(err) {
			if errors.Is(lost, throttle.ErrUndecided) {
				p.reached["undecided"]++
				undecided = append(undecided, lost.Value.([]int)...) //nolint:errcheck,forcetypeassert // its type
			}
		}
		var want []int
		for _, k := range p.keys {
			if k.running != nil {
				want = append(want, k.running.values...)
			}
		}
		slices.Sort(undecided)
		slices.Sort(want)
		if !slices.Equal(undecided, want) {
			p.failLocked("undecided are %v, want %v", undecided, want)
		}
		p.dropLocked("lost by Shutdown")
		p.closed = true
	})
}

// dropLocked drops what waits.
func (p *batchPlayer) dropLocked(feature string) {
	for _, k := range p.keys {
		if len(k.waiting) > 0 {
			p.reached[feature]++
		}
		k.waiting = nil
	}
}

// callback is the real one.
func (p *batchPlayer) callback(_ context.Context, key int, values []int) error {
	k := p.keys[key]
	p.values.Taken(values)
	p.mu.Lock()
	p.runs++
	p.sayLocked("a run of key %d takes %v", key, values)
	switch {
	case k.running != nil:
		p.failLocked("another run is active")
	case len(k.waiting) == 0 || !slices.Equal(k.waiting[0].values, values):
		p.failLocked("that is not the oldest batch")
	default:
		k.running, k.canceled = k.waiting[0], false
		k.waiting = k.waiting[1:]
		if p.closed {
			p.failLocked("after the end")
		}
		p.admitLocked()
	}
	random := uint64(p.runs) * 0x9E3779B97F4A7C15 >> 32
	p.mu.Unlock()
	// Those who wait for room come in while the callback sleeps.
	time.Sleep(time.Duration(random%30)*time.Millisecond + time.Duration(1+random%997)*time.Microsecond)
	rest := slices.Clone(values[len(values)/2:])
	switch random / 64 % 12 {
	case 0, 1, 2:
		return errors.New("scripted")
	case 3:
		panic("scripted")
	case 4:
		runtime.Goexit()
	case 5:
		return throttle.RetryIn(5 * time.Millisecond)
	case 6:
		return p.unfinished(values, rest, errors.New("scripted"))
	case 7:
		return p.unfinished(values, rest, throttle.RetryIn(3*time.Millisecond))
	case 8:
		return throttle.Unfinished("rest", nil)
	}
	p.values.Delivered(values)
	return nil
}

func (p *batchPlayer) unfinished(values, rest []int, err error) error {
	p.values.Delivered(values[:len(values)-len(rest)])
	return throttle.Unfinished(rest, err)
}

// observe says what happens to the batch of a run that has ended.
func (p *batchPlayer) observe(run throttle.Run) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key, _ := run.Key.(int) // 0 for a Coalescer
	k := p.keys[key]
	l := k.running
	if l == nil {
		p.failLocked("a run ends that has not begun")
		return
	}
	p.sayLocked("the run of key %d ends: %v", key, run.Err)
	k.running = nil
	if run.Attempt != l.failures+1 {
		p.failLocked("it was attempt %d, want %d", run.Attempt, l.failures+1)
	}
	if run.Err == nil {
		return
	}
	again := run.Result == throttle.ResultRetryIn
	if again {
		p.reached["asked to run again"]++
	}
	switch text := run.Err.Error(); {
	case text == "throttle: unfinished":
		p.reached["unfinished of another type"]++
	case strings.HasPrefix(text, "throttle: unfinished"):
		p.reached["unfinished"]++
		l.values = slices.Clone(l.values[len(l.values)/2:])
	}
	retry := p.policy.Retry
	switch {
	case k.canceled:
		p.reached["canceled during the run"]++
	case p.ending:
	case again:
		p.keepLocked(k, l)
	case retry.Initial == 0:
	case retry.MaxAttempts > 0 && l.failures+1 >= retry.MaxAttempts:
		p.reached["given up"]++
	default:
		l.failures++
		p.keepLocked(k, l)
	}
}

// keepLocked makes l the first batch of k again.
func (p *batchPlayer) keepLocked(k *keyOfLists, l *list) {
	if p.isFullLocked() {
		p.reached["came back without room"]++
	}
	l.repeated = true
	k.waiting = slices.Insert(k.waiting, 0, l)
	if len(k.waiting) == 1 {
		return
	}
	next := k.waiting[1]
	switch {
	case !p.join:
	case !p.fitsLocked(l, next.calls, next.weight):
		p.reached["left apart"]++
	default:
		p.reached["joined after a failure"]++
		l.values, l.calls, l.weight = append(l.values, next.values...), l.calls+next.calls, l.weight+next.weight
		if l.failures > 0 {
			p.reached["fresh attempts"]++
		}
		l.failures, l.repeated = 0, false
		k.waiting = slices.Delete(k.waiting, 1, 2)
	}
}

// compare compares the model with Stats.
func (p *batchPlayer) compare() {
	stats, problem := p.real.Stats(), p.values.Problem()
	p.mu.Lock()
	defer p.mu.Unlock()
	if batches, calls := p.pendingLocked(); stats.Batches != batches || stats.Values != calls {
		p.failLocked("%d batches with %d calls wait, want %d with %d", stats.Batches, stats.Values, batches, calls)
	}
	for _, value := range p.early {
		if !p.accepted[value] {
			p.failLocked("Send(%d) returned, but it has no room", value)
		}
	}
	p.early = nil
	if problem != "" {
		p.failLocked("%s", problem)
	}
}

// end ends the script, and checks that each value had one fate.
func (p *batchPlayer) end() {
	if !p.ending {
		p.finish()
	}
	p.users.Wait()
	for synctest.Wait(); p.real.Stats().Running; synctest.Wait() {
		time.Sleep(time.Second)
	}
	p.compare()
	p.values.Finish()
	if problem := p.values.Problem(); problem != "" {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.failLocked("%s", problem)
	}
}

// leaveNothingBehind lets a script end without a deadlock even if it failed.
func (p *batchPlayer) leaveNothingBehind() {
	_ = p.real.Close()
	p.users.Wait()
	for synctest.Wait(); p.real.Stats().Running; synctest.Wait() {
		time.Sleep(time.Second)
	}
}
