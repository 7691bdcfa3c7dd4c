package throttle_test

// This file turns bytes into a scenario: any bytes mean one, and most of them
// one in which rules meet.

import (
	"time"

	"github.com/throttle-go/throttle"
)

// A scenario is what the bytes mean.
type scenario struct {
	policy   throttle.Policy
	parent   bool // the throttler has a parent context
	counting bool // it counts calls
	ending   ending
	scripts  []modelScript // of the first runs; later ones return nil at once
	steps    []step
}

// script is what run number n does.
func (s *scenario) script(n int) modelScript {
	if n < len(s.scripts) {
		return s.scripts[n]
	}
	return modelScript{}
}

// A step is a wait and then an operation.
type step struct {
	wait   time.Duration
	aim    aim // what to wait for instead
	op     operation
	within time.Duration   // for CallWithin, and how long others wait: 0 is for ever
	late   bool            // the context has already ended
	policy throttle.Policy // for SetPolicy
}

// An operation is what a step does.
type operation int

const (
	opNothing operation = iota
	opCall
	opCallWithin
	opDo
	opFlush
	opCancel
	opSetPolicy
	opSetSamePolicy
	opClose
	opShutdown
	opEndParent
)

const operations = int(opEndParent) + 1 // how many there are

func (op operation) String() string {
	return [operations]string{
		"nothing", "Call", "CallWithin", "Do", "Flush", "Cancel", "SetPolicy", "SetPolicy(Policy())",
		"Close", "Shutdown", "the parent context ends",
	}[op]
}

// An aim is an instant that is more telling than a random one.
type aim int

const (
	aimNowhere aim = iota
	aimDue         // when the next run is due
	aimPermit      // when the window ends
	aimRunEnd      // when the active run ends
	aimQuiet       // when the last call is Quiet ago
)

const aims = int(aimQuiet) + 1

// An ending is how a scenario is left.
type ending int

const (
	endWithClose ending = iota
	endWithShutdown
	endIdle // drop what is pending and forget the throttler
)

const endings = int(endIdle) + 1

// A decoder reads bytes, and zeros once there are no more.
type decoder struct {
	data    []byte
	waiters int // with contexts that end, so far
}

func (d *decoder) byte() byte {
	if len(d.data) == 0 {
		return 0
	}
	b := d.data[0]
	d.data = d.data[1:]
	return b
}

func (d *decoder) pick(n int) int { return int(d.byte()) % n }

// seldom returns true once in n times, and not at the end of the data.
func (d *decoder) seldom(n int) bool { return d.pick(n) == n-1 }

// scenarioDurations are those in which rules meet: equal ones, doubles,
// neighbours, and both ends of the range.
var scenarioDurations = [...]time.Duration{
	10 * time.Millisecond, 25 * time.Millisecond, 100 * time.Millisecond, 0,
	time.Millisecond, 10 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
	20 * time.Millisecond, 25 * time.Millisecond, time.Second, 200 * time.Millisecond,
	10 * time.Millisecond, 100 * time.Millisecond, 1, modelNever,
}

func (d *decoder) duration() time.Duration {
	return scenarioDurations[d.pick(len(scenarioDurations))]
}

// short is a duration that a scenario can afford to wait.
func (d *decoder) short() time.Duration {
	return min(d.duration(), time.Second)
}

func (d *decoder) scenario() *scenario {
	s := &scenario{policy: d.policy(throttle.Policy{}, d.byte())}
	setup := d.byte()
	s.parent = setup&3 == 3
	s.counting = setup&4 != 0
	s.ending = ending(setup >> 3 % byte(endings))
	for range 4 + d.pick(8) {
		script := d.script()
		if s.parent && script.heedsContext {
			// A run that its parent's end stops and the throttler, which
			// learns of that end meanwhile, race for who is first.
			script.late = actNone
		}
		s.scripts = append(s.scripts, script)
	}
	policy := mendPolicy(s.policy)
	for len(d.data) > 0 && len(s.steps) < 100 {
		next := d.step()
		if next.op == opSetPolicy {
			next.policy = d.nextPolicy(s.policy, policy)
			if len(modelFaults(next.policy)) == 0 {
				policy = next.policy
			}
		}
		s.steps = append(s.steps, next)
	}
	return s
}

// nextPolicy goes back to the first policy or changes some of the last one.
func (d *decoder) nextPolicy(first, last throttle.Policy) throttle.Policy {
	if d.seldom(3) {
		return first
	}
	fields := d.byte()
	fields &= d.byte() // one in four
	return d.policy(last, fields)
}

// policy draws a new policy: some fields of an older one are drawn anew, or
// taken away. Most are then mended, so that they are valid.
func (d *decoder) policy(p throttle.Policy, fields byte) throttle.Policy {
	draw := func(bit int) bool { return fields>>bit&1 == 1 }
	if draw(0) {
		p.Interval = d.duration()
	}
	if draw(1) {
		p.Burst = d.pick(5)
	}
	if draw(2) {
		p.Quiet = d.duration()
		p.MaxWait = 0
		if draw(3) {
			p.MaxWait = d.duration()
		}
	}
	if draw(4) {
		p.Edges = throttle.Edges(d.pick(4))
		p.From = throttle.From(d.pick(2))
	}
	if draw(5) {
		p.Retry = d.backoff()
	}
	if draw(6) {
		p.MaxCalls = d.pick(5)
	}
	if draw(7) {
		p.MaxInterval = 0
		if d.seldom(2) {
			p.MaxInterval = d.duration()
		}
	}
	switch d.byte() % 32 {
	case 1:
		return p // as likely as not invalid
	case 2:
		return d.spoilPolicy(p)
	default:
		return mendPolicy(p)
	}
}

