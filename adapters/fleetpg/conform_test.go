//go:build linux

package fleetpg_test

import (
	"testing"

	"github.com/throttle-go/throttle/adapters/fleetpg"
	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/enginetest"
	"github.com/throttle-go/throttle/fleet/machine"
)

func TestEngineConforms(t *testing.T) {
	d := newDatabase(t, true)
	enginetest.Run(t, func(t *testing.T) fleet.Engine { return newEngine(t, d.pool(t)) })
}

func TestEngineConformsAtAnyTime(t *testing.T) {
	d := newDatabase(t, true)
	set := standClock(t, d.pool(t))
	enginetest.Run(t, func(t *testing.T) fleet.Engine {
		// No commit waits for the disk, as there are thousands.
		return newEngine(t, d.pool(t, "options=-csynchronous_commit%3Doff"), fleetpg.WithVolatile())
	}, enginetest.SetClock(func(now machine.Time) { set(now) }))
}
