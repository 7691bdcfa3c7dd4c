package interleaving

// The arithmetic of when a run is due is that of due.go in the root package, with the same
// names: in ticks, with a bucket of one token, spacing from start to start, a constant
// backoff, and neither MaxLoad nor Jitter, which change no order of steps.
//
// The search checks what follows from the order of steps. It believes this file about what is
// due, so it cannot see an error that this file shares with the root package. The model in
// internal/testkit/reference can, because it was written from the rules alone.

// A Policy is a throttle.Policy in ticks.
type Policy struct {
	Interval    int8
	Quiet       int8
	MaxWait     int8
	MaxInterval int8
	Retry       int8 // Retry.Initial; there is no Max and no MaxAttempts
	MaxCalls    uint8
	Edges       Edges // as throttle.Edges
}

// Edges is a throttle.Edges.
type Edges uint8

// The edges.
const (
	Leading Edges = 1 << iota
	Trailing
)

func (p *Policy) edges() Edges {
	switch {
	case p.Edges != 0:
		return p.Edges
	case p.Quiet > 0:
		return Trailing
	default:
		return Leading | Trailing
	}
}

// An instant is a time in ticks.
type instant int8

const (
	beginning instant = -128
	never     instant = 127
)

func (i instant) add(d int8) instant {
	switch {
	case i == beginning:
		return beginning
	case i > never-instant(d):
		return never
	default:
		return i + instant(d)
	}
}

// A phase is a part of a Throttler's life.
type phase uint8

const (
	open phase = iota
	draining
	closed
)

// A holder is what keeps the window closed beyond spacing.
type holder uint8

const (
	heldByNothing holder = iota
	heldByBackoff
	heldByCallback
)

// A cause says why a run starts.
type cause uint8

const (
	causeCall cause = iota
	causeRetry
	causeInterval
	causeFlush
)

// A history is what has happened. A bucket of one token needs no count: the last start says
// all. A constant backoff needs no count of failures.
type history struct {
	started   instant
	ended     instant
	hold      instant
	firstCall instant
	lastCall  instant
	deadline  instant
	heldBy    holder
	phase     phase
	callCount uint8
	pending   bool
	retry     bool
	flush     bool
}

func newHistory() history {
	return history{started: beginning, ended: beginning, hold: beginning, lastCall: beginning, deadline: never}
}

func (h *history) spacing(p *Policy) instant {
	if p.Interval == 0 {
		return beginning
	}
	return h.started.add(p.Interval)
}

func (h *history) held(p *Policy) instant {
	if h.heldBy == heldByNothing || h.heldBy == heldByBackoff && p.Retry == 0 {
		return beginning
	}
	return h.hold
}

func (h *history) permit(p *Policy) instant { return max(h.spacing(p), h.held(p)) }

func (h *history) opens(p *Policy) instant { return max(h.permit(p), h.lastCall.add(p.Quiet)) }

func (h *history) due(p *Policy) (instant, cause) {
	if h.flush {
		return h.deadline, causeFlush
	}
	at, why := never, causeCall
	permit := h.permit(p)
	if h.pending {
		at = max(permit, h.ready(p, permit))
	}
	if h.retry {
		if retry := max(permit, h.ended); retry < at {
			at, why = retry, causeRetry
		}
	}
	if p.MaxInterval > 0 && h.phase == open {
		if periodic := max(permit, max(h.started, 0).add(p.MaxInterval)); periodic < at {
			at, why = periodic, causeInterval
		}
	}
	return at, why
}

func (h *history) ready(p *Policy, permit instant) instant {
	switch {
	case p.Quiet > 0:
		quiet := h.lastCall.add(p.Quiet)
		if p.MaxWait > 0 {
			quiet = min(quiet, h.firstCall.add(p.MaxWait))
		}
		return min(quiet, h.deadline)
	case p.edges() == Trailing && h.firstCall >= permit:
		return min(h.firstCall.add(p.Interval), h.deadline)
	default:
		return h.firstCall
	}
}

// call records a call and reports whether a run will cover it.
func (h *history) call(p *Policy, now instant, within int8, active bool) bool {
	switch {
	case h.pending:
		if p.MaxCalls > 0 {
			h.callCount++
		}
		if p.Quiet > 0 {
			h.lastCall = now
		}
	case h.leads(p, now, active):
		within = 0
		fallthrough
	case p.edges()&Trailing != 0:
		h.pending = true
		h.firstCall, h.lastCall = now, now
		h.callCount = 1
	default:
		h.lastCall = now
		return false
	}
	h.hasten(now.add(within))
	h.hastenFull(p, now)
	return true
}

func (h *history) leads(p *Policy, now instant, active bool) bool {
	return p.edges()&Leading != 0 && !active && h.opens(p) <= now
}

func (h *history) hasten(at instant) { h.deadline = min(h.deadline, at) }

func (h *history) hastenFull(p *Policy, now instant) {
	if h.full(p) {
		h.hasten(now)
	}
}

func (h *history) full(p *Policy) bool { return p.MaxCalls > 0 && h.callCount >= p.MaxCalls }

func (h *history) flushNow(now instant) {
	if !h.flush {
		h.flush, h.deadline = true, now
	}
}

func (h *history) drop() {
	h.pending, h.flush, h.retry = false, false, false
	h.deadline = never
}

func (h *history) finish(p *Policy, ended instant, v Verdict, in int8, canceled bool) {
	h.retry = h.retries(p, v, canceled)
	h.ended = ended
	h.heldBy, h.hold = heldByNothing, beginning
	switch {
	case v == Again:
		h.heldBy, h.hold = heldByCallback, ended.add(in)
	case v == Failed && p.Retry > 0:
		h.heldBy, h.hold = heldByBackoff, ended.add(p.Retry)
	}
}

// retries reports whether the active run is repeated.
func (h *history) retries(p *Policy, v Verdict, canceled bool) bool {
	switch {
	case canceled || h.phase != open:
		return false
	case v == Again:
		return true
	default:
		return v == Failed && p.Retry > 0
	}
}

func (h *history) adopt(previous, next *Policy, now instant) {
	switch {
	case previous.Quiet > 0:
	case h.pending:
		h.lastCall = h.firstCall
	default:
		h.lastCall = beginning
	}
	if !h.pending {
		return
	}
	if previous.MaxCalls == 0 {
		h.callCount = 1
	}
	h.hastenFull(next, now)
}
