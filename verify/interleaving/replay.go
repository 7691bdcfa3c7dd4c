package interleaving

// This file holds how a path of whole operations is played, to compare the model
// with the library itself.

// A Replay plays events one by one. All that an event sets going comes to rest
// before the next, but for callbacks, which return when they are told to.
type Replay struct {
	moves   moves
	at      state
	entered int
}

// A Reading is what a user can see of a Throttler.
type Reading struct {
	Pending bool
	Running bool
	Closed  bool
	Next    int // when the next run is due, in ticks; a lower bound while a run is active; Never if none is
	Entered int // how many callbacks have been entered
	Waiting int // how many methods have not returned
}

// Never is the time of what is not due.
const Never = -1

// NewReplay returns a Replay of a Throttler of which c tells everything but the
// scripts.
func NewReplay(c Configuration) *Replay {
	c.Scripts = make([][]Op, maxProcesses)
	c.Failures = 1 // is renewed by Return
	m := newModel(c, NoFault)
	return &Replay{moves: moves{of: m}, at: m.first()}
}

// Begin begins op in a process that has nothing else to do, and reports false if
// there is none.
func (r *Replay) Begin(op Op) bool {
	for i := range r.at.processes {
		script := &r.moves.of.Scripts[i]
		if int(r.at.processes[i].next) == len(*script) {
			*script = append(*script, op)
			r.rest()
			return true
		}
	}
	return false
}

// Tick lets a tick pass.
func (r *Replay) Tick() {
	r.at.clock++
	r.rest()
}

// Return makes the callback return, and reports false if none is active.
func (r *Replay) Return(v Verdict) bool {
	if r.at.run.at != inside {
		return false
	}
	last := move{model: r.moves.of, state: r.at}
	last.decide(v)
	r.at = last.state
	r.at.failures = 1
	r.rest()
	return true
}

// rest makes all moves but those that are events.
func (r *Replay) rest() {
	for {
		next := r.next()
		if next == nil {
			return
		}
		if next.step == Enter {
			r.entered++
		}
		r.at = next.state
	}
}

func (r *Replay) next() *move {
	list := r.moves.find(&r.at)
	for i := range list {
		if step := list[i].step; step != Decide && step != Tick && step != Advance && step != GiveUp {
			return &list[i]
		}
	}
	return nil
}

// Read returns what can be seen.
func (r *Replay) Read() Reading {
	s := r.at
	s.absorb()
	h := s.history
	if s.run.at != noRun {
		h.ended = s.clock // as if the run ended now
	}
	due, _ := h.due(&r.moves.of.Policies[s.policy])
	reading := Reading{
		Pending: s.outstanding(),
		Running: s.run.at != noRun,
		Closed:  h.phase != open,
		Next:    Never,
		Entered: r.entered,
	}
	if due != never {
		reading.Next = int(due)
	}
	for i := range s.processes {
		if s.processes[i].awaits != noBatch {
			reading.Waiting++
		}
	}
	return reading
}
