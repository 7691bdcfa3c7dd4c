package enginetest_test

import (
	"context"
	"maps"
	"math"
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/enginetest"
	"github.com/throttle-go/throttle/fleet/machine"
)

// faulty names the environment variable that contains the name of the engine's fault. The test that
// must fail because of the fault runs in a process of its own.
const faulty = "ENGINETEST_FAULT"

// TestRun_Faults checks that the suite finds every fault, and none in a correct engine.
func TestRun_Faults(t *testing.T) {
	all := faults()
	all["is correct"] = fault{}
	if name, ok := os.LookupEnv(faulty); ok {
		runFault(t, all[name])
		return
	}
	program, err := os.Executable()
	require.NoError(t, err)
	for i, name := range slices.Sorted(maps.Keys(all)) {
		correct := reflect.ValueOf(all[name]).IsZero()
		t.Run(name, func(t *testing.T) {
			if testing.Short() && !correct && i%4 > 0 {
				t.Skip("every fourth fault is enough under -short")
			}
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			command := exec.CommandContext(ctx, program, "-test.run=^TestRun_Faults$", "-test.short", "-test.failfast", "-test.v")
			command.Env = append(os.Environ(), faulty+"="+name, "GORACE=atexit_sleep_ms=0")
			output, err := command.CombinedOutput()
			require.NoError(t, ctx.Err())
			if correct {
				require.NoError(t, err, "%s", output)
				return
			}
			require.Error(t, err)
			by := regexp.MustCompile(`(?m)^ *--- FAIL: TestRun_Faults/(.*/.*) `).FindSubmatch(output)
			require.NotNil(t, by, "%s", output)
			t.Logf("found: %s", by[1])
		})
	}
}

// runFault runs the suite with and without steps of the clock.
func runFault(t *testing.T, f fault) {
	t.Helper()
	t.Run("as time goes", func(t *testing.T) {
		e := newEngine(f)
		open := func(*testing.T) fleet.Engine { return e }
		enginetest.Run(t, open, enginetest.Within(synctest.Test))
	})
	t.Run("as the clock steps", func(t *testing.T) {
		e := newEngine(f)
		open := func(*testing.T) fleet.Engine { return e }
		enginetest.Run(t, open, enginetest.Within(synctest.Test), enginetest.SetClock(e.setClock))
	})
}

