package explore

import "slices"

// This file holds what shows that a key leaves nothing out: two states with the same go on
// to the same.

// Alike visits every state of c as Search does, and compares each with the first that has
// its key: the moves from both must lead to states with the same keys, and break the
// same. It returns how many pairs it has compared, and the steps to a state that differs;
// nil if there is none.
func Alike(c Configuration) (pairs int, difference []Line) {
	m := newModel(c)
	x := &search{m: m, keys: newKeys(m), seen: map[key]struct{}{}, calm: map[key]int{}}
	next := map[key][]key{} // by the key of a state, those that its moves lead to
	queue := []visit{{m.start(), 0}}
	x.origins = append(x.origins, origin{})
	list := moves{m: m}
	for len(queue) > 0 {
		v := queue[0]
		queue = queue[1:]
		k := x.keys.of(v.state)
		ways, keys := x.ways(v, &list)
		before, seen := next[k]
		if !seen {
			next[k] = keys
			queue = append(queue, ways...)
			continue
		}
		pairs++
		if !slices.Equal(before, keys) {
			return pairs, x.path(v)
		}
	}
	return pairs, nil
}

// ways returns where the moves from a state lead, and the keys of that in order.
func (x *search) ways(v visit, list *moves) (to []visit, keys []key) {
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
