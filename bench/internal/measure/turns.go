package measure

import "time"

// Alternate calls ours and peer in turns, for about as long as budget and for at least
// the given number of turns each. They swap their order after each turn.
func Alternate(budget time.Duration, turns int, ours, peer func()) {
	end := time.Now().Add(budget)
	for turn := 0; turn < turns || time.Now().Before(end); turn++ {
		first, second := ours, peer
		if turn%2 == 1 {
			first, second = peer, ours
		}
		first()
		second()
	}
}

// Fill returns the n with which do takes about as long as turn. It repeats a long
// measurement, since other work on the machine can make one turn long by accident.
// The turns would then be so short that their overhead dominates.
func Fill(do func(n int) time.Duration, turn time.Duration) int {
	for n := 1; ; n *= 2 {
		took := do(n)
		for range 2 {
			if took >= turn/2 {
				took = min(took, do(n))
			}
		}
		if took >= turn/2 {
			return max(1, int(float64(n)*float64(turn)/float64(took)))
		}
	}
}
