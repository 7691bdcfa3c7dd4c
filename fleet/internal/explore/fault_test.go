package explore_test

// This file holds that the search is not blind, and that each part of what it explores is
// needed: it finds what breaks without it. The faults are put into the code itself.

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/fleet/internal/explore"
)

// The files with faults, from the root of the module above.
const (
	machineFile = "fleet/machine/state.go"
	replicaFile = "fleet/internal/replica/replica.go"
	modelFile   = "fleet/internal/explore/process.go" // as package fleet of the library, of which it is a model
)

// A fault is a text of a file, to be found there once, and what stands there instead.
type fault struct {
	file, text, instead string
	breaks              string // the guarantee
	configuration
}

func TestEveryFaultBreaksAGuarantee(t *testing.T) {
	for name, f := range faults() {
		t.Run(name, func(t *testing.T) {
			source, err := os.ReadFile(filepath.Join("..", "..", "..", f.file))
			require.NoError(t, err)
			require.Equal(t, 1, strings.Count(string(source), f.text), "%s is not in %s once", f.text, f.file)
			faulty := strings.Replace(string(source), f.text, f.instead, 1)
			found := search(t, build(t, map[string]string{f.file: faulty}), f.configuration)
			require.NotNil(t, found.Breach, "%d states", found.States)
			t.Log(found.Breach)
			assert.Equal(t, f.breaks, found.Breach.Guarantee)
		})
	}
}