// faults returns faults by their names.
func faults() map[string]fault {
	forget := func(s *machine.State, id string) {
		s.IDs = slices.DeleteFunc(s.IDs, func(r machine.Recent) bool { return r.ID == id })
	}
	return map[string]fault{
		// Claims.
		"forgets claims":           {after: func(s *machine.State, _ machine.Time) { s.IDs = nil }},
		"counts a claim again":     {claim: func(s *machine.State, _ machine.Time, c *machine.Claim) { forget(s, c.ID) }},
		"remembers only grants":    {reply: func(s *machine.State, c machine.Claim, r *machine.Reply) { forgetUnless(s, c, r) }},
		"remembers too few claims": {after: func(s *machine.State, _ machine.Time) { s.IDs = s.IDs[max(0, len(s.IDs)-30):] }},
		"remembers forever":        {before: func(s *machine.State, now machine.Time) { remind(s, now) }},
		"forgets too soon":         {before: func(s *machine.State, now machine.Time) { age(s, now, machine.KeepIDs/3) }},
		"repeats a grant after the lease": {claim: func(s *machine.State, now machine.Time, c *machine.Claim) {
			if s.Owner == c.ID {
				s.Until = max(s.Until, now+1)
			}
		}},
		"never repeats a grant": {claim: func(s *machine.State, _ machine.Time, c *machine.Claim) {
			if s.Owner == c.ID {
				s.Owner = "another"
			}
		}},
		"registers by age only": {claim: func(_ *machine.State, _ machine.Time, c *machine.Claim) {
			if c.New {
				c.New, c.Age = false, max(c.Age, 0)
			}
		}},
		"ignores the age":          {claim: func(_ *machine.State, _ machine.Time, c *machine.Claim) { c.Age = machine.None }},
		"takes no age for an age":  {claim: func(_ *machine.State, _ machine.Time, c *machine.Claim) { c.Age /= time.Microsecond }},
		"compares age inclusively": {claim: func(_ *machine.State, _ machine.Time, c *machine.Claim) { c.Age = older(c.Age) }},
		"grants late claims":       {claim: func(_ *machine.State, _ machine.Time, c *machine.Claim) { c.By = machine.MaxNumber }},
		"never grants at by": {claim: func(_ *machine.State, now machine.Time, c *machine.Claim) {
			if c.By == now {
				c.By = 0
			}
		}},
		"grants within the spacing":    {before: func(s *machine.State, now machine.Time) { s.Next = min(s.Next, now) }},
		"grants within the lease":      {claim: func(s *machine.State, _ machine.Time, _ *machine.Claim) { s.Until = min(s.Until, s.Next) }},
		"grants only after the lease":  {claim: func(s *machine.State, _ machine.Time, _ *machine.Claim) { s.Next = max(s.Next, s.Until) }},
		"counts each call":             {claim: func(s *machine.State, _ machine.Time, c *machine.Claim) { countEach(s, c) }},
		"ignores calls during a run":   {claim: func(s *machine.State, _ machine.Time, c *machine.Claim) { c.New = c.New && s.Owner == "" }},
		"spacing without its fraction": {claim: func(_ *machine.State, _ machine.Time, c *machine.Claim) { c.Spacing = c.Spacing.Truncate(time.Second) }},

		// Postponed runs.
		"never postpones":             {claim: func(_ *machine.State, _ machine.Time, c *machine.Claim) { c.Quiet = min(c.Quiet, 0) }},
		"postpones without a limit":   {claim: func(_ *machine.State, _ machine.Time, c *machine.Claim) { c.MaxWait = min(c.MaxWait, 0) }},
		"postpones from the claim on": {claim: func(_ *machine.State, _ machine.Time, c *machine.Claim) { c.Age = young(c) }},
		"limits from the claim on":    {claim: func(_ *machine.State, _ machine.Time, c *machine.Claim) { c.First = min(c.First, 0) }},
		"limits from the newest call": {claim: func(_ *machine.State, _ machine.Time, c *machine.Claim) { c.First = min(c.First, c.Age) }},
		"takes the latest limit":      {claim: func(s *machine.State, now machine.Time, c *machine.Claim) { relax(s, now, c) }},
		"limits from the first call of any claim": {claim: func(s *machine.State, now machine.Time, c *machine.Claim) {
			if s.Limit > 0 && c.New && c.Quiet > time.Microsecond && c.MaxWait > time.Microsecond {
				s.Limit = min(s.Limit, max(1, now.Add(c.MaxWait).Add(-max(c.First, 0))))
			}
		}},
		"never lowers the limit": {claim: func(s *machine.State, now machine.Time, c *machine.Claim) {
			if c.MaxWait > time.Microsecond && c.MaxWait <= machine.MaxSpan && s.Requested > s.Taken {
				c.MaxWait = min(machine.MaxSpan, max(c.MaxWait, s.Limit.Sub(now)))
			}
		}},
		"never resets the limit":      {claim: func(s *machine.State, now machine.Time, c *machine.Claim) { tighten(s, now, c) }},
		"resets the limit by a grant": {reply: func(s *machine.State, _ machine.Claim, r *machine.Reply) { unlimit(s, r.Verdict == machine.Granted) }},
		"forgets the limit of a lost grant": {claim: func(s *machine.State, now machine.Time, _ *machine.Claim) {
			unlimit(s, s.Requested == s.Taken && now >= s.Until)
		}},
		"limits calls of a run with others": {claim: func(s *machine.State, now machine.Time, c *machine.Claim) {
			if s.Requested == s.Taken && s.Owner != "" && now < s.Until {
				tighten(s, now, c)
			}
		}},
		"keeps the limit for a retry": {finish: func(s *machine.State, _ machine.Time, f *machine.Finish) { keepLimit(s, f) }},
		"resets the limit by a retry": {finish: func(s *machine.State, _ machine.Time, f *machine.Finish) { unlimit(s, f.Again && f.Token == s.Token) }},
		"moves a run to an earlier time": {reply: func(s *machine.State, c machine.Claim, r *machine.Reply) {
			if c.New && c.Quiet > time.Microsecond && r.Verdict == machine.Deferred {
				s.Next = min(s.Next, r.Now.Add(c.Quiet))
			}
		}},
		"moves a run to the limit": {reply: func(s *machine.State, _ machine.Claim, _ *machine.Reply) {
			if s.Limit > 0 {
				s.Next = min(s.Next, s.Limit)
			}
		}},
		"postpones by a repeated claim": {claim: func(s *machine.State, now machine.Time, c *machine.Claim) {
			if c.New && s.Owner != c.ID && slices.ContainsFunc(s.IDs, func(r machine.Recent) bool { return r.ID == c.ID }) {
				s.Next = max(s.Next, now.Add(c.Quiet))
			}
		}},
		"postpones by polls":        {claim: func(s *machine.State, now machine.Time, c *machine.Claim) { postponeByPoll(s, now, c) }},
		"subtracts, then truncates": {claim: func(_ *machine.State, _ machine.Time, c *machine.Claim) { subtract(c) }},
		"postpones by a nanosecond": {claim: func(_ *machine.State, _ machine.Time, c *machine.Claim) { c.Quiet = roundUp(c.Quiet) }},
		"limits to a nanosecond":    {claim: func(_ *machine.State, _ machine.Time, c *machine.Claim) { c.MaxWait = roundUp(c.MaxWait) }},
		"keeps a wrong span": {reply: func(s *machine.State, c machine.Claim, r *machine.Reply) {
			if c.Quiet > time.Microsecond && r.Hold > 0 {
				s.Span = c.Spacing.Truncate(time.Microsecond)
			}
		}},

		// Tokens.
		"counts tokens from one": {reply: func(s *machine.State, _ machine.Claim, r *machine.Reply) {
			if r.Verdict == machine.Granted && r.Token > 1e6 {
				s.Token, r.Token = 1, 1
			}
		}},
		"ignores the seen token": {claim: func(_ *machine.State, _ machine.Time, c *machine.Claim) { c.Seen = min(c.Seen, 0) }},
		"uses the clock as the token": {reply: func(s *machine.State, c machine.Claim, r *machine.Reply) {
			if r.Verdict == machine.Granted && s.Granted == r.Now && c.Seen == 0 {
				s.Token, r.Token = int64(r.Now), int64(r.Now)
			}
		}},
		"rounds tokens": {reply: func(_ *machine.State, _ machine.Claim, r *machine.Reply) { r.Token = int64(float32(r.Token)) }},
		"rounds high tokens": {reply: func(_ *machine.State, _ machine.Claim, r *machine.Reply) {
			if r.Token > 1e15*4 {
				r.Token = r.Token / 100 * 100
			}
		}},

		// Replies.
		"holds until the lease ends": {reply: func(_ *machine.State, _ machine.Claim, r *machine.Reply) {
			if r.Hold > 0 {
				r.Hold = r.Poll
			}
		}},
		"holds although nothing is pending": {reply: func(s *machine.State, _ machine.Claim, r *machine.Reply) {
			if r.Verdict == machine.Deferred {
				r.Hold = max(0, s.Next.Sub(r.Now))
			}
		}},
		"polls at the spacing's end": {reply: func(s *machine.State, _ machine.Claim, r *machine.Reply) {
			r.Poll = min(r.Poll, max(0, s.Next.Sub(r.Now)))
		}},
		"truncates poll to milliseconds":   {reply: func(_ *machine.State, _ machine.Claim, r *machine.Reply) { r.Poll = r.Poll.Truncate(time.Millisecond) }},
		"returns the claim's policy":       {reply: func(_ *machine.State, c machine.Claim, r *machine.Reply) { r.Policy = c.Policy }},
		"returns no policy":                {reply: func(_ *machine.State, _ machine.Claim, r *machine.Reply) { r.Policy = "" }},
		"trims texts":                      {reply: func(_ *machine.State, _ machine.Claim, r *machine.Reply) { r.Policy = strings.TrimSpace(r.Policy) }},
		"returns no last run":              {reply: func(_ *machine.State, _ machine.Claim, r *machine.Reply) { r.Last = machine.Ending{} }},
		"returns a wrong first generation": {reply: func(_ *machine.State, _ machine.Claim, r *machine.Reply) { r.Last.From = max(0, r.Last.Through-1) }},
		"returns no failures":              {reply: func(_ *machine.State, _ machine.Claim, r *machine.Reply) { r.Failures = 0 }},
		"returns the taken generation":     {reply: func(s *machine.State, _ machine.Claim, r *machine.Reply) { r.Generation = s.Taken }},
		"returns no time":                  {reply: func(_ *machine.State, _ machine.Claim, r *machine.Reply) { r.Now = 1 }},

		// Finishes.
		"accepts any finish":               {finish: func(s *machine.State, _ machine.Time, f *machine.Finish) { f.Token = s.Token }},
		"finishes twice":                   {finish: func(s *machine.State, _ machine.Time, f *machine.Finish) { reopen(s, f) }},
		"refuses a finish after the lease": {finish: func(s *machine.State, now machine.Time, f *machine.Finish) { expire(s, now, &f.Token) }},
		"acknowledges without a run":       {finish: func(_ *machine.State, _ machine.Time, f *machine.Finish) { f.Ran = true }},
		"acknowledges later calls": {finished: func(s *machine.State, r *machine.Finished) {
			if !r.Stale && r.Pending {
				s.Acknowledged, s.Taken = s.Requested, s.Requested
				*r = machine.Finished{Now: r.Now}
			}
		}},
		"forgets retries":                {finish: func(_ *machine.State, _ machine.Time, f *machine.Finish) { f.Again = false }},
		"retries at once":                {finish: func(_ *machine.State, _ machine.Time, f *machine.Finish) { f.Delay = 0 }},
		"truncates a retry's delay":      {finished: func(s *machine.State, _ *machine.Finished) { s.Span = min(s.Span, shortly) }},
		"retries before spacing":         {finish: func(s *machine.State, now machine.Time, f *machine.Finish) { hasten(s, now, f) }},
		"returns no poll after a finish": {finished: func(_ *machine.State, r *machine.Finished) { r.Poll = 0 }},
		"changes after a stale finish":   {finished: func(s *machine.State, r *machine.Finished) { s.Next -= stale(r) }},

		// Renewals.
		"accepts any renewal":               {renew: func(s *machine.State, _ machine.Time, _ int64) int64 { return s.Token }},
		"compares tokens as floats":         {renew: func(s *machine.State, _ machine.Time, token int64) int64 { return near(s, token) }},
		"refuses a renewal after the lease": {renew: func(s *machine.State, now machine.Time, token int64) int64 { expire(s, now, &token); return token }},
		"renews nothing":                    {renew: func(s *machine.State, _ machine.Time, token int64) int64 { return -held(s, token) }},
		"renews for the spacing": {renew: func(s *machine.State, _ machine.Time, token int64) int64 {
			s.Lease = s.Span
			return token
		}},

		// The clock.
		"stalls when the clock steps back": {before: func(s *machine.State, now machine.Time) { unclamp(s, now) }},
		"keeps a grant in the future":      {after: func(s *machine.State, _ machine.Time) { s.Granted = max(s.Granted, machine.Time(s.Token)) }},
		"reads the clock first":            {early: true},
		"does not lock":                    {unlocked: true},

		// The index.
		"a claim is not indexed":     {unindexed: func(operation string) bool { return operation == "claim" }},
		"a finish is not indexed":    {unindexed: func(operation string) bool { return operation == "finish" }},
		"a renewal is not indexed":   {unindexed: func(operation string) bool { return operation == "renew" }},
		"lists each key twice":       {due: func(d *machine.Due, _ []string) { d.Keys = append(d.Keys, d.Keys...) }},
		"lists only one key":         {due: func(d *machine.Due, _ []string) { d.Keys = d.Keys[:min(1, len(d.Keys))] }},
		"lists the same keys always": {due: func(d *machine.Due, held []string) { slices.Sort(d.Keys); cutDue(d, held) }, all: true},
		"lists all keys":             {all: true},
		"does not list held keys":    {due: func(d *machine.Due, _ []string) { cutDue(d, nil) }},
		"lists held keys always":     {due: func(d *machine.Due, held []string) { d.Keys = union(d.Keys, held) }},
		"counts keys that it lists":  {due: func(d *machine.Due, _ []string) { d.Count = len(d.Keys) }},
		"returns no age":             {due: func(d *machine.Due, _ []string) { d.Oldest = 0 }},
		"is due before the call": {reply: func(s *machine.State, _ machine.Claim, r *machine.Reply) {
			if r.Verdict == machine.Deferred && s.Span == 0 {
				s.Next = 0
			}
		}},
		"is due before the finish": {finished: func(s *machine.State, r *machine.Finished) {
			if r.Pending && s.Span == 0 {
				s.Next = 0
			}
		}},
		"returns no next":           {due: func(d *machine.Due, _ []string) { d.Next = machine.None }},
		"returns a next too late":   {due: func(d *machine.Due, _ []string) { d.Next = later(d.Next) }},
		"truncates next to seconds": {due: func(d *machine.Due, _ []string) { d.Next = d.Next.Truncate(time.Second) }},

		// Keys.
		"ignores case":               {key: strings.ToLower},
		"trims keys":                 {key: strings.TrimSpace},
		"cuts keys":                  {key: func(key string) string { return key[:min(len(key), 511)] }},
		"unquotes keys":              {key: func(key string) string { return strings.ReplaceAll(key, "''", "'") }},
		"drops braces":               {key: func(key string) string { return strings.NewReplacer("{", "", "}", "").Replace(key) }},
		"replaces lines":             {key: func(key string) string { return strings.ReplaceAll(key, "\r\n", "\n") }},
		"composes keys":              {key: func(key string) string { return strings.ReplaceAll(key, "e\u0301", "é") }},
		"unescapes keys":             {key: func(key string) string { return strings.ReplaceAll(key, "%20", " ") }},
		"drops invisible characters": {key: func(key string) string { return strings.ReplaceAll(key, "\ufeff", "") }},

		// Validity.
		"takes any identifier": {invalid: func(c *machine.Claim, _ *machine.Finish) { mendID(c) }},
		"takes any number":     {invalid: func(c *machine.Claim, f *machine.Finish) { mendNumbers(c, f) }},
		"takes any text":       {invalid: func(c *machine.Claim, f *machine.Finish) { mendTexts(c, f) }},
		"registers invalid claims": {claim: func(s *machine.State, _ machine.Time, c *machine.Claim) {
			if c.Seen < 0 {
				s.Requested = s.Taken + 1
			}
		}},

		// Stored states.
		"shows no state":       {inspect: func(s *machine.State) { *s = machine.State{} }},
		"shows no identifiers": {inspect: func(s *machine.State) { s.IDs = nil }},
		"shows no limit":       {inspect: func(s *machine.State) { s.Limit = 0 }},
		"shows no message":     {inspect: func(s *machine.State) { s.Last.Outcome.Message = "" }},
		"forgets nothing":      {forgetful: true},

		// Contexts and listeners.
		"ignores contexts":               {patient: true},
		"leaks goroutines":               {leaks: true},
		"listens forever":                {dead: true},
		"notifies nobody":                {wake: func(*machine.Wake) bool { return false }},
		"notifies only of finished keys": {wake: func(w *machine.Wake) bool { return w.Poll == machine.None }},
		"notifies only of pending keys":  {wake: func(w *machine.Wake) bool { return w.Poll != machine.None }},
		"notifies with a wrong time":     {wake: func(w *machine.Wake) bool { w.Poll++; return true }},
		"does not return ErrUnsupported": {unsupported: true},
	}
}

