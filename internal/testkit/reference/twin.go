package reference

import (
	"context"
	"errors"
	"time"

	"github.com/throttle-go/throttle"
)

// A twin is a key, and the Throttler that must do the same. Remove makes it a new one.
//
// If a run is active at Remove, the old Throttler lives until that run is over, and starts
// no other. A call meanwhile makes the new one, which is paused until then. It has no
// leading edge before, because a call during a run is not on the leading edge. If the
// policy has no trailing edge either, the old Throttler drops the call.
type twin struct {
	player  *groupPlayer
	key     int
	scripts []Script // of the first runs; later ones return nil at once

	// Guarded by the player's mu.
	throttler *throttle.Throttler // nil until the key is called
	removed   *throttle.Throttler // the old one, while its run is active
	held      bool                // the Group held the key when last looked at
	forgotten bool                // the Group has forgotten the key since the twin was made
	runs      [2]int              // started, by form
	instants  [4]time.Duration    // when something last happened to the twin: see the constants
}

// Instants of a twin that a script may wait from.
const (
	atFirstCall = iota // after the Group had forgotten the key
	atCall
	atStart
	atEnd
)

// called returns the Throttler that is about to be called.
func (tw *twin) called() *throttle.Throttler {
	p := tw.player
	p.mu.Lock()
	defer p.mu.Unlock()
	tw.instants[atCall] = p.now()
	if tw.removed != nil {
		p.reached[calledAfterRemove]++
		if tw.throttler == nil && p.policy.Edges == throttle.Leading {
			return tw.removed
		}
	}
	if tw.throttler == nil {
		tw.buildLocked()
	}
	return tw.throttler
}

// buildLocked makes a new Throttler. It needs the player's mu.
func (tw *twin) buildLocked() {
	p := tw.player
	policy := p.policy
	if tw.removed != nil {
		policy = trailing(policy)
	}
	var t *throttle.Throttler
	options := append(p.options(), throttle.WithErrorHandler(func(err error) { p.handle(ofTwin, tw.key, err) }),
		throttle.WithObserver(func(run throttle.Run) {
			p.observe(ofTwin, run)
			tw.over(t)
		}))
	if p.paused || tw.removed != nil {
		options = append(options, throttle.WithPaused())
	}
	t = throttle.Must(throttle.New(policy, func() error { return p.run(ofTwin, tw, tw.act) }, options...))
	tw.throttler = t
}

// trailing returns p without its leading edge.
func trailing(p throttle.Policy) throttle.Policy {
	p.Edges = throttle.Trailing
	return mend(p)
}

// act is what the callback does to its own key.
func (tw *twin) act(act Act) {
	if removes(act) {
		tw.remove()
	} else {
		tw.called().Call()
	}
}

// over is called when a run of t is over.
func (tw *twin) over(t *throttle.Throttler) {
	p := tw.player
	p.mu.Lock()
	defer p.mu.Unlock()
	if t != tw.removed {
		return
	}
	p.retireLocked(t)
	tw.removed = nil
	if tw.throttler == nil {
		return
	}
	if err := tw.throttler.SetPolicy(p.policy); err != nil {
		p.writeLocked(ofTwin, "SetPolicy: %v", err)
	}
	if !p.paused {
		tw.throttler.Resume()
	}
}

// remove forgets what the key was, and returns whether the Group held it.
func (tw *twin) remove() bool {
	p := tw.player
	p.mu.Lock()
	defer p.mu.Unlock()
	switch t := tw.throttler; {
	case tw.removed != nil:
		tw.cancelLocked()
	case t != nil && t.Stats().Running:
		p.reached[removedRunning]++
		t.Cancel()
		t.Pause()
		tw.removed, tw.throttler = t, nil
	case t == nil || !tw.held:
		return false
	default:
		if t.Cancel() {
			p.reached[removedPending]++
		}
		p.retireLocked(t)
		tw.throttler = nil
	}
	tw.forgotten = false
	return true
}

// cancel drops what is pending, and returns whether anything was.
func (tw *twin) cancel() bool {
	tw.player.mu.Lock()
	defer tw.player.mu.Unlock()
	return tw.cancelLocked()
}

