package reference

import (
	"time"

	"github.com/throttle-go/throttle"
)

// A Decoder turns bytes into scenarios: any bytes are one, and in most of them rules
// meet. When there are no more bytes, it reads zeros.
type Decoder struct{ data []byte }

// NewDecoder returns one that reads data.
func NewDecoder(data []byte) *Decoder { return &Decoder{data} }

// More reports whether there are bytes left.
func (d *Decoder) More() bool { return len(d.data) > 0 }

// Byte draws a byte.
func (d *Decoder) Byte() byte {
	if len(d.data) == 0 {
		return 0
	}
	b := d.data[0]
	d.data = d.data[1:]
	return b
}

// Pick draws a number from 0 to n-1.
func (d *Decoder) Pick(n int) int { return int(d.Byte()) % n }

// seldom returns true once in n times, and not at the end of the data.
func (d *Decoder) seldom(n int) bool { return d.Pick(n) == n-1 }

// durations returns durations that make rules meet: equal ones, doubles, neighbours, and
// both ends of the range. Those listed more than once are drawn more often.
func durations() []time.Duration {
	return []time.Duration{
		10 * time.Millisecond, 25 * time.Millisecond, 100 * time.Millisecond, 0,
		time.Millisecond, 10 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
		20 * time.Millisecond, 25 * time.Millisecond, time.Second, 200 * time.Millisecond,
		10 * time.Millisecond, 100 * time.Millisecond, 1, never,
	}
}

// maxLoads returns values of MaxLoad. With the least of them, a run that took any time is
// the last one.
func maxLoads() [16]float64 {
	return [16]float64{0, 0, 0, 0, 0, 0, 0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.1, 0.9, 1e-300}
}

// Duration draws one of the durations.
func (d *Decoder) Duration() time.Duration {
	durations := durations()
	return durations[d.Pick(len(durations))]
}

// Short draws a duration that a scenario can afford to wait.
func (d *Decoder) Short() time.Duration { return min(d.Duration(), longestWait) }

// Scenario draws a scenario from all the rest.
func (d *Decoder) Scenario() Scenario {
	s := Scenario{Policy: d.Policy(throttle.Policy{}, d.Byte())}
	setup := d.Byte()
	s.Parent = setup&3 == 3
	s.Counting = setup&4 != 0
	s.Paused = setup>>5&3 == 2
	s.Ending = Ending(setup >> 3 % byte(endings))
	failing := setup >= 192 // a delay doubles only with failures in a row
	if failing && len(faults(s.Policy)) == 0 {
		s.Policy.Retry = d.backoff()
		s.Policy = mend(s.Policy)
	}
	jittering := setup&56 == 56
	if jittering {
		s.Policy = d.jitter(s.Policy)
	}
	for range 4 + d.Pick(8) {
		script := d.Script()
		if failing && script.Outcome.Succeeds() {
			script.Outcome = OutcomeError
		}
		if jittering {
			script.Length = min(script.Length, shortRun)
		}
		s.addScript(script)
	}
	policy := mend(s.Policy)
	for d.More() && len(s.Steps) < 100 {
		next := d.step()
		if next.Op == OpSetPolicy {
			next.Policy = d.nextPolicy(s.Policy, policy)
			if jittering {
				next.Policy = d.jitter(next.Policy)
			}
			if len(faults(next.Policy)) == 0 {
				policy = next.Policy
			}
		}
		s.addStep(next)
		switch {
		case s.Paused && len(s.Steps) == 6:
			s.addStep(Step{Op: OpResume})
		case next.Op == OpShutdown && next.Within == 0: // it may still drain
			s.addStep(Step{Op: OpPause})
		}
	}
	return s
}

// nextPolicy returns the first policy, or changes some fields of the last one.
func (d *Decoder) nextPolicy(first, last throttle.Policy) throttle.Policy {
	if d.seldom(3) {
		return first
	}
	fields := d.Byte()
	fields &= d.Byte() // one in four
	return d.Policy(last, fields)
}

// Policy draws a new policy: it draws some fields of an older one anew, or clears them.
// Then it makes most policies valid.
func (d *Decoder) Policy(p throttle.Policy, fields byte) throttle.Policy {
	draw := func(bit int) bool { return fields>>bit&1 == 1 }
	if draw(0) {
		p.Interval = d.Duration()
	}
	if draw(1) {
		shape := d.Byte()
		p.Burst, p.MaxLoad = int(shape)%5, maxLoads()[shape>>4]
	}
	if draw(2) {
		p.Quiet = d.Duration()
		p.MaxWait = 0
		if draw(3) {
			p.MaxWait = d.Duration()
		}
	}
	if draw(4) {
		p.Edges = throttle.Edges(d.Pick(4))
		p.From = throttle.From(d.Pick(2))
	}
	if draw(5) {
		p.Retry = d.backoff()
	}
	if draw(6) {
		p.MaxCalls = d.Pick(5)
	}
	if draw(7) {
		p.MaxInterval = 0
		if d.seldom(2) {
			p.MaxInterval = d.Duration()
		}
	}
	switch d.Byte() % 32 {
	case 1:
		return p // as likely as not invalid
	case 2:
		return d.spoilPolicy(p)
	default:
		return mend(p)
	}
}

