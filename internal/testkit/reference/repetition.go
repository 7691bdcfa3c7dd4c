package reference

import (
	"fmt"
	"time"

	"github.com/throttle-go/throttle"
)

// A repetition says when a run will be repeated, as things stand at its end: never if it
// will not be. The model knows only a range if Jitter was drawn, or if the parent's end
// stopped the run: the throttler may be open or closed at the run's end.
type repetition struct {
	run      int
	from, to time.Duration
}

// announce predicts Run.Retry of the run that ends now. The next run repeats it, whatever
// its cause.
func (m *model) announce(run *activeRun) {
	next := repetition{run.number, never, never}
	if run.races {
		next.from = m.now
	} else if from, to, ok := m.dueBetween(); ok && m.retry {
		next.from, next.to = max(from.at, m.now), max(to.at, m.now)
		m.fire(ruleAnnounced)
		if to.cause != throttle.CauseRetry {
			m.fire(ruleAnnouncesOther)
		}
	}
	m.repetitions = append(m.repetitions, next)
}

// announcedLocked notes Run.Retry of the run that has just ended.
//
// +checklocks:r.mu
func (r *rig) announcedLocked(run throttle.Run) {
	at := never
	if !run.Retry.IsZero() {
		at = run.Retry.Sub(r.made)
	}
	r.repeated = at
	r.repetitions = append(r.repetitions, repetition{r.ended - 1, at, at})
}

// compareRepetitionsLocked compares Run.Retry of all runs since the last comparison.
//
// +checklocks:r.mu
func (r *rig) compareRepetitionsLocked() {
	seen, expected := r.repetitions, r.model.repetitions
	r.repetitions, r.model.repetitions = nil, nil
	agree := len(seen) == len(expected)
	for i := 0; agree && i < len(seen); i++ {
		agree = seen[i].run == expected[i].run && seen[i].from >= expected[i].from && seen[i].to <= expected[i].to
	}
	if !agree {
		r.checkLocked(fmt.Sprintf("Run.Retry: the observer gets %v, the model expects %v", seen, expected))
	}
}

// checkRepeatedLocked checks a delay that Jitter has just shortened: Run.Retry and Stats
// tell the same. What was due before the run's end is repeated right after.
//
// +checklocks:r.mu
func (r *rig) checkRepeatedLocked(stats throttle.Stats, next time.Duration) {
	if r.repeated < never && !stats.Running && !stats.Closed && r.repeated != max(next, r.elapsed()) {
		r.checkLocked(fmt.Sprintf("Run.Retry is %v, but the next run is due at %v", r.repeated, next))
	}
}

func (r repetition) String() string {
	return fmt.Sprintf("run %d: from %s to %s", r.run, instantText(r.from), instantText(r.to))
}