func (d *decoder) backoff() throttle.Backoff {
	shape := d.byte()
	if shape&3 == 3 {
		return throttle.Backoff{}
	}
	b := throttle.Backoff{Initial: d.duration(), Eager: shape&4 != 0}
	if shape&8 != 0 {
		b.Max = d.duration()
	}
	if shape&16 != 0 {
		b.MaxAttempts = d.pick(4)
	}
	return b
}

// spoilPolicy makes one field of a policy impossible.
func (d *decoder) spoilPolicy(p throttle.Policy) throttle.Policy {
	switch d.pick(8) {
	case 0:
		p.Interval = -1
	case 1:
		p.Burst = -1
	case 2:
		p.Quiet = -1
	case 3:
		p.MaxInterval = -1
	case 4:
		p.MaxCalls = -1
	case 5:
		p.Retry.Jitter = -0.5
	case 6:
		p.Edges = 4
	case 7:
		p.From = 2
	}
	return p
}

// mendPolicy takes away what a valid policy must not have, or changes it to
// the nearest that it may have.
func mendPolicy(p throttle.Policy) throttle.Policy {
	leadingOnly := p.Edges == throttle.Leading
	trailingOnly := p.Edges == throttle.Trailing || p.Edges == 0 && p.Quiet > 0
	if p.Quiet == 0 || leadingOnly {
		p.MaxWait = 0
	}
	if p.MaxWait > 0 {
		p.MaxWait = max(p.MaxWait, p.Quiet)
	}
	if p.MaxInterval > 0 {
		p.MaxInterval = max(p.MaxInterval, p.Interval)
	}
	if leadingOnly || p.Quiet == 0 && !trailingOnly {
		p.MaxCalls = 0
	}
	if p.Interval == 0 || p.From == throttle.FromEnd || trailingOnly && p.Quiet == 0 {
		p.Burst = min(p.Burst, 1)
	}
	if p.Retry.Initial == 0 {
		p.Retry = throttle.Backoff{}
	}
	if p.Retry.Max > 0 {
		p.Retry.Max = max(p.Retry.Max, p.Retry.Initial)
	}
	return p
}

func (d *decoder) script() modelScript {
	var s modelScript
	switch shape := d.byte(); shape % 4 {
	case 0: // returns at once
	default:
		s.length = d.short()
		s.heedsContext = shape&4 != 0
	}
	if shape := d.byte(); shape >= 112 {
		s.outcome = modelOutcome(shape % byte(outcomes))
		if shape < 176 {
			s.outcome = outcomeError
		}
	}
	if s.outcome.asksRetry() {
		s.retryIn = d.duration()
		if d.seldom(16) {
			s.retryIn = -s.retryIn
		}
	}
	switch shape := d.byte(); {
	case shape >= 240:
		s.early = modelAct(d.pick(acts))
	case shape >= 224:
		s.late = modelAct(d.pick(acts))
	case shape >= 208:
		s.late = actCall
	case shape >= 192:
		s.early = actCall
	}
	if s.early == actClose && !d.seldom(8) {
		s.early = actNone // a closed throttler has little to show
	}
	return s
}

// step reads a step. Many of the waits aim at an instant where something
// changes, or a nanosecond before it.
func (d *decoder) step() step {
	var s step
	switch shape := d.byte(); {
	case shape < 64:
	case shape < 160:
		s.wait = d.short()
	default:
		s.aim = aimDue + aim(int(shape)%(aims-1))
		if shape&8 != 0 {
			s.wait = -1
		}
	}
	switch shape := d.byte(); {
	case shape < 80:
		s.op = opCall
	case shape < 108:
		s.op = opCallWithin
		s.within = d.duration()
		if d.seldom(16) {
			s.within = -s.within
		}
	case shape < 140:
		s.op = opDo
		d.patience(&s)
	case shape < 160:
		s.op = opFlush
		d.patience(&s)
	case shape < 176:
		s.op = opCancel
	case shape < 212:
		s.op = opSetPolicy
	case shape < 220:
		s.op = opSetSamePolicy
	case shape < 249:
		s.op = opNothing
	case shape < 250:
		s.op = opClose
	case shape < 254:
		s.op = opShutdown
		d.patience(&s)
	default:
		s.op = opEndParent
	}
	return s
}

// patience draws how long someone is ready to wait. Each context ends at an
// instant of its own, where nothing else happens: whoever gets his answer when
// his context ends may see either.
func (d *decoder) patience(s *step) {
	switch shape := d.byte(); {
	case shape >= 248:
		s.late = true
	case shape >= 176:
		d.waiters++
		s.within = d.short() + time.Millisecond/2 + time.Duration(d.waiters)*time.Microsecond
	}
}
