package explore

import (
	"slices"
	"time"

	"github.com/throttle-go/throttle/fleet/internal/replica"
	"github.com/throttle-go/throttle/fleet/machine"
)

// This file holds the state of the model: the store, the processes with their
// replicas, the messages on their way, and what the guarantees are judged by.

const (
	maxReplicas = 3

	// beginning is the store's time at tick 0, in ticks: late enough for every step
	// back.
	beginning = 1000

	// nothing is no tick.
	nothing = -1
)

// A state shares what it points to with the states around it. Who changes some of that
// takes a copy first: see process and storeToChange.
type state struct {
	now    int // ticks since the beginning
	offset int // of the store's clock

	store    *machine.State
	snapshot *machine.State // what a rollback goes back to; nil if none was taken
	copies   []*message     // that will arrive some time, in any order

	processes [maxReplicas]*process

	claims int // that were sent, for their identifiers
	made   int // calls
	hints  int // that were taken
	faults [KindCount]int
	calm   bool // nothing goes wrong any more, and nobody calls

	ghost ghost
}

// A ghost is what no code knows but the guarantees speak of. Calls are numbered as
// they are made, from 1, and those are calls too by which failed runs without a grant
// are repeated.
type ghost struct {
	calls   int
	started int // calls up to this one were made before a run started
	ended   int // calls up to this one were made before a run started that has ended
	kept    int // the newest call that the store knows of
	keptOld int // the same of the snapshot

	spacing  int // ticks of the store's clock until a grant may follow
	interval int // ticks until a run may start
	lost     int // how often the store has lost state, or was stepped forward
	spent    int // how many starts too early that has excused
	highest  int64
	runs     []run // in the order of their tokens
}

// A run is what became of a grant whose callback was entered.
type run struct {
	token   int64
	covers  int // the last call made before
	ended   bool
	outcome machine.Outcome
}

// A process is a replica and what drives it.
type process struct {
	life   life
	paused bool
	r      *replica.Replica
	view   *replica.View // of r; nil if it was not asked for

	main  *message // the claim or the finish that is out; nil if none is
	renew *message
	woken bool // somebody's run has ended in this tick, and that was heard here

	began   int  // when the callback was entered
	again   bool // the last run that has ended asked for a retry
	local   localRun
	claimed int    // claims sent in this tick
	policy  Policy // in force
	asked   Policy // that of the last claim

	// Ghosts.
	calls    []int // the numbers of its calls
	settled  int   // how many of them are
	last     int   // its newest call that was not cancelled; 0 if there is none
	interval int   // ticks until a run may start here
	told     int64 // the highest token that it was told of
	denied   bool  // it was told that the lease of its run is over
}

// A life is a phase of a process.
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

// A message is on its way, or its answer is. It does not change.
type message struct {
	kind messageKind
	at   place
	slow bool
	vain bool // an attempt has failed, or takes too long
	sent int  // for the first time
	left int  // for the last time
	came int  // to at

	claim  machine.Claim
	guard  int // of the claim
	finish machine.Finish
	token  int64 // to be renewed

	reply    machine.Reply
	finished machine.Finished
	held     bool

	again bool // ghost: a finish asks for a retry

	// Ghosts of a claim.
	told    int64 // that of its process, when it was sent
	barred  bool  // a run could not start when it was sent
	call    int   // the newest call that it speaks for; 0 if there is none
	applied int   // when the store has seen it for the first time; nothing if it has not
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
	lost            // one of the two was lost
)

// A model is a configuration and what follows from it.
type model struct {
	Configuration
	first   Policy
	longest int // spacing, lease or delay of a retry
	far     int // what is longer ago is as long ago as can be told
}

func newModel(c Configuration) *model {
	if c.Tick == 0 {
		c.Tick = time.Millisecond
	}
	m := &model{Configuration: c, first: Policy{c.Interval, c.Guard}}
	m.longest = max(m.first.spacing(), c.Second.spacing(), c.Lease)
	for _, delay := range c.Retries {
		m.longest = max(m.longest, delay)
	}
	m.far = 2*max(m.longest, c.Step) + 2*c.Slow + c.Run + 1
	return m
}

// start returns the state in which nothing has happened yet.
func (m *model) start() *state {
	s := &state{store: new(machine.State)}
	for i := range s.processes {
		s.processes[i] = new(process)
		if i < m.Replicas {
			m.join(s, i)
		}
	}
	return s
}

// at returns the instant of a tick on the clocks of replicas, or how long so many are.
func (m *model) at(tick int) time.Duration { return time.Duration(tick) * m.Tick }

// ticks returns how many ticks d is.
func (m *model) ticks(d time.Duration) int { return int(d / m.Tick) }

// clock returns the store's time. To lose state takes the store a microsecond: no two
// grants are in the same one.
func (m *model) clock(s *state) machine.Time {
	return machine.Time(s.ghost.lost).Add(m.at(beginning + s.now + s.offset))
}

// mayFail reports how many faults may still happen.
func (m *model) mayFail(s *state) int {
	left := m.Faults
	for _, n := range s.faults {
		left -= n
	}
	return left
}

// may reports whether a fault of kind k may happen.
func (m *model) may(s *state, k Kind) bool { return m.mayFail(s) > 0 && s.faults[k] < m.Of[k] }

// process returns process i, to be changed.
func (s *state) process(i int) *process {
	p := *s.processes[i]
	if p.r != nil {
		p.r, p.view = p.r.Clone(), nil
	}
	p.calls = slices.Clip(p.calls)
	s.processes[i] = &p
	return &p
}

// look returns what p's replica is. It must not be changed after that.
func (p *process) look() *replica.View {
	if p.view == nil {
		v := p.r.View()
		p.view = &v
	}
	return p.view
}

// storeToChange returns the store's state, to be changed.
func (s *state) storeToChange() *machine.State {
	c := *s.store
	c.IDs = slices.Clone(c.IDs)
	s.store = &c
	return s.store
}

// moved returns m at another place, to which it came at now.
func (m *message) moved(to place, now int) *message {
	c := *m
	c.at, c.came = to, now
	return &c
}