const shortly = time.Millisecond

// cutDue cuts the list to machine.MaxDue keys, and those of held.
func cutDue(d *machine.Due, held []string) {
	n := min(machine.MaxDue, len(d.Keys))
	rest := slices.DeleteFunc(slices.Clone(d.Keys[n:]), func(key string) bool { return !slices.Contains(held, key) })
	d.Keys = append(d.Keys[:n:n], rest...)
}

func union(a, b []string) []string {
	return append(a, slices.DeleteFunc(slices.Clone(b), func(key string) bool { return slices.Contains(a, key) })...)
}

func forgetUnless(s *machine.State, c machine.Claim, r *machine.Reply) {
	if r.Verdict != machine.Granted {
		s.IDs = slices.DeleteFunc(s.IDs, func(r machine.Recent) bool { return r.ID == c.ID })
	}
}

func remind(s *machine.State, now machine.Time) {
	for i := range s.IDs {
		s.IDs[i].At = now
	}
}

func age(s *machine.State, now machine.Time, limit time.Duration) {
	s.IDs = slices.DeleteFunc(s.IDs, func(r machine.Recent) bool { return now.Sub(r.At) > limit })
}

func older(d time.Duration) time.Duration {
	if d >= 0 {
		return d + time.Microsecond
	}
	return d
}

