package interleaving

import (
	"hash/maphash"
	"slices"
)

// A Result is what a search has found.
type Result struct {
	States      int
	Transitions int
	Steps       [StepCount]int  // how often each step was taken
	Names       map[string]bool // the states of lock.go's diagram that were visited
	Words       map[string]bool // the kinds of words that were published
	Breach      *Breach         // nil if every guarantee holds
}

// A Breach is a guarantee that does not hold.
type Breach struct {
	Guarantee string // G1 to G7, or another promise
	How       string
	Path      []Line // from the first state
}

// Search visits every state of c under f, or stops at the first breach. It goes breadth first,
// so that this breach has as few steps as possible.
func Search(c Configuration, f Fault) Result {
	m := newModel(c, f)
	x := moves{of: m}
	seen := newVisited()
	result := Result{Names: map[string]bool{}, Words: map[string]bool{}}
	seen.add(m.first(), 0)
	for at := 0; at < seen.count && result.Breach == nil; at++ {
		from := *seen.state(at)
		result.look(&from)
		result.Breach = result.follow(x.find(&from), seen, at)
		if len(x.list) == 0 {
			result.Breach = m.ended(from, seen, at)
		}
	}
	result.States = seen.count
	return result
}

// follow makes the moves from the state of the given index.
func (r *Result) follow(list []move, seen *visited, at int) *Breach {
	for i := range list {
		next := &list[i]
		next.checkState()
		if next.guarantee != "" {
			return &Breach{next.guarantee, next.how, append(seen.path(next.model, at), next.line())}
		}
		r.Transitions++
		r.Steps[next.step]++
		next.unify(&next.state)
		seen.add(next.state, at)
	}
	return nil
}

// ended checks the state of the given index, which has no moves.
func (m *model) ended(s state, seen *visited, at int) *Breach {
	last := move{model: m, state: s}
	last.checkEnd()
	if last.guarantee == "" {
		return nil
	}
	return &Breach{last.guarantee, last.how, seen.path(m, at)}
}

// look notes the names of s and of its word.
func (r *Result) look(s *state) {
	if !s.settled() {
		return
	}
	r.Names[s.name()] = true
	r.Words[s.word.kindName()] = true
}

// unify makes states equal if their differences decide nothing: the order of processes with
// the same script, the times of calls if no policy needs them, and the details of calls that
// are no longer pending.
func (m *model) unify(s *state) {
	if !s.history.pending {
		s.history.firstCall, s.history.callCount = 0, 0
	}
	if !m.quiet {
		s.history.lastCall, s.ghost.last = beginning, beginning
	}
	for _, alike := range m.ranges {
		group := s.processes[alike[0]:alike[1]]
		if len(group) > 1 {
			slices.SortFunc(group, func(a, b process) int { return a.compare(&b) })
		}
	}
}

// visited holds the visited states, each with the state before it on its path. It is a hash
// table of indices, because a map would hold every state a second time.
type visited struct {
	seed    maphash.Seed
	count   int
	chunks  [][]state // of chunkSize states: a growing slice would hold all states twice for a while
	parents []uint32
	slots   []uint32 // an index plus 1, or 0 if the slot is free
}

const chunkSize = 1 << 14

func newVisited() *visited {
	return &visited{seed: maphash.MakeSeed(), slots: make([]uint32, 2*chunkSize)}
}

// state returns the state of the given index.
func (v *visited) state(index int) *state { return &v.chunks[index/chunkSize][index%chunkSize] }

// add adds s, reached from the state of the given index, unless it is there.
func (v *visited) add(s state, parent int) {
	slot := v.slot(&s)
	if v.slots[slot] != 0 {
		return
	}
	if v.count%chunkSize == 0 {
		v.chunks = append(v.chunks, make([]state, chunkSize))
	}
	*v.state(v.count) = s
	v.count++
	v.parents = append(v.parents, uint32(parent)) //nolint:gosec // as many states would fill any memory
	v.slots[slot] = uint32(v.count)               //nolint:gosec // as above
	if v.count > len(v.slots)/2 {
		v.grow()
	}
}

// slot returns the slot of s, or the free one where it belongs.
func (v *visited) slot(s *state) uint64 {
	mask := uint64(len(v.slots) - 1) //nolint:gosec // there are some
	slot := maphash.Comparable(v.seed, *s) & mask
	for v.slots[slot] != 0 && *v.state(int(v.slots[slot] - 1)) != *s {
		slot = (slot + 1) & mask
	}
	return slot
}

// grow doubles the table. Its length stays a power of two.
func (v *visited) grow() {
	v.slots = make([]uint32, 2*len(v.slots))
	for i := range v.count {
		v.slots[v.slot(v.state(i))] = uint32(i) + 1
	}
}
