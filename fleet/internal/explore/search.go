package explore

// A Result is the result of a search.
type Result struct {
	States      int // how many states were visited
	Calm        int // how many more were visited once all was calm
	Transitions int
	Steps       [StepCount]int // how often each step was taken
	Breach      *Breach        // nil if every guarantee holds
}

// A Breach is a guarantee that does not hold.
type Breach struct {
	Guarantee string // I1 to I5, or another name from the package comment
	How       string
	Path      []Line // from the first state
}

// search is a search under way.
type search struct {
	m        *model
	keys     *keys
	seen     map[key]struct{}
	origins  []origin
	calm     map[key]int // states once all is calm: by which call of calmDown each was reached first
	calmRuns int         // how many calls of calmDown there were
	Result
}

// An origin records from which state a state was reached, and by which of its moves.
type origin struct{ from, move uint32 }

// A visit is a state to visit.
type visit struct {
	state *state
	index uint32 // in origins
}

// Search visits every state of c, or stops at the first breach. It searches breadth first, so
// that no breach has fewer steps than the one it finds.
func Search(c Configuration) Result {
	m := newModel(c)
	x := &search{m: m, keys: newKeys(m), seen: map[key]struct{}{}, calm: map[key]int{}}
	x.run()
	x.States, x.Calm = len(x.seen), len(x.calm)
	return x.Result
}

func (x *search) run() {
	var queue, next []visit
	s := x.m.start()
	x.seen[x.keys.of(s)] = struct{}{}
	x.origins = append(x.origins, origin{})
	next = append(next, visit{s, 0})
	list := moves{m: x.m}
	for len(next) > 0 {
		queue, next = next, queue[:0]
		for i := range queue {
			if next = x.visit(queue[i], &list, next); x.Breach != nil {
				return
			}
			queue[i].state = nil
		}
	}
}

// visit visits a state, and appends the new states that it leads to.
func (x *search) visit(v visit, list *moves, next []visit) []visit {
	if x.m.settled(v.state) {
		if b := x.calmDown(v.state, nil); b.guarantee != "" {
			x.Breach = x.calmBreach(v, b)
			return next
		}
	}
	for i, mv := range list.find(v.state) {
		x.Transitions++
		x.Steps[mv.step]++
		to, b := x.m.after(v.state, mv)
		if b.guarantee != "" {
			x.Breach = x.breach(v, mv, b)
			return next
		}
		k := x.keys.of(to)
		if _, seen := x.seen[k]; seen {
			continue
		}
		x.seen[k] = struct{}{}
		x.origins = append(x.origins, origin{v.index, uint32(i)})
		next = append(next, visit{to, uint32(len(x.origins) - 1)}) //nolint:gosec // as many states would fill any memory
	}
	return next
}