// young returns no age for a new call.
func young(c *machine.Claim) time.Duration {
	if c.New {
		return machine.None
	}
	return c.Age
}

func roundUp(d time.Duration) time.Duration {
	if d > 0 {
		return max(d, time.Microsecond)
	}
	return d
}

func unlimit(s *machine.State, when bool) {
	if when {
		s.Limit = 0
	}
}

// relax makes the machine take the limit of c even if it is later.
func relax(s *machine.State, now machine.Time, c *machine.Claim) {
	unlimit(s, s.Limit > 0 && c.MaxWait > time.Microsecond && now.Add(c.MaxWait) > s.Limit && s.Requested > s.Taken)
}

// tighten makes the machine keep the limit even if it would reset it.
func tighten(s *machine.State, now machine.Time, c *machine.Claim) {
	if s.Limit > 0 && c.MaxWait > time.Microsecond && c.MaxWait <= machine.MaxSpan {
		c.First = min(machine.MaxSpan, max(c.First, now.Add(c.MaxWait).Sub(s.Limit)))
	}
}

// keepLimit makes the machine keep the limit even if no call waits.
func keepLimit(s *machine.State, f *machine.Finish) {
	if f.Again && f.Token == s.Token && s.Owner != "" {
		s.Requested = max(s.Requested, s.Taken+1)
	}
}