// faults returns one or more for all that may not be left out. What the search does not
// miss is not among them, since something else makes up for it, or it saves time or
// messages alone:
//
//   - A poll's age, and that at is none once the clock has stepped back before it: what the
//     store has lost is registered anew as its newest generation is below one that was
//     registered. The age saves a message then.
//   - A granted key's index is not before the lease's end: polls that come sooner are vain.
//   - A call does not join while a run is active or a claim is out: what a claim in the
//     meantime was told of hold would do.
//   - Who ends a run polls for the next: the index tells somebody else.
//   - The time of a claim that is remembered steps back with the clock: it would be
//     remembered for longer.
//   - An outcome is told only of the first run that covers a call: a later one covers it too.
func faults() map[string]fault {
	return map[string]fault{
		// The machine.
		"calls join a run that has begun": {
			machineFile, "if s.Requested > s.Taken {", "if s.Requested >= 0 {",
			"I4", small(3, 0, 0),
		},
		"hold ends with the lease": {
			machineFile, "r.Hold = max(0, s.Next.Sub(now))", "due, _ := s.Due()\nr.Hold = max(0, due.Sub(now))",
			"I4", small(3, 0, 0),
		},
		"a granted key is not in the index": {
			machineFile, "return max(s.Next, s.Until), true", "return 0, false",
			"I4", small(1, 0, 1, explore.Crash),
		},
		"a lease never ends": {
			machineFile, `(s.Owner == "" || now >= s.Until)`, `s.Owner == ""`,
			"work", small(1, 0, 1, explore.Crash),
		},
		"a lease holds nobody back": {
			machineFile, ` && (s.Owner == "" || now >= s.Until)`, "",
			"I5", with(small(2, 0, 0), shortLease),
		},
		"a finish ends whatever grant there is": {
			machineFile, `s.Owner == "" || f.Token != s.Token`, `s.Owner == ""`,
			"Do", small(2, 0, 1, explore.Copy),
		},
		"a renewal prolongs whatever lease there is": {
			machineFile, `s.Owner == "" || token != s.Token`, `s.Owner == ""`,
			"I5", with(small(2, 0, 1, explore.Wipe), shortLease),
		},
		"a run acknowledges what it has not taken": {
			machineFile, "s.Acknowledged = s.Taken", "s.Acknowledged, s.Taken = s.Requested, s.Requested",
			"I4", small(2, 0, 0),
		},
		"a call joins the generation that is taken": {
			machineFile, "s.Requested = max(s.Requested, s.Taken+1)\n\t}\n\tswitch", "s.Requested = max(s.Requested, s.Acknowledged+1)\n\t}\n\tswitch",
			"I4", small(2, 0, 0),
		},
		"a grant that is given back acknowledges": {
			machineFile, "if f.Ran {", "if true {",
			"I4", small(1, 0, 1, explore.Loss),
		},
		"a claim that is sent again is not told its grant": {
			machineFile, "if s.Owner == c.ID && now < s.Until {", "if false {",
			"copy", small(1, 0, 1, explore.Loss),
		},
		"claims are not remembered": {
			machineFile, "if slices.ContainsFunc(s.IDs, func(r Recent) bool { return r.ID == id }) {", "if false {",
			"copy", small(1, 0, 1, explore.Copy),
		},
		"a copy registers": {
			machineFile, "if !again && (c.New", "if (c.New",
			"copy", small(1, 0, 1, explore.Copy),
		},
		"a copy is granted": {
			machineFile, "case !again && now <= c.By", "case now <= c.By",
			"copy", small(2, 0, 1, explore.Copy),
		},
		"a claim is granted however late it comes": {
			machineFile, "now <= c.By && ", "",
			"late", small(1, 0, 1, explore.Loss),
		},
		"a retry is not in the finish": {
			machineFile, "if f.Again {\n\t\ts.Requested = max(s.Requested, s.Taken+1)\n\t}\n", "",
			"I4", small(1, 0, 2, explore.Failure, explore.Crash),
		},
		"a retry comes early": {
			machineFile, "s.Span, s.Next = f.Delay, next", "",
			"I1", small(1, 0, 1, explore.Failure),
		},
		"the next claim cuts a retry's delay": {
			machineFile, "s.Span, s.Next = f.Delay, next", "s.Next = next",
			"I1", small(2, 0, 1, explore.Failure),
		},
		"a step back stalls the next run": {
			machineFile, "s.Next = min(s.Next, now.Add(s.Span))\n", "",
			"work", with(small(2, 0, 1, explore.Backward), far),
		},
		"a step back stalls a lease": {
			machineFile, "s.Until = min(s.Until, now.Add(s.Lease))\n", "",
			"work", with(small(2, 0, 1, explore.Backward), far),
		},
		"tokens are the store's time": {
			machineFile, "max(s.Token+1, int64(now), c.Seen+1)", "max(int64(now), c.Seen+1)",
			"I3", small(2, 0, 1, explore.Backward),
		},
		"tokens are counted": {
			machineFile, "max(s.Token+1, int64(now), c.Seen+1)", "max(s.Token+1, c.Seen+1)",
			"I3", small(2, 0, 1, explore.Wipe),
		},
		"claims do not raise tokens": {
			machineFile, "max(s.Token+1, int64(now), c.Seen+1)", "max(s.Token+1, int64(now))",
			"I3", small(2, 0, 2, explore.Wipe, explore.Backward),
		},

		// The replica.
		"spacing lacks the guard": {
			modelFile, "Spacing: m.at(p.spacing())", "Spacing: m.at(p.Interval)",
			"I2", small(2, 0, 0),
		},
		"a grant is used however late it comes": {
			replicaFile, "return now-r.sent > r.guard", "return false",
			"I2", small(2, 0, 1, explore.Slowness),
		},
		"a grant is held to the new policy's guard": {
			replicaFile, "return now-r.sent > r.guard", "return now-r.sent > r.Rules.Guard",
			"I2", small(2, 0, 2, explore.Slowness, explore.Steering),
		},
		"a grant is held to a longer guard than the store": {
			replicaFile, "return r.storeNow.Add(now - r.storeAt + r.Rules.Guard)", "return r.storeNow.Add(now - r.storeAt + 2*r.Rules.Guard)",
			"late", small(1, 0, 1, explore.Slowness),
		},
		"hold counts from the answer": {
			replicaFile, "r.holdUntil = r.sent + reply.Hold", "r.holdUntil = now + reply.Hold",
			"I4", small(3, 0, 0),
		},
		"calls that were made since join what is pending": {
			replicaFile, "r.dirty = r.calls > r.sentCalls && r.newest >= r.holdUntil", "r.dirty = false",
			"I4", small(3, 0, 0),
		},
		"calls that were made since are covered": {
			replicaFile, "since := r.calls > r.sentCalls", "since := false",
			"I4", small(3, 0, 0),
		},
		"a call that joins does not poll": {
			replicaFile, "if !r.polling { //", "if false { //",
			"Do", small(3, 0, 1, explore.Canceling),
		},
		"the first claim for a call goes by its age": {
			replicaFile, "if r.pending && !r.dirty {", "r.claim.New = false\nif r.pending {",
			"I4", with(small(2, 0, 1, explore.Backward), near),
		},
		"a claim that is given up is not repeated": {
			replicaFile, "r.dirty = r.dirty || r.claim.New && r.pending", "",
			"I4", with(small(2, 0, 2, explore.Loss, explore.Backward), near),
		},
		"clocks tell whether a run came after a loss": {
			replicaFile, "return last >= 0 && !r.claim.New && reply.Generation < r.registered[last].generation", "return last >= 0 && false",
			"I4", small(2, 0, 2, explore.Rollback, explore.Backward),
		},
		"a retry is a call after the finish": {
			replicaFile, "f.Token, f.Ran = r.token, true", "f.Ran, f.Token = true, r.token\nif f.Again {\nf.Again = false\nr.calls++\nr.pending, r.newest = true, r.sent\nr.dirty = true\n}",
			"I4", small(1, 0, 2, explore.Failure, explore.Crash),
		},
		"a lease counts from its answer": {
			replicaFile, "r.renewed(r.sent)", "r.renewed(now)",
			"I5", with(small(1, 1, 0), shortLease),
		},
		"a lease that was denied is kept": {
			replicaFile, "default:\n\t\tr.leaseEnd = sent\n", "",
			"I5", with(small(1, 0, 1, explore.Wipe), shortLease),
		},
		"tokens are forgotten": {
			replicaFile, "r.seen = max(r.seen, reply.Token, reply.Last.Token)", "",
			"I3", small(2, 0, 2, explore.Wipe, explore.Backward),
		},
		"polls come at once for ever": {
			replicaFile, "return min(r.Rules.Guard<<min(r.vain-1, 10), r.Rules.Spacing)", "return 0",
			"work", with(small(1, 0, 2, explore.Loss, explore.Failure), local),
		},
		"a run starts beside one without a grant": {
			replicaFile, "if r.local || now < r.notBefore || r.late(now) {", "if now < r.notBefore || r.late(now) {",
			"local", with(small(1, 0, 2, explore.Loss, explore.Failure), local),
		},
		"a run starts soon after one without a grant": {
			replicaFile, "if r.local || now < r.notBefore || r.late(now) {", "if r.local || r.late(now) {",
			"local", with(small(1, 0, 2, explore.Loss, explore.Failure), local),
		},
		"a run without a grant comes soon after another": {
			replicaFile, "case now < r.notBefore:\n\t\treturn false, r.notBefore\n", "",
			"local", with(small(2, 0, 1, explore.Loss), local),
		},
		"a claim is to be granted during a run": {
			replicaFile, "r.phase != idle || r.local || now < r.notBefore {\n\t\treturn 0", "r.local || now < r.notBefore {\n\t\treturn 0",
			"late", with(small(2, 0, 1, explore.Pause), shortLease),
		},
		"a claim is to be granted beside a run without a grant": {
			replicaFile, "r.phase != idle || r.local || now < r.notBefore {\n\t\treturn 0", "r.phase != idle || now < r.notBefore {\n\t\treturn 0",
			"late", with(small(1, 0, 2, explore.Loss, explore.Failure), local),
		},
		"a claim is to be granted soon after a run without a grant": {
			replicaFile, "r.phase != idle || r.local || now < r.notBefore {\n\t\treturn 0", "r.phase != idle || r.local {\n\t\treturn 0",
			"late", with(small(1, 0, 2, explore.Loss, explore.Failure), local),
		},
	}
}
