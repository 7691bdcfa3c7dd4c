//go:build linux && !386

package fleettest_test

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/fleet/machine"
)

// faulty names the environment variable that contains the name of the store's fault.
const faulty = "FLEETTEST_FAULT"

// A fault is something wrong with a store, or with its engine.
type fault struct {
	scenario string // the scenario that finds it
	before   func(s *machine.State, r request)
	after    func(s *machine.State, r *reply)
	mute     bool // the index is empty
	leaks    bool // an engine leaks a goroutine
}

// faults returns faults by their names.
func faults() map[string]fault {
	return map[string]fault{
		"grants within the interval": {scenario: "02", before: func(_ *machine.State, r request) {
			if r.Claim != nil {
				r.Claim.Spacing = 0
			}
		}},
		"lowers tokens": {scenario: "02", after: func(s *machine.State, r *reply) {
			if r.Claim.Verdict == machine.Granted {
				s.Token = machine.MaxNumber - int64(r.Claim.Now)
				r.Claim.Token = s.Token
			}
		}},
		"grants beside a lease": {scenario: "03", before: func(s *machine.State, r request) {
			if r.Claim != nil {
				s.Until = 0
			}
		}},
		"has an empty index when the caller dies": {scenario: "04", mute: true},
		"forgets calls": {scenario: "04", before: func(s *machine.State, r request) {
			if r.Claim != nil && s.Granted > 0 {
				r.Claim.New = false
			}
		}},
		"has an empty index when the holder dies": {scenario: "05", mute: true},
		"accepts any finish": {scenario: "06", before: func(s *machine.State, r request) {
			if r.Finish != nil {
				r.Finish.Token = s.Token
			}
		}},
		"grants a repeated claim again": {scenario: "07", before: func(s *machine.State, r request) {
			if r.Claim != nil && r.Claim.ID == s.Owner {
				s.Owner, s.IDs, s.Next = "", nil, 0
			}
		}},
		"runs at once": {scenario: "25", before: func(_ *machine.State, r request) {
			if r.Claim != nil {
				r.Claim.Quiet = 0
			}
		}},
		"waits for ever": {scenario: "26", before: func(_ *machine.State, r request) {
			if r.Claim != nil {
				r.Claim.MaxWait = 0
			}
		}},
		"has an empty index of orphans": {scenario: "22", mute: true},
		"leaks a goroutine":             {scenario: "18", leaks: true},
	}
}

// TestScenarios_Faults checks that scenarios fail if the store has a fault. On a busy machine a
// scenario can be too slow to meet the fault, so it has several attempts.
func TestScenarios_Faults(t *testing.T) {
	program, err := os.Executable()
	require.NoError(t, err)
	for name, f := range faults() {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && name != "lowers tokens" {
				t.Skip("it takes seconds, and -short is set")
			}
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			command := exec.CommandContext(ctx, program, "-test.run=^TestScenarios$/^"+f.scenario,
				"-test.count=10", "-test.failfast", "-test.v")
			command.Env = append(os.Environ(), faulty+"="+name, "FLEETTEST_PATIENCE=5s")
			output, err := command.CombinedOutput()
			require.NoError(t, ctx.Err())
			require.Error(t, err)
			require.Contains(t, string(output), "--- FAIL: TestScenarios/"+f.scenario)
			t.Logf("%s", output)
		})
	}
}
