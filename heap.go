package throttle

import (
	"container/heap"
	"slices"
)

// This file holds what container/heap asks of a heap, once for both that there
// are: the runs that wait for a turn, and the keys that will be forgotten.

// A heap of elements that know where in it they are.
type heapOf[E element[E]] []E

// An element is ordered by before, and told each index it gets.
type element[E any] interface {
	before(other E) bool
	placed(index int)
}

// notQueued is the index of what is in no heap.
const notQueued = -1

func (h *heapOf[E]) add(e E)          { heap.Push(h, e) }
func (h *heapOf[E]) remove(index int) { heap.Remove(h, index) }

// Len implements heap.Interface, as do the next four.
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
	case last < cap(rest)/4: // what is not used any more is given back
		*h = slices.Clone(rest)
	default:
		*h = rest
	}
	return e
}
