//go:build linux

package fleetredis_test

import (
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/throttle-go/throttle/adapters/fleetredis"
	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/enginetest"
	"github.com/throttle-go/throttle/fleet/machine"
)

func TestEngine_Conformance(t *testing.T) {
	forEachServer(t, func(t *testing.T, s *server) {
		s.Start(t)
		enginetest.Run(t, func(t *testing.T) fleet.Engine { return newEngine(t, s.client(t)) })
	})
}

func TestCluster_Conformance(t *testing.T) {
	c := startCluster(t, "redis")
	enginetest.Run(t, func(t *testing.T) fleet.Engine { return newEngine(t, c.client(t), fleetredis.WithShards(8)) })
}

func TestEngine_Conformance_ClockSteps(t *testing.T) {
	s := miniredis.RunT(t)
	set := func(now machine.Time) { s.SetTime(time.UnixMicro(int64(now))) }
	enginetest.Run(t, func(t *testing.T) fleet.Engine {
		return newEngine(t, newClient(t, s.Addr()), fleetredis.WithVolatile())
	}, enginetest.SetClock(set))
}
