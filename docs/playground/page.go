package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/throttle-go/throttle"
)

// A Page is the page as its reader has left it. Its methods must not be called concurrently.
type Page struct {
	state  State             // what the controls say, as far as it can be read
	unread map[string]unread // what else they say, by key
	notice string            // what the last URL said that makes no sense
	policy throttle.Policy   // the last valid one, which is in force
	live   *Live             // nil in script mode
}

// An unread is the text of a control that cannot be read.
type unread struct {
	text string
	err  error
}

// NewPage returns the page of an empty URL.
func NewPage() *Page {
	p := &Page{policy: Presets()[0].State.Policy}
	p.Open("")
	return p
}

// Open shows what fragment says, the part of a URL after #.
func (p *Page) Open(fragment string) {
	s, problems := ParseFragment(fragment)
	p.state, p.unread, p.notice = s, map[string]unread{}, ""
	if len(problems) > 0 {
		p.notice = "This page ignores a part of its URL: " + strings.Join(problems, "; ") + "."
	}
	p.adopt()
}

// Set sets the field of that key, or the script, to what text says. If it cannot be read, the
// field keeps its value.
func (p *Page) Set(key, text string) {
	var err error
	if key == scriptKey {
		var script Script
		if script, err = ParseScript(text); err == nil {
			p.state.Script = script
		}
	} else {
		err = fieldOf(key).read(&p.state, text)
	}
	delete(p.unread, key)
	if err != nil {
		p.unread[key] = unread{text, err}
	}
	p.adopt()
}

// Slide moves the slider of the field of that key.
func (p *Page) Slide(key string, position int) { p.Set(key, fieldOf(key).at(position)) }

// Times multiplies all durations of the page by factor.
func (p *Page) Times(factor float64) {
	p.state = p.state.Times(factor)
	p.adopt()
}

// fieldOf returns the field of that key, which must exist.
func fieldOf(key string) Field {
	all := Fields()
	return all[slices.IndexFunc(all, func(f Field) bool { return f.Key == key })]
}

// adopt makes the policy of the controls the one in force, if it is valid.
func (p *Page) adopt() {
	if p.state.Policy.Validate() == nil {
		p.policy = p.state.Policy
	}
	switch {
	case !p.state.Live && p.live != nil:
		p.live.Close()
		p.live = nil
	case p.state.Live && p.live == nil:
		p.live = NewLive(p.policy, p.state)
	case p.state.Live:
		p.live.Set(p.policy, p.state)
	}
}

// Live returns what happens in live mode; nil in script mode.
func (p *Page) Live() *Live { return p.live }

// Look returns what the picture shows now. There must be a Live.
func (p *Page) Look() Frame { return p.live.Look(p.shows()) }

// lengths are the times that the live picture can show.
func lengths() []time.Duration {
	const s = time.Second
	return []time.Duration{s, 2 * s, 5 * s, 10 * s, 30 * s, time.Minute, 5 * time.Minute}
}

// shows returns how much of the past the live picture shows.
func (p *Page) shows() time.Duration {
	if p.state.Shows > 0 {
		return p.state.Shows
	}
	most := max(p.policy.Interval, p.policy.Quiet, p.policy.MaxWait, p.policy.MaxInterval, p.policy.Retry.Initial, p.state.Took)
	all := lengths()
	for _, d := range all[1:] { // a second is over too soon
		if d >= 5*most {
			return d
		}
	}
	return all[len(all)-1]
}

// A View is what the page shows.
type View struct {
	Texts     map[string]string // of the controls, by key
	Positions map[string]int    // of the sliders, by key
	Problems  []Problem
	Notice    string
	Fragment  string // of the URL

	Preset  string // name; empty if the page shows none
	Section string // URL
	Title   string // of the section
	Note    string

	Code    string // of the policy in force
	Words   string // likewise
	Stands  string // says that the policy of the controls is not in force; empty if it is
	Live    bool
	Drawing // in script mode
}

// A Problem is something that is wrong with a field.
type Problem struct {
	Key  string // of the field
	Text string // beside the field
	Full string // where there is no field beside it
}

// View returns what the page shows.
func (p *Page) View() View {
	v := View{
		Texts: map[string]string{scriptKey: p.state.Script.String()}, Positions: map[string]int{},
		Notice: p.notice, Fragment: p.state.Fragment(), Live: p.state.Live,
		Code: Code(p.policy), Words: p.policy.String(),
	}
	for _, f := range Fields() {
		v.Texts[f.Key] = f.text(&p.state)
		if f.position != nil {
			v.Positions[f.Key] = f.position(&p.state)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(p.unread)) {
		v.Texts[key] = p.unread[key].text
		text := p.unread[key].err.Error()
		v.Problems = append(v.Problems, Problem{Key: key, Text: text, Full: p.nameOf(key) + ": " + text})
	}
	contradictions := contradictions(p.state.Policy)
	v.Problems = append(v.Problems, contradictions...)
	if len(contradictions) > 0 {
		v.Stands = "This policy is not valid. The last valid one stays in force, for the picture and the code."
	}
	title := v.Words
	if preset, known := p.state.Preset(); known {
		v.Preset, v.Section, v.Title, v.Note = preset.Name, preset.Section(), preset.Title, preset.Note
		title = preset.Title
	}
	if !v.Live {
		v.Drawing, _ = Draw(p.policy, p.state, title) // p.policy is valid
	}
	return v
}

// nameOf returns the name of the control of that key.
func (p *Page) nameOf(key string) string {
	if key == scriptKey {
		return "Script"
	}
	return fieldOf(key).Name
}

// contradictions returns what Validate says of p.
func contradictions(p throttle.Policy) []Problem {
	joined, _ := p.Validate().(interface{ Unwrap() []error })
	if joined == nil {
		return nil
	}
	keys := map[string]string{} // by name
	for _, f := range Fields() {
		keys[f.Name] = f.Key
	}
	var problems []Problem
	for _, err := range joined.Unwrap() {
		problem := Problem{Full: err.Error()}
		if wrong := new(throttle.PolicyError); errors.As(err, &wrong) {
			problem.Key, problem.Text = keys[wrong.Field], fmt.Sprintf("%v: %s", wrong.Value, wrong.Reason)
		}
		problems = append(problems, problem)
	}
	return problems
}
