package explore

import (
	"fmt"
	"slices"
	"strings"

	"github.com/throttle-go/throttle/fleet/internal/replica"
)

// A Line describes a step and the state that it led to.
type Line struct {
	Tick  int
	Clock int // ticks of the store's clock since tick 0
	What  string
	Then  string
}

// breach returns the breach b by the move mv from v.
func (x *search) breach(v visit, mv move, b breach) *Breach {
	path := x.path(v)
	to, _ := x.m.after(v.state, mv)
	return &Breach{b.guarantee, b.how, append(path, x.m.line(to, mv))}
}

// calmBreach returns the breach b by the steps that follow v once all is calm.
func (x *search) calmBreach(v visit, b breach) *Breach {
	path := append(x.path(v), Line{Tick: v.state.now, Clock: v.state.now + v.state.offset, What: "all is calm"})
	x.calmDown(v.state, func(s *state, mv move) { path = append(path, x.m.line(s, mv)) })
	return &Breach{b.guarantee, b.how, path}
}

// path returns the steps to v.
func (x *search) path(v visit) []Line {
	var choices []uint32
	for at := v.index; at != 0; at = x.origins[at].from {
		choices = append(choices, x.origins[at].move)
	}
	s := x.m.start()
	list := moves{m: x.m}
	var path []Line
	for _, choice := range slices.Backward(choices) {
		mv := list.find(s)[choice]
		s, _ = x.m.after(s, mv)
		path = append(path, x.m.line(s, mv))
	}
	return path
}

// line describes mv, which led to s.
func (m *model) line(s *state, mv move) Line {
	return Line{s.now, s.now + s.offset, m.what(mv), m.describe(s)}
}

func (m *model) what(mv move) string {
	who := letter(mv.who)
	switch mv.step { //nolint:exhaustive // the names of the others are enough
	case Tick:
		return mv.step.String()
	case WipeStore, TakeSnapshot, RollBack, StepBack, StepForward:
		return "store " + mv.step.String()
	case ArriveCopy:
		return fmt.Sprintf("%s %d", mv.step, mv.of)
	case EndFailed:
		if mv.of > 0 {
			return fmt.Sprintf("%s %s, again in %d", who, mv.step, m.Retries[mv.of-1])
		}
	}
	return who + " " + mv.step.String()
}

// letter names process i.
func letter(i int) string { return "ABC"[i : i+1] }

// describe returns the parts of s that matter to most readers.
func (m *model) describe(s *state) string {
	st, now := s.store, m.clock(s)
	parts := []string{fmt.Sprintf("store %d/%d/%d next %d", st.Requested, st.Acknowledged, st.Taken, m.ticks(st.Next.Sub(now)))}
	if st.Owner != "" {
		parts[0] += fmt.Sprintf(" owner %s until %d", st.Owner, m.ticks(st.Until.Sub(now)))
	}
	for i, p := range s.processes[:m.Replicas] {
		parts = append(parts, letter(i)+" "+m.describeProcess(s, p))
	}
	return strings.Join(parts, " | ")
}

func (m *model) describeProcess(s *state, p *process) string {
	if p.life == gone {
		return "gone"
	}
	v := p.look()
	words := []string{[]string{"idle", "granted", "running", "finishing"}[v.Phase]}
	words = append(words, marks(v, p)...)
	if hold := v.HoldUntil - m.at(s.now); hold > 0 {
		words = append(words, fmt.Sprintf("hold %d", m.ticks(hold)))
	}
	if v.Polling {
		words = append(words, fmt.Sprintf("poll %d", m.ticks(v.PollAt-m.at(s.now))))
	}
	for _, out := range []*message{p.main, p.renew} {
		if out != nil {
			words = append(words, m.describeMessage(s, out))
		}
	}
	return strings.Join(words, " ")
}

func marks(v *replica.View, p *process) (words []string) {
	for _, mark := range []struct {
		word string
		set  bool
	}{
		{"draining", p.life == draining}, {"closed", p.life == closed}, {"paused", p.paused}, {"pending", v.Pending}, {"dirty", v.Dirty}, {"lost", v.Lost},
		{"local", v.Local}, {"full", v.Full},
	} {
		if mark.set {
			words = append(words, mark.word)
		}
	}
	return words
}

func (m *model) describeMessage(s *state, out *message) string {
	text := []string{"claim", "finish", "renewal"}[out.kind]
	if out.kind == claiming {
		text += " " + out.claim.ID
		if out.claim.New {
			text += " new"
		} else if out.claim.Age >= 0 {
			text += fmt.Sprintf(" age %d", m.ticks(out.claim.Age))
		}
		if out.claim.By != 0 {
			text += fmt.Sprintf(" by %d", m.ticks(out.claim.By.Sub(m.clock(s))))
		}
	}
	if out.at != toReplica {
		return text + []string{" sent", "", " lost"}[out.at]
	}
	switch out.kind {
	case claiming:
		return text + []string{"", ": served", ": granted", fmt.Sprintf(": deferred hold %d poll %d",
			m.ticks(out.reply.Hold), m.ticks(out.reply.Poll))}[out.reply.Verdict]
	case finishing:
		if out.finished.Stale {
			return text + ": stale"
		}
		return text + ": done"
	case renewing:
	}
	return fmt.Sprintf("%s: %v", text, out.held)
}

func (b *Breach) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s is broken: %s\n", b.Guarantee, b.How)
	fmt.Fprintf(&text, "%4s %4s %5s  %-32s %s\n", "step", "tick", "clock", "what", "then")
	for i, line := range b.Path {
		fmt.Fprintf(&text, "%4d %4d %5d  %-32s %s\n", i+1, line.Tick, line.Clock, line.What, line.Then)
	}
	return text.String()
}