func postponeByPoll(s *machine.State, now machine.Time, c *machine.Claim) {
	if !c.New && c.Age < 0 && c.Quiet > time.Microsecond && s.Requested > s.Taken {
		s.Span, s.Next = c.Quiet, max(s.Next, now.Add(c.Quiet))
	}
}

// subtract subtracts the age from the quiet time before the machine truncates both.
func subtract(c *machine.Claim) {
	if c.New && c.Age > 0 && c.Quiet > c.Age {
		c.Quiet, c.Age = max(time.Microsecond, c.Quiet-c.Age), 0
	}
}

func later(d time.Duration) time.Duration {
	if d > 0 {
		return d + time.Microsecond
	}
	return d
}

func countEach(s *machine.State, c *machine.Claim) {
	if c.New && s.Requested > s.Taken && !slices.ContainsFunc(s.IDs, func(r machine.Recent) bool { return r.ID == c.ID }) {
		s.Requested++
	}
}

func reopen(s *machine.State, f *machine.Finish) {
	if s.Owner == "" && f.Token == s.Token && s.Token > 0 {
		s.Owner = "owner"
	}
}

// expire changes token so that it does not match after the end of the lease.
func expire(s *machine.State, now machine.Time, token *int64) {
	if now >= s.Until && *token == s.Token {
		*token++
	}
}

