package interleaving

// A Replay plays whole operations one by one, to compare the model with the library. All that
// an operation starts comes to rest before the next one, except for callbacks, which return
// when Return is called.
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
	Paused  bool
	Next    int // when the next run is due, in ticks, or Never; a lower bound while a run is active or during a pause
	Entered int // how many callbacks have been entered
	Waiting int // how many methods have not returned
}

// Never is the time of a run that is not due.
const Never = -1

// NewReplay returns a Replay of a Throttler. c describes it, except for its scripts, which
// Begin writes.
func NewReplay(c Configuration) *Replay {
	c.Scripts = make([][]Op, maxProcesses)
	c.Failures = 1 // Return renews it
	m := newModel(c, NoFault)
	return &Replay{moves: moves{of: m}, at: m.first()}
}

// Begin begins op in an idle process, and reports false if none is idle.
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

// rest makes all moves that follow by themselves.
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

// Read returns what a user can see now.
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
		Paused:  s.paused,
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
