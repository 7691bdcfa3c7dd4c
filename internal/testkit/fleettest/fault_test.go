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

// This file proves the scenarios: in a fleet with a fault, one fails.

// faulty names the environment variable that says which fault the store has.
const faulty = "FLEETTEST_FAULT"

// A fault is what is wrong with a store, or its engine.
type fault struct {
	scenario string // that finds it
	before   func(s *machine.State, r request)
	after    func(s *machine.State, r *reply)
	mute     bool // its index is empty
	leaks    bool // an engine leaves a goroutine
}

// faults are some, by what the store does.
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
		"tells of no call but by its owner": {scenario: "04", mute: true},
		"forgets calls": {scenario: "04", before: func(s *machine.State, r request) {
			if r.Claim != nil && s.Granted > 0 {
				r.Claim.New = false
			}
		}},
		"forgets who holds a lease": {scenario: "05", mute: true},
		"takes any finish": {scenario: "06", before: func(s *machine.State, r request) {
			if r.Finish != nil {
				r.Finish.Token = s.Token
			}
		}},
		"grants anew if asked again": {scenario: "07", before: func(s *machine.State, r request) {
			if r.Claim != nil && r.Claim.ID == s.Owner {
				s.Owner, s.IDs, s.Next = "", nil, 0
			}
		}},
		"leaves a goroutine": {scenario: "18", leaks: true},
	}
}

func TestScenariosFindFaults(t *testing.T) {
	program, err := os.Executable()
	require.NoError(t, err)
	for name, f := range faults() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			command := exec.CommandContext(ctx, program, "-test.run=^TestScenarios$/^"+f.scenario, "-test.v")
			command.Env = append(os.Environ(), faulty+"="+name, "FLEETTEST_PATIENCE=5s")
			output, err := command.CombinedOutput()
			require.NoError(t, ctx.Err())
			require.Error(t, err)
			require.Contains(t, string(output), "--- FAIL: TestScenarios/"+f.scenario)
			t.Logf("%s", output)
		})
	}
}
