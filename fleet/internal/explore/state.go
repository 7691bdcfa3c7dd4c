package explore

import (
	"slices"
	"time"

	"github.com/throttle-go/throttle/fleet/internal/replica"
	"github.com/throttle-go/throttle/fleet/machine"
)

const (
	maxReplicas = 3

	// beginning is the store's time at tick 0, in ticks. It is so late that every step back
	// leads to a positive time.
	beginning = 1000

	// nothing is no tick.
	nothing = -1
)

// A state is a state of the model: the store, the processes with their replicas, the messages
// on their way, and the ghost. Neighboring states share what they point to. Code that
// changes some of that copies it first, see process and storeToChange.
type state struct {
	now    int // ticks since the beginning
	offset int // of the store's clock

	store    *machine.State
	snapshot *machine.State // a rollback goes back to it; nil if none was taken
	copies   []*message     // copies that will arrive some time, in any order

	processes [maxReplicas]*process

	claims int // how many claims were sent; numbers their identifiers
	made   int // how many calls were made
	hints  int // how many hints were used
	faults [KindCount]int
	calm   bool // nothing goes wrong any more, and nobody calls

	ghost ghost
}

// A ghost contains what the guarantees need to know and no code knows. Calls are numbered from
// 1 in the order in which they are made. The repetition of a failed local run is a call, too.
type ghost struct {
	calls   int
	started int   // calls up to this one were made before a run started
	ended   int   // calls up to this one were made before a run started that has ended
	made    []int // when each call was made
	kept    int   // the newest call that the store knows of
	keptOld int   // the newest call that the snapshot knows of

	// Of the calls that the store believes to be pending, if there is a Quiet.
	told  int  // when the newest was made; nothing if there is none
	until int  // until when Quiet may postpone the run for the newest
	limit int  // until when MaxWait lets Quiet postpone it for the oldest
	taken bool // a grant has taken them all

	spacing  int // ticks of the store's clock until a grant may follow
	interval int // ticks until a run may start
	lost     int // how often the store has lost state or its clock stepped forward
	spent    int // how many early starts these have excused
	highest  int64
	runs     []run // in the order of their tokens
}

// A run is a grant whose callback was entered.
type run struct {
	token   int64
	covers  int // the last call made before the run started
	ended   bool
	outcome machine.Outcome
}

// A process is a replica and what drives it.
type process struct {
	life   life
	paused bool
	r      *replica.Replica
	view   *replica.View // of r; nil until look makes it

	main  *message // the claim or the finish that is out; nil if none is
	renew *message // the renewal that is out; nil if none is
	woken bool     // a run has ended in this tick, and the store has notified the process

	began   int  // when the callback was entered
	again   bool // the last run that ended asked for a retry
	local   localRun
	claimed int    // how many claims were sent in this tick
	policy  Policy // in force
	asked   Policy // in force when the last claim was sent

	// Ghosts.
	calls     []int // the numbers of its calls
	settled   int   // how many of them are settled
	last      int   // its newest call that was not canceled; 0 if there is none
	known     int   // its newest call of which a reply said that the store knows it
	interval  int   // ticks until a run may start here
	seenToken int64 // the highest token in the replies that it received
	denied    bool  // a reply said that the lease of its run has ended
}

// A life is the phase of a process.
type life uint8

const (
	gone life = iota
	open
	draining // Shutdown has begun
	closed
)

// A localRun is a run without a grant.
type localRun struct {
	at    localPhase
	since int
}

type localPhase uint8

const (
	noRun localPhase = iota
	planned
	entered
)

// A message is on its way, or its answer is. A message is immutable.
type message struct {
	kind   messageKind
	at     place
	slow   bool
	failed bool // an attempt has failed, or takes too long
	sent   int  // when it was first sent
	left   int  // when it was last sent
	came   int  // when it came to at

	claim  machine.Claim
	guard  int // of the claim
	finish machine.Finish
	token  int64 // to renew

	reply    machine.Reply
	finished machine.Finished
	held     bool // the answer to a renewal

	again bool // ghost: the finish asks for a retry

	// Ghosts of a claim.
	seenToken int64 // of its process when it was sent
	barred    bool  // no run could start when it was sent
	call      int   // the newest call that it covers; 0 if there is none
	oldest    int   // when the oldest call was made of which it tells the store
	applied   int   // when the store first saw it; nothing if it has not
}

type messageKind uint8

const (
	claiming messageKind = iota
	finishing
	renewing
)

// A place is where a message is.
type place uint8

const (
	toStore   place = iota
	toReplica       // the answer
	lost            // the message or its answer was lost
)

// A model is a configuration and values that follow from it.
type model struct {
	Configuration
	first   Policy
	longest int // the longest spacing, lease or delay of a retry
	far     int // instants that are longer ago than this have the same effect
}

func newModel(c Configuration) *model {
	if c.Tick == 0 {
		c.Tick = time.Millisecond
	}
	m := &model{Configuration: c, first: Policy{c.Interval, c.Guard}}
	m.longest = max(m.first.spacing(), c.Second.spacing(), c.Lease, c.Quiet+c.Slack, c.MaxWait)
	for _, delay := range c.Retries {
		m.longest = max(m.longest, delay)
	}
	m.far = 2*max(m.longest, c.Step) + 2*c.Slow + c.Run + 1
	return m
}

// start returns the state in which nothing has happened yet.
func (m *model) start() *state {
	s := &state{store: new(machine.State), ghost: ghost{told: nothing}}
	for i := range s.processes {
		s.processes[i] = new(process)
		if i < m.Replicas {
			m.join(s, i)
		}
	}
	return s
}

// at returns the instant of a tick on the replicas' clocks, or the length of so many ticks.
func (m *model) at(tick int) time.Duration { return time.Duration(tick) * m.Tick }

// ticks returns how many ticks d is.
func (m *model) ticks(d time.Duration) int { return int(d / m.Tick) }

// clock returns the store's time. A loss of state takes a microsecond, so that no two grants
// are in the same microsecond.
func (m *model) clock(s *state) machine.Time {
	return machine.Time(s.ghost.lost).Add(m.at(beginning + s.now + s.offset))
}

// mayFail returns how many faults may still happen.
func (m *model) mayFail(s *state) int {
	left := m.Faults
	for _, n := range s.faults {
		left -= n
	}
	return left
}

// may reports whether a fault of kind k may happen.
func (m *model) may(s *state, k Kind) bool { return m.mayFail(s) > 0 && s.faults[k] < m.Of[k] }

// process returns a copy of process i that may be changed, and puts it in s.
func (s *state) process(i int) *process {
	p := *s.processes[i]
	if p.r != nil {
		p.r, p.view = p.r.Clone(), nil
	}
	p.calls = slices.Clip(p.calls)
	s.processes[i] = &p
	return &p
}

// look returns a view of p's replica, which must not be changed after that.
func (p *process) look() *replica.View {
	if p.view == nil {
		v := p.r.View()
		p.view = &v
	}
	return p.view
}

// storeToChange returns a copy of the store's state that may be changed, and puts it in s.
func (s *state) storeToChange() *machine.State {
	c := *s.store
	c.IDs = slices.Clone(c.IDs)
	s.store = &c
	return s.store
}

// moved returns a copy of m that came to another place at now.
func (m *message) moved(to place, now int) *message {
	c := *m
	c.at, c.came = to, now
	return &c
}
