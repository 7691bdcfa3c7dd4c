package main

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/throttle-go/throttle"
)

// A State is all that a URL says.
type State struct {
	Policy throttle.Policy
	Live   bool // calls come from the reader, in real time; otherwise from Script
	Script Script

	Took    time.Duration // by runs of which Script does not say it
	Failing float64       // the share of these runs that fail

	Repeat time.Duration // between calls while the button is held
	Shows  time.Duration // by the live picture; 0: as suits the policy
}

// Usual returns the state on which a URL without a preset is based.
func Usual() State { return State{Took: 20 * time.Millisecond, Repeat: 50 * time.Millisecond} }

// presetKey is the parameter that names a preset.
const presetKey = "preset"

// Fragment returns the part of the URL after # that says s. ParseFragment returns s for it.
func (s State) Fragment() string {
	base, parameters := Usual(), []string(nil)
	if preset, known := s.Preset(); known {
		base, parameters = preset.State, []string{presetKey + "=" + preset.Name}
	}
	for _, f := range Fields() {
		// The mode makes sure that no URL is empty: that one is the first preset.
		if text := f.text(&s); text != f.text(&base) || f.Key == modeKey && len(parameters) == 0 {
			parameters = append(parameters, f.Key+"="+text)
		}
	}
	return strings.Join(parameters, "&")
}

// ParseFragment returns the state that fragment says, which may begin with #, and what in it
// makes no sense. That is ignored. Without a word about a preset or a mode, the base is the
// first preset.
func ParseFragment(fragment string) (s State, problems []string) {
	given, order, problems := parameters(strings.TrimPrefix(fragment, "#"))
	s = Usual()
	if len(given) == 0 {
		s = Presets()[0].State
	}
	if name, named := given[presetKey]; named {
		preset, known := PresetNamed(name)
		if known {
			s = preset.State
		} else {
			problems = append(problems, fmt.Sprintf("no preset is called %q", name))
		}
	}
	fields := map[string]Field{}
	for _, f := range Fields() {
		fields[f.Key] = f
	}
	for _, key := range order {
		f, known := fields[key]
		switch {
		case key == presetKey:
		case !known:
			problems = append(problems, fmt.Sprintf("nothing is called %q", key))
		default:
			if err := f.read(&s, given[key]); err != nil {
				problems = append(problems, fmt.Sprintf("%s: %v", key, err))
			}
		}
	}
	return s, problems
}

// parameters returns the parameters of a query, and their keys in order.
func parameters(query string) (given map[string]string, order, problems []string) {
	given = map[string]string{}
	for part := range strings.SplitSeq(query, "&") {
		if part == "" {
			continue
		}
		key, value, _ := strings.Cut(part, "=")
		key, wrongKey := url.QueryUnescape(key)
		value, wrongValue := url.QueryUnescape(value)
		if wrongKey != nil || wrongValue != nil {
			problems = append(problems, fmt.Sprintf("%q is not escaped correctly", part))
			continue
		}
		if _, again := given[key]; !again {
			order = append(order, key)
		}
		given[key] = value
	}
	return given, order, problems
}

// Preset returns the preset with the policy and the script of s.
func (s State) Preset() (p Preset, known bool) {
	for _, p := range Presets() {
		if p.State.Policy == s.Policy && p.State.Script.String() == s.Script.String() {
			return p, true
		}
	}
	return Preset{}, false
}

// Times returns s with all durations multiplied by factor, except for Shows, which is a choice.
func (s State) Times(factor float64) State {
	s.Script = s.Script.clone()
	for _, d := range durations(&s) {
		*d = times(*d, factor)
	}
	return s
}

func durations(s *State) []*time.Duration {
	p := &s.Policy
	all := []*time.Duration{
		&p.Interval, &p.Quiet, &p.MaxWait, &p.MaxInterval, &p.Retry.Initial, &p.Retry.Max,
		&s.Took, &s.Repeat, &s.Script.Until,
	}
	for i := range s.Script.Calls {
		all = append(all, &s.Script.Calls[i])
	}
	for i := range s.Script.Runs {
		all = append(all, &s.Script.Runs[i].Took)
	}
	return all
}

// longest is the longest duration that the page makes by itself.
const longest = 1e6 * time.Hour

// times returns d·factor. What is not 0 does not become 0, because that often means no limit.
func times(d time.Duration, factor float64) time.Duration {
	if d == 0 {
		return 0
	}
	product := float64(d) * factor
	if d > 0 {
		return time.Duration(max(1, min(product, float64(longest))))
	}
	return time.Duration(min(-1, max(product, -float64(longest))))
}
