package replica

import (
	"slices"
	"time"

	"github.com/throttle-go/throttle/fleet/machine"
)

// Clone returns a copy of r that shares no memory with r.
func (r *Replica) Clone() *Replica {
	c := *r
	c.registered = slices.Clone(r.registered)
	return &c
}

// A View is a snapshot of a Replica, for package explore: all of its fields except Rules,
// under the same names.
type View struct {
	Full bool

	Calls   uint64
	Pending bool
	Newest  time.Duration
	Dirty   bool
	Fresh   time.Duration
	Told    time.Duration

	Out       bool
	Claim     machine.Claim
	Sent      time.Duration
	SentCalls uint64
	Guard     time.Duration

	HoldUntil time.Duration
	PollAt    time.Duration
	Polling   bool
	Misses    int

	Phase    Phase
	Token    int64
	Failures int
	RenewAt  time.Duration
	LeaseEnd time.Duration
	Lost     bool
	Finish   machine.Finish

	Local     bool
	NotBefore time.Duration

	Seen     int64
	StoreNow machine.Time
	StoreAt  time.Duration

	Registered []Registration
}

// A Registration is a registration in a View.
type Registration struct {
	Through    uint64
	Generation int64
	First      time.Duration
}

// A Phase is the phase in a View.
type Phase = phase

// The phases.
const (
	Idle      = idle
	Granted   = granted
	Running   = running
	Finishing = finishing
)

// View returns a snapshot of r.
func (r *Replica) View() View {
	var registered []Registration
	for _, g := range r.registered {
		registered = append(registered, Registration{g.through, g.generation, g.first})
	}
	return View{
		Full:       r.Full,
		Calls:      r.calls,
		Pending:    r.pending,
		Newest:     r.newest,
		Dirty:      r.dirty,
		Fresh:      r.fresh,
		Told:       r.told,
		Out:        r.out,
		Claim:      r.claim,
		Sent:       r.sent,
		SentCalls:  r.sentCalls,
		Guard:      r.guard,
		HoldUntil:  r.holdUntil,
		PollAt:     r.pollAt,
		Polling:    r.polling,
		Misses:     r.misses,
		Phase:      r.phase,
		Token:      r.token,
		Failures:   r.failures,
		RenewAt:    r.renewAt,
		LeaseEnd:   r.leaseEnd,
		Lost:       r.lost,
		Finish:     r.finish,
		Local:      r.local,
		NotBefore:  r.notBefore,
		Seen:       r.seen,
		StoreNow:   r.storeNow,
		StoreAt:    r.storeAt,
		Registered: registered,
	}
}