// shortRun is how long runs take at most if MaxInterval has Jitter: they end before the
// next run can be due, see jitter.go.
const shortRun = 5 * time.Millisecond

// jitter gives a valid policy a MaxInterval with Jitter, and takes the Jitter of retries
// away: the model can tell the effects of only one of them.
func (d *Decoder) jitter(p throttle.Policy) throttle.Policy {
	shape := d.Byte()
	if len(faults(p)) > 0 {
		return p
	}
	p.Retry.Jitter = 0
	if p.Interval > longestWait { // there is nothing to shorten
		return p
	}
	p.MaxInterval = [4]time.Duration{50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, time.Second}[shape&3]
	p.Jitter = [4]float64{0.5, 0.25, 1, 0}[shape>>2&3]
	p = mend(p)
	if earliest := drawPeriod(p).earliest; p.From != throttle.FromEnd && earliest <= shortRun {
		p.Jitter = 0.5
	}
	return p
}

func (d *Decoder) backoff() throttle.Backoff {
	shape := d.Byte()
	if shape&3 == 3 {
		return throttle.Backoff{}
	}
	b := throttle.Backoff{
		Initial: d.Duration(),
		Eager:   shape&4 != 0,
		Jitter:  [4]float64{0, 0, 0.5, 1}[shape>>5&3],
	}
	if shape&8 != 0 {
		b.Max = d.Duration()
	}
	if shape&16 != 0 {
		b.MaxAttempts = d.Pick(4)
	}
	return b
}

// spoilPolicy makes one field of a policy impossible.
func (d *Decoder) spoilPolicy(p throttle.Policy) throttle.Policy {
	spoilers := spoilers()
	spoilers[d.Pick(len(spoilers))](&p)
	return p
}

// Script draws what the callback does in a run.
func (d *Decoder) Script() Script {
	var s Script
	switch shape := d.Byte(); shape % 4 {
	case 0: // returns at once
	default:
		s.Length = d.Short()
		s.HeedsContext = shape&4 != 0
	}
	if shape := d.Byte(); shape >= 112 {
		s.Outcome = Outcome(shape % byte(outcomes))
		if shape < 176 {
			s.Outcome = OutcomeError
		}
	}
	if s.Outcome.AsksRetry() {
		s.RetryIn = d.Duration()
		if d.seldom(16) {
			s.RetryIn = -s.RetryIn
		}
	}
	switch shape := d.Byte(); {
	case shape >= 240:
		s.Early = Act(d.Pick(acts))
	case shape >= 224:
		s.Late = Act(d.Pick(acts))
	case shape >= 208:
		s.Late = ActCall
	case shape >= 192:
		s.Early = ActCall
	case shape >= 186:
		s.Late = ActPause
	}
	if s.Early == ActClose && !d.seldom(8) {
		s.Early = ActNone // a closed throttler has little to show
	}
	return s
}

// step reads a step. Many of the waits aim at an instant where something
// changes, or a nanosecond before it.
func (d *Decoder) step() Step {
	var s Step
	switch shape := d.Byte(); {
	case shape < 64:
	case shape < 160:
		s.Wait = d.Short()
	default:
		s.Aim = AimDue + Aim(int(shape)%(aims-1))
		if shape&8 != 0 {
			s.Wait = -1
		}
	}
	switch shape := d.Byte(); {
	case shape < 80:
		s.Op = OpCall
	case shape < 108:
		s.Op = OpCallWithin
		s.Within = d.Duration()
		if d.seldom(16) {
			s.Within = -s.Within
		}
	case shape < 140:
		s.Op = OpDo
		d.patience(&s)
	case shape < 160:
		s.Op = OpFlush
		d.patience(&s)
	case shape < 176:
		s.Op = OpCancel
	case shape < 212:
		s.Op = OpSetPolicy
	case shape < 220:
		s.Op = OpSetSamePolicy
	case shape < 224:
		s.Op = OpPause
	case shape < 240:
		s.Op = OpResume
	case shape < 244:
		s.Op = OpWait
		d.patience(&s)
	case shape < 249:
		s.Op = OpNothing
	case shape < 250:
		s.Op = OpClose
	case shape < 254:
		s.Op = OpShutdown
		d.patience(&s)
	default:
		s.Op = OpEndParent
	}
	return s
}

// patience draws how long a method waits before its context ends.
func (d *Decoder) patience(s *Step) {
	switch shape := d.Byte(); {
	case shape >= 248:
		s.Late = true
	case shape >= 176:
		s.Within = max(d.Short(), 1)
	}
}