func hasten(s *machine.State, now machine.Time, f *machine.Finish) {
	if f.Again && f.Token == s.Token && s.Owner != "" {
		s.Next = now
	}
}

func stale(r *machine.Finished) machine.Time {
	if r.Stale {
		return 1
	}
	return 0
}

func near(s *machine.State, token int64) int64 {
	if float32(token) == float32(s.Token) {
		return s.Token
	}
	return token
}

func held(s *machine.State, token int64) int64 {
	if token == s.Token {
		return 1
	}
	return -token
}

func unclamp(s *machine.State, now machine.Time) {
	if s.Granted > now {
		s.Span, s.Lease = machine.MaxSpan, machine.MaxSpan
	}
}

func mendID(c *machine.Claim) {
	if c == nil {
		return
	}
	c.ID = strings.Map(func(r rune) rune {
		if r == '-' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' {
			return r
		}
		return 'x'
	}, c.ID)
	c.ID = c.ID[:min(len(c.ID), machine.MaxID)]
}

func mendNumbers(c *machine.Claim, f *machine.Finish) {
	if c != nil {
		c.Seen = min(max(c.Seen, 0), machine.MaxNumber-1)
		c.By = min(max(c.By, 0), machine.MaxNumber)
		c.Age, c.First = min(c.Age, machine.MaxSpan), min(c.First, machine.MaxSpan)
		c.Spacing = min(max(c.Spacing, 0), machine.MaxSpan)
		c.Quiet, c.MaxWait = min(max(c.Quiet, 0), machine.MaxSpan), min(max(c.MaxWait, 0), machine.MaxSpan)
		c.Lease = min(max(c.Lease, time.Microsecond), machine.MaxSpan)
	}
	if f != nil {
		f.Token = min(max(f.Token, 0), machine.MaxNumber)
		f.Delay = min(max(f.Delay, 0), machine.MaxSpan)
		f.Failures = min(max(f.Failures, 0), math.MaxInt32)
	}
}

func mendTexts(c *machine.Claim, f *machine.Finish) {
	mendText := func(text string) string {
		text = strings.ReplaceAll(strings.ToValidUTF8(text, "?"), "\x00", "?")
		if len(text) > machine.MaxText {
			text = ""
		}
		return text
	}
	if c != nil {
		c.Policy = mendText(c.Policy)
	}
	if f != nil {
		f.Outcome.Message = mendText(f.Outcome.Message)
	}
}
