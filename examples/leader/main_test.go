package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/internal/testkit/flagstest"
)

// The processes of the service are this test binary.
func TestMain(m *testing.M) {
	if os.Getenv(asReplica) != "" {
		main()
		return
	}
	m.Run()
}

func TestDemonstration(t *testing.T) {
	tests := map[string]struct{ by, crash string }{
		"file":       {"a file lock", "killed"},
		"lease":      {"a lease", "cut off"},
		"kubeconfig": {"a lease", "cut off"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var args []string
			switch name {
			case "file":
				requireFlock(t)
			case "lease":
				args = []string{"-election", "lease"}
			case "kubeconfig":
				args = []string{"-kubeconfig", serveCluster(t, new(fakeCluster))}
			}
			var out bytes.Buffer
			require.NoError(t, run(t.Context(), args, &out), out.String())
			for _, pattern := range []string{
				`^2 replicas, elected by ` + test.by + `;`,
				`\nreplica \d .*█.*✗`,
				`\ncalls +[1-9]\d* `,
				`\nsyncs +[1-9]\d* `,
				`\nreplica \d    led [\d.]+m?s after replica \d was ` + test.crash + `; [1-9]\d* calls had waited`,
				`\nreplica \d    led [\d.]+m?s after replica \d was stopped; [1-9]\d* calls had waited`,
			} {
				assert.Regexp(t, pattern, out.String())
			}
		})
	}
}

// The demonstration ends if a replica cannot take part.
func TestDemonstration_Failure(t *testing.T) {
	d := &demonstration{record: newRecord()}
	d.start = func(context.Context, int) (*member, error) {
		return d.startProcess(len(d.members), filepath.Join(t.TempDir(), "missing", "lock"))
	}
	require.ErrorContains(t, d.run(t.Context()), "a replica has failed")
}

func TestRun_Interrupt(t *testing.T) {
	requireFlock(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, run(ctx, nil, new(bytes.Buffer)), context.Canceled)
}

func TestFlags(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	flagstest.Check(t, filepath.Join(flagstest.Build(t, "."), "leader"),
		"-election raft", "-election file -kubeconfig f", "-namespace=", "-kubeconfig "+missing)
}

func TestJudgeAll(t *testing.T) {
	// Each replica has a call before it leads, and its first sync covers that and its own.
	events := func(kinds ...event) []event {
		for i := range kinds {
			kinds[i].at = time.Unix(int64(i), 0)
		}
		return kinds
	}
	call := func(m int) event { return event{member: m, kind: "call"} }
	lead := func(m int) event { return event{member: m, kind: "lead"} }
	sync := func(m int) event { return event{member: m, kind: "run"} }
	end := func(m, calls int) event { return event{member: m, kind: "end", calls: calls} }
	pause := func(m int) event { return event{member: m, kind: "pause"} }
	kill := func(m int) event { return event{member: m, kind: "kill"} }
	tests := map[string]struct {
		events []event
		wrong  string
	}{
		"right": {events(
			lead(0), sync(0), end(0, 1), call(1), sync(0), kill(0),
			lead(1), sync(1), call(1), end(1, 2), call(2), pause(1),
			lead(2), sync(2), end(2, 2), pause(2)), ""},
		"two leaders": {events(lead(0), lead(1)), "replica 1 leads while 0 does"},
		"no leader":   {events(lead(0), pause(0), sync(0)), "replica 0 syncs, but does not lead"},
		"a standby":   {events(lead(0), sync(1)), "replica 1 syncs, but does not lead"},
		"overlap":     {events(lead(0), sync(0), pause(1), lead(1), sync(1)), "a sync of replica 1 overlaps one of 0"},
		"calls lost":  {events(call(0), call(0), lead(0), sync(0), end(0, 2)), "covered 1 calls, but 2 had waited"},
		"no sync":     {events(lead(0), pause(0)), "covered -1 calls"},
		"no takeover": {events(lead(0), sync(0), end(0, 1)), "the lead began only 1 times"},
		"nothing":     {nil, "the lead began only 0 times"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			j, err := judgeAll(test.events)
			if test.wrong != "" {
				require.ErrorContains(t, err, test.wrong)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, 3, j.calls)
			assert.Equal(t, 4, j.syncs)
			assert.Equal(t, []takeover{
				{member: 0, before: -1, after: j.takeovers[0].after},
				{member: 1, before: 0, how: "kill", after: time.Second, waited: 1, covered: 1},
				{member: 2, before: 1, how: "pause", after: time.Second, waited: 1, covered: 1},
			}, j.takeovers)
		})
	}
}

// requireFlock skips the test if the system has no flock.
func requireFlock(t *testing.T) {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "lock"))
	require.NoError(t, err)
	defer file.Close()
	if _, err := tryLock(file); errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
}
