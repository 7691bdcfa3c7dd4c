package measure

import "time"

// This file makes turns.

// Alternate calls ours and peer in turns for about as long as budget, and each of them at
// least so many turns; the one that was second comes first in the next turn.
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

// Fill returns the n with which do takes as long as turn, about. That a turn took
// long once proves nothing on a machine with other work: it would make
// turns so short that what surrounds the calls is all that counts.
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
