package throttle

import (
	"container/heap"
	"slices"
)

// A heapOf is a heap for container/heap whose elements know their index in it. Two
// exist: the runs that wait for a turn, and the idle keys of a shard.
type heapOf[E element[E]] []E

// An element is ordered by before. placed gives it its index whenever that changes.
type element[E any] interface {
	before(other E) bool
	placed(index int)
}

// notQueued is the index of an element that is in no heap.
const notQueued = -1

func (h *heapOf[E]) add(e E)          { heap.Push(h, e) }
func (h *heapOf[E]) remove(index int) { heap.Remove(h, index) }

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (h *heapOf[E]) Len() int           { return len(*h) }
func (h *heapOf[E]) Less(i, j int) bool { return (*h)[i].before((*h)[j]) }

func (h *heapOf[E]) Swap(i, j int) {
	s := *h
	s[i], s[j] = s[j], s[i]
	s[i].placed(i)
	s[j].placed(j)
}

func (h *heapOf[E]) Push(x any) {
	e := x.(E) //nolint:errcheck,forcetypeassert // see add
	e.placed(len(*h))
	*h = append(*h, e)
}

func (h *heapOf[E]) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	e.placed(notQueued)
	var none E
	(*h)[last] = none
	switch rest := (*h)[:last]; {
	case last == 0:
		*h = nil
	case last < cap(rest)/4: // give back memory that is no longer used
		*h = slices.Clone(rest)
	default:
		*h = rest
	}
	return e
}
