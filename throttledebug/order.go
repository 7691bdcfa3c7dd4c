package throttledebug

import (
	"cmp"
	"slices"
	"strings"
)

// compareNatural compares texts in natural order: item-2 comes before item-10.
func compareNatural(a, b string) int {
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		if !isDigit(a[i]) || !isDigit(b[j]) {
			if a[i] != b[j] {
				return cmp.Compare(a[i], b[j])
			}
			i, j = i+1, j+1
			continue
		}
		one, other := number(a[i:]), number(b[j:])
		i, j = i+len(one), j+len(other)
		if order := compareNumbers(one, other); order != 0 {
			return order
		}
	}
	// One is shorter, or they differ only in the zeros before their numbers.
	return cmp.Or(cmp.Compare(len(a)-i, len(b)-j), cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}

func isDigit(b byte) bool { return '0' <= b && b <= '9' }

// number returns the digits at the start of s.
func number(s string) string {
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	return s[:n]
}

// compareNumbers compares numbers of any length by their value.
func compareNumbers(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}

// isFailing reports whether the last run of t failed.
func isFailing(t Throttle) bool { return t.Failure != nil && !t.Failure.Recovered }

// sortCards puts failing throttles first. Each part is in the natural order of names, with
// unnamed throttles at its end.
func sortCards(cards []card) {
	last := func(late bool) int {
		if late {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(cards, func(a, b card) int {
		return cmp.Or(
			cmp.Compare(last(!a.Failing), last(!b.Failing)),
			cmp.Compare(last(a.Name == ""), last(b.Name == "")),
			compareNatural(a.Name, b.Name))
	})
}