// cancelLocked is cancel. A removed key is not held for a call that was dropped.
//
// +checklocks:tw.player.mu
func (tw *twin) cancelLocked() (dropped bool) {
	if tw.throttler == nil {
		return false
	}
	dropped = tw.throttler.Cancel()
	if tw.removed != nil {
		tw.player.retireLocked(tw.throttler)
		tw.throttler = nil
	}
	return dropped
}

// flush returns Flush of the Throttler that covers all calls so far: without one there is
// nothing to wait for.
func (tw *twin) flush() func(context.Context) error {
	throttlers := tw.throttlers()
	if len(throttlers) == 0 {
		return context.Context.Err
	}
	return throttlers[0].Flush
}

// setPolicy puts the player's policy in force. What the Group has forgotten under the old
// policy stays forgotten.
func (tw *twin) setPolicy() error {
	p := tw.player
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case tw.removed != nil && tw.throttler != nil:
		return errors.Join(tw.removed.SetPolicy(p.policy), tw.throttler.SetPolicy(trailing(p.policy)))
	case tw.removed != nil:
		return tw.removed.SetPolicy(p.policy)
	case tw.held:
		return tw.throttler.SetPolicy(p.policy)
	case tw.throttler != nil:
		p.retireLocked(tw.throttler)
	}
	tw.throttler, tw.forgotten = nil, false
	return nil
}

// setPaused pauses the Throttler, or resumes it unless it waits for a removed one.
func (tw *twin) setPaused(paused bool) {
	tw.player.mu.Lock()
	defer tw.player.mu.Unlock()
	switch {
	case tw.throttler == nil:
	case paused:
		tw.throttler.Pause()
	case tw.removed == nil:
		tw.throttler.Resume()
	}
}

// throttlers returns those that are not retired, the new one first.
func (tw *twin) throttlers() (throttlers []*throttle.Throttler) {
	tw.player.mu.Lock()
	defer tw.player.mu.Unlock()
	for _, t := range []*throttle.Throttler{tw.throttler, tw.removed} {
		if t != nil {
			throttlers = append(throttlers, t)
		}
	}
	return throttlers
}

// addTo adds the Stats of all Throttlers to sum. A removed one starts nothing more.
func (tw *twin) addTo(sum *throttle.Stats) {
	for _, t := range tw.throttlers() {
		stats := t.Stats()
		if tw.isRemoved() && stats.Running {
			stats.Next = time.Time{}
		}
		addStats(sum, stats)
	}
}

// nextIsOpenLocked reports whether the new Throttler is due at another time while it has no
// leading edge. It needs the player's mu.
func (tw *twin) nextIsOpenLocked() bool {
	policy := tw.player.policy
	return tw.removed != nil && tw.throttler != nil && policy.Quiet == 0 && policy.Edges != throttle.Trailing
}

// remembersMore reports whether the Group holds the key, but has forgotten it since the
// twin was made.
func (tw *twin) remembersMore() bool {
	tw.player.mu.Lock()
	defer tw.player.mu.Unlock()
	return tw.held && tw.forgotten
}

// isRemoved reports whether the key was removed, and its run is still active.
func (tw *twin) isRemoved() bool {
	tw.player.mu.Lock()
	defer tw.player.mu.Unlock()
	return tw.removed != nil
}

// look records whether the Group holds the key, and returns what is wrong with that. It
// may forget only a key whose twin has nothing to do, and must forget a removed one.
func (tw *twin) look(held bool) (wrong string) {
	tw.player.mu.Lock()
	defer tw.player.mu.Unlock()
	tw.forgotten = tw.forgotten || tw.held && !held
	tw.held = held
	switch {
	case held && tw.throttler == nil && tw.removed == nil:
		return "is held, but was not called since Remove"
	case !held && tw.removed != nil:
		return "was removed, but is not held while its run is active"
	case !held && tw.throttler != nil:
		if s := tw.throttler.Stats(); s.Pending || s.Running || !s.Next.IsZero() {
			return "is not held, but its twin is at work"
		}
	}
	return ""
}
