package explore_test

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/fleet/internal/explore"
)

// The files with faults, from the root of the module.
const (
	machineFile = "fleet/machine/state.go"
	replicaFile = "fleet/internal/replica/replica.go"
	modelFile   = "fleet/internal/explore/process.go" // the model of package fleet
)

// A fault is a change of the code that breaks a guarantee: where file contains text, exactly
// once and within a function, the fault has instead.
type fault struct {
	name          string
	level         int // the lowest level at which it is searched for
	file          string
	text, instead string
	breaks        string // the guarantee
	configuration
}

// The search sees what it should see, and every part of the code that it explores is needed:
// with a fault in the code, it finds the breach of a guarantee. The faults at level short
// break every guarantee at least once.
func TestSearch_Faults(t *testing.T) {
	all := faults()
	program := buildFaulty(t, all)
	for i, f := range all {
		if f.level > level() {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			found := program.search(t, f.configuration, faultVariable+"="+strconv.Itoa(i))
			require.NotNil(t, found.Breach, "%d states", found.States)
			t.Log(found.Breach)
			assert.Equal(t, f.breaks, found.Breach.Guarantee)
		})
	}
}

// faults returns one fault or more for each part of the code that is needed. It omits parts
// that the search can do without, because something else makes up for them, or because they
// only save time or messages:
//
//   - A poll's age, and that it is none once the clock has stepped back to before it. The
//     replica registers calls that the store has lost again when it sees a lower generation
//     than it registered. The age only saves a message.
//   - A granted key is not due before its lease's end. Earlier polls would only be needless.
//   - A call does not join while a run is active or a claim is out. The hold in the reply to
//     a claim in the meantime would have the same effect.
//   - The replica that ends a run polls for the next one. The index would notify another.
//   - The time of a remembered claim steps back with the clock. The store would only
//     remember the claim for longer.
//   - A claim says when its first call was made, not its last. They differ by the time for which a
//     claim is out, which these searches allow for anyway.
//   - A replica gets an outcome only of the first run that covers a call. A later run covers
//     the call, too.
func faults() []fault {
	return []fault{
		// The machine.
		{
			"calls join a run that has begun", normal,
			machineFile, "if s.Requested > s.Taken {", "if s.Requested >= 0 {",
			"I4", small(3, 0, 0),
		},
		{
			"hold ends with the lease", normal,
			machineFile, "r.Hold = max(0, s.Next.Sub(now))", "due, _ := s.Due()\nr.Hold = max(0, due.Sub(now))",
			"I4", small(3, 0, 0),
		},
		{
			"a granted key is not in the index", short,
			machineFile, "return max(s.Next, s.Until), true", "return 0, false",
			"I4", small(1, 0, 1, explore.Crash),
		},
		{
			"a lease never ends", short,
			machineFile, `(s.Owner == "" || now >= s.Until)`, `s.Owner == ""`,
			"work", small(1, 0, 1, explore.Crash),
		},
		{
			"a lease does not exclude other grants", short,
			machineFile, ` && (s.Owner == "" || now >= s.Until)`, "",
			"I5", with(small(2, 0, 0), shortLease),
		},
		{
			"a finish ends any grant", normal,
			machineFile, `s.Owner == "" || f.Token != s.Token`, `s.Owner == ""`,
			"Do", small(2, 0, 1, explore.Copy),
		},
		{
			"a renewal prolongs any lease", short,
			machineFile, `s.Owner == "" || token != s.Token`, `s.Owner == ""`,
			"I5", with(small(2, 0, 1, explore.Wipe), shortLease),
		},
		{
			"a run acknowledges calls that it has not taken", short,
			machineFile, "s.Acknowledged = s.Taken", "s.Acknowledged, s.Taken = s.Requested, s.Requested",
			"I4", small(2, 0, 0),
		},
		{
			"a call joins the generation that is taken", short,
			machineFile, "s.Requested = max(s.Requested, s.Taken+1)\n\t}\n\tswitch", "s.Requested = max(s.Requested, s.Acknowledged+1)\n\t}\n\tswitch",
			"I4", small(2, 0, 0),
		},
		{
			"a grant that is given back acknowledges", short,
			machineFile, "if f.Ran {", "if true {",
			"I4", small(1, 0, 1, explore.Loss),
		},
		{
			"a claim sent again does not get its grant", short,
			machineFile, "if s.Owner == c.ID && now < s.Until {", "if false {",
			"copy", small(1, 0, 1, explore.Loss),
		},
		{
			"claims are not remembered", short,
			machineFile, "if slices.ContainsFunc(s.IDs, func(r Recent) bool { return r.ID == id }) {", "if false {",
			"copy", small(1, 0, 1, explore.Copy),
		},
		{
			"a copy registers", short,
			machineFile, "if !again && (c.New", "if (c.New",
			"copy", small(1, 0, 1, explore.Copy),
		},
		{
			"a copy is granted", short,
			machineFile, "case !again && now <= c.By", "case now <= c.By",
			"copy", small(2, 0, 1, explore.Copy),
		},
		{
			"a claim is granted however late it comes", short,
			machineFile, "now <= c.By && ", "",
			"late", small(1, 0, 1, explore.Loss),
		},
		{
			"a finish drops its retry", short,
			machineFile, "s.Requested = max(s.Requested, s.Taken+1)\n\t}\n\tif next", "}\n\tif next",
			"I4", small(1, 0, 2, explore.Failure, explore.Crash),
		},
		{
			"a retry comes early", short,
			machineFile, "s.Span, s.Next = f.Delay, next", "",
			"I1", small(1, 0, 1, explore.Failure),
		},
		{
			"the next claim cuts a retry's delay", short,
			machineFile, "s.Span, s.Next = f.Delay, next", "s.Next = next",
			"I1", small(2, 0, 1, explore.Failure),
		},
		{
			"a step back stalls the next run", short,
			machineFile, "s.Next = min(s.Next, now.Add(s.Span))\n", "",
			"work", with(small(2, 0, 1, explore.Backward), far),
		},
		{
			"a step back stalls a lease", short,
			machineFile, "s.Until = min(s.Until, now.Add(s.Lease))\n", "",
			"work", with(small(2, 0, 1, explore.Backward), far),
		},
		{
			"tokens are only the store's time", short,
			machineFile, "max(s.Token+1, int64(now), c.Seen+1)", "max(int64(now), c.Seen+1)",
			"I3", small(2, 0, 1, explore.Backward),
		},
		{
			"tokens are only counted", short,
			machineFile, "max(s.Token+1, int64(now), c.Seen+1)", "max(s.Token+1, c.Seen+1)",
			"I3", small(2, 0, 1, explore.Wipe),
		},
		{
			"tokens ignore what the replica has seen", short,
			machineFile, "max(s.Token+1, int64(now), c.Seen+1)", "max(s.Token+1, int64(now))",
			"I3", small(2, 0, 2, explore.Wipe, explore.Backward),
		},

		// Quiet and MaxWait.
		{
			"calls do not hold the run back", short,
			machineFile, "s.postpone(now, c)\n", "",
			"quiet", with(small(1, 0, 0), quiet),
		},
		{
			"calls hold the run back for ever", short,
			machineFile, "next = min(next, s.Limit)", "",
			"wait", with(small(2, 0, 0), quiet),
		},
		{
			"a call counts as made when the store is told", short,
			machineFile, "next := now.Add(c.Quiet).Add(-max(c.Age, 0))", "next := now.Add(c.Quiet)",
			"wait", with(small(2, 0, 0), quiet),
		},
		{
			"the first call counts as made when the store is told", short,
			machineFile, "max(1, latest.Add(-max(c.First, 0)))", "latest",
			"wait", with(small(3, 0, 0), quiet),
		},
		{
			"a lost grant forgets the first call", short,
			machineFile, ` && (s.Taken == s.Acknowledged || s.Owner != "" && now < s.Until)`, "",
			"wait", with(small(2, 0, 1, explore.Loss), quiet),
		},
		{
			"the first call is never forgotten", short,
			machineFile, "s.Limit = 0 // no earlier call waits", "",
			"quiet", with(small(2, 0, 0), quiet),
		},
		{
			"calls during a run have the limit of those before it", short,
			machineFile, ` && (s.Taken == s.Acknowledged || s.Owner != "" && now < s.Until)`, " && s.Taken == s.Acknowledged",
			"quiet", with(small(2, 0, 0), quiet),
		},
		{
			"a call puts the run forward", short,
			machineFile, "if next > max(s.Next, now) {", "if next > now {",
			"I1", with(small(2, 0, 0), quiet, spaced),
		},
		{
			"a retry has the limit of the calls before it", short,
			machineFile, "s.Limit = 0 // no call waits", "",
			"quiet", with(small(2, 0, 1, explore.Failure), quiet),
		},
		{
			"the store does not allow for the slack", short,
			replicaFile, "r.claim.Quiet += r.Rules.Slack", "",
			"quiet", with(small(2, 1, 0), quiet, slack),
		},
		{
			"the store is told of no call that joins", short,
			replicaFile, "made < r.holdUntil && (r.Rules.Quiet == 0 || made-r.told < r.Rules.Slack)", "made < r.holdUntil",
			"quiet", with(small(2, 1, 0), quiet),
		},
		{
			"a claim that is given up forgets its first call", short,
			replicaFile, "r.dirty, r.fresh = true, r.sent-r.claim.First", "r.dirty, r.fresh = true, now",
			"wait", with(small(2, 0, 1, explore.Loss), quiet),
		},
		{
			"a local run does not wait for quiet", short,
			replicaFile, "return max(r.notBefore, from)", "return r.notBefore",
			"quiet", with(small(1, 0, 1, explore.Loss), quiet, local),
		},
		{
			"calls that a local run covers hold the next run back", short,
			replicaFile, "r.dirty = r.pending && r.calls", "r.dirty = r.calls",
			"wait", with(small(2, 0, 1, explore.Loss), quiet, local),
		},

		// The replica.
		{
			"spacing lacks the guard", short,
			modelFile, "Spacing: m.at(p.spacing())", "Spacing: m.at(p.Interval)",
			"I2", small(2, 0, 0),
		},
		{
			"a grant is used however late it comes", short,
			replicaFile, "return now-r.sent > r.guard", "return false",
			"I2", small(2, 0, 1, explore.Slowness),
		},
		{
			"a grant is judged by the new policy's guard", normal,
			replicaFile, "return now-r.sent > r.guard", "return now-r.sent > r.Rules.Guard",
			"I2", small(2, 0, 2, explore.Slowness, explore.Steering),
		},
		{
			"the store grants for longer than the guard", short,
			replicaFile, "return r.storeNow.Add(now - r.storeAt + r.Rules.Guard)", "return r.storeNow.Add(now - r.storeAt + 2*r.Rules.Guard)",
			"late", small(1, 0, 1, explore.Slowness),
		},
		{
			"hold counts from the answer", normal,
			replicaFile, "r.holdUntil = r.sent + reply.Hold", "r.holdUntil = now + reply.Hold",
			"I4", small(3, 0, 0),
		},
		{
			"calls made since the claim join what is pending", normal,
			replicaFile, "r.dirty = r.pending && r.calls > r.sentCalls && !r.joins(r.newest)", "r.dirty = false",
			"I4", small(3, 0, 0),
		},
		{
			"calls made since the claim are covered", normal,
			replicaFile, "since := r.calls > r.sentCalls", "since := false",
			"I4", small(3, 0, 0),
		},
		{
			"a call that joins does not poll", short,
			replicaFile, "if !r.polling { //", "if false { //",
			"Do", small(3, 0, 1, explore.Canceling),
		},
		{
			"the first claim for a call has only an age", short,
			replicaFile, "case r.pending && !r.dirty:", "case r.pending:\nr.claim.New = false",
			"I4", with(small(2, 0, 1, explore.Backward), near),
		},
		{
			"an abandoned claim is not repeated", normal,
			replicaFile, "if r.claim.New && r.pending {", "if false {",
			"I4", with(small(2, 0, 2, explore.Loss, explore.Backward), near),
		},
		{
			"only clocks show a loss of state", normal,
			replicaFile, "return last >= 0 && !r.claim.New && reply.Generation < r.registered[last].generation", "return last >= 0 && false",
			"I4", small(2, 0, 2, explore.Rollback, explore.Backward),
		},
		{
			"a retry is a call after the finish", short,
			replicaFile, "f.Token, f.Ran = r.token, true", "f.Ran, f.Token = true, r.token\nif f.Again {\nf.Again = false\nr.calls++\nr.pending, r.newest = true, r.sent\nr.dirty = true\n}",
			"I4", small(1, 0, 2, explore.Failure, explore.Crash),
		},
		{
			"a lease counts from its answer", short,
			replicaFile, "r.renewed(r.sent)", "r.renewed(now)",
			"I5", with(small(1, 1, 0), shortLease),
		},
		{
			"a denied lease is kept", short,
			replicaFile, "default:\n\t\tr.leaseEnd = sent\n", "",
			"I5", with(small(1, 0, 1, explore.Wipe), shortLease),
		},
		{
			"tokens are forgotten", short,
			replicaFile, "r.seen = max(r.seen, reply.Token, reply.Last.Token)", "",
			"I3", small(2, 0, 2, explore.Wipe, explore.Backward),
		},
		{
			"polls never pause", short,
			replicaFile, "return min(r.Rules.Guard<<min(r.misses-1, 10), r.Rules.Spacing)", "return 0",
			"work", with(small(1, 0, 2, explore.Loss, explore.Failure), local),
		},
		{
			"a run starts beside a local run", short,
			replicaFile, "if r.local || now < r.notBefore || r.late(now) {", "if now < r.notBefore || r.late(now) {",
			"local", with(small(1, 0, 2, explore.Loss, explore.Failure), local),
		},
		{
			"a run starts soon after a local run", short,
			replicaFile, "if r.local || now < r.notBefore || r.late(now) {", "if r.local || r.late(now) {",
			"local", with(small(1, 0, 2, explore.Loss, explore.Failure), local),
		},
		{
			"a local run starts soon after another", short,
			replicaFile, "if r.Full || now < r.LocalFrom() {", "if r.Full || r.LocalFrom() == Never {",
			"local", with(small(2, 0, 1, explore.Loss), local),
		},
		{
			"a claim during a run can be granted", short,
			replicaFile, "r.phase != idle || r.local || r.Full || now < r.notBefore {", "r.local || now < r.notBefore {",
			"late", with(small(2, 0, 1, explore.Pause), shortLease),
		},
		{
			"a claim during a local run can be granted", short,
			replicaFile, "r.phase != idle || r.local || r.Full || now < r.notBefore {", "r.phase != idle || now < r.notBefore {",
			"late", with(small(1, 0, 2, explore.Loss, explore.Failure), local),
		},
		{
			"a claim soon after a local run can be granted", short,
			replicaFile, "r.phase != idle || r.local || r.Full || now < r.notBefore {", "r.phase != idle || r.local {",
			"late", with(small(1, 0, 2, explore.Loss, explore.Failure), local),
		},

		// The replicas of a Group.
		{
			"a full process asks for a run", short,
			replicaFile, "r.phase != idle || r.local || r.Full || now < r.notBefore {", "r.phase != idle || r.local || now < r.notBefore {",
			"late", with(small(1, 0, 1, explore.Filling), group),
		},
		{
			"a full process polls for ever", short,
			replicaFile, "case r.Full:\n\t\treturn Wait, until\n\tdefault:", "default:",
			"work", with(small(1, 0, 1, explore.Filling), group),
		},
		{
			"a full process runs without a grant", short,
			replicaFile, "if r.Full || now < r.LocalFrom() {", "if now < r.LocalFrom() {",
			"room", with(small(1, 0, 2, explore.Loss, explore.Filling), local, group),
		},
		{
			"a key with a call is forgotten", short,
			replicaFile, "return !r.pending && r.Synced()", "return r.Synced()",
			"Do", with(small(2, 0, 0), group),
		},
		{
			"a key with a run is forgotten", short,
			replicaFile, "return !r.pending && r.Synced()", "return !r.pending",
			"work", with(small(2, 0, 0), group, shortLease),
		},
		{
			"tokens are forgotten with their key", short,
			modelFile, "p.r.See(old.Seen)", "",
			"I3", with(small(2, 0, 2, explore.Wipe, explore.Backward), group),
		},
		{
			"a local run is forgotten with its key", short,
			modelFile, "(!c.Local || c.at(c.now) >= v.NotBefore)", "true",
			"local", with(small(2, 0, 1, explore.Loss), local, group),
		},
	}
}
