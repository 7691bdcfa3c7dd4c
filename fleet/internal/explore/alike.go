package explore

import "slices"

// Alike checks that keys leave nothing out. It visits every state of c as Search does, and
// compares each with the first state that has the same key: the moves from both must lead to
// states with the same keys, and must agree on whether they break a guarantee. It returns
// how many pairs of states it has compared, and the steps to a state that differs, or nil.
func Alike(c Configuration) (pairs int, difference []Line) {
	m := newModel(c)
	x := &search{m: m, keys: newKeys(m), seen: map[key]struct{}{}, calm: map[key]int{}}
	next := map[key][]key{} // by the key of a state, the keys that its moves lead to
	queue := []visit{{m.start(), 0}}
	x.origins = append(x.origins, origin{})
	list := moves{m: m}
	for len(queue) > 0 {
		v := queue[0]
		queue = queue[1:]
		k := x.keys.of(v.state)
		successors, keys := x.successors(v, &list)
		before, seen := next[k]
		if !seen {
			next[k] = keys
			queue = append(queue, successors...)
			continue
		}
		pairs++
		if !slices.Equal(before, keys) {
			return pairs, x.path(v)
		}
	}
	return pairs, nil
}

// successors returns the states that the moves from v lead to, and their keys in order.
func (x *search) successors(v visit, list *moves) (to []visit, keys []key) {
	for i, mv := range list.find(v.state) {
		s, b := x.m.after(v.state, mv)
		k := x.keys.of(s)
		if b.guarantee != "" {
			k[0]++
		}
		keys = append(keys, k)
		x.origins = append(x.origins, origin{v.index, uint32(i)})
		to = append(to, visit{s, uint32(len(x.origins) - 1)}) //nolint:gosec // as many states would fill any memory
	}
	slices.SortFunc(keys, func(a, b key) int { return slices.Compare(a[:], b[:]) })
	return to, slices.Compact(keys)
}
