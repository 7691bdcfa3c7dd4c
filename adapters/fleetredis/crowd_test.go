//go:build linux

package fleetredis_test

import (
	"testing"
	"time"

	"github.com/throttle-go/throttle/internal/testkit/fleettest"
)

func TestEngine_Crowd(t *testing.T) {
	throttlers := 5000
	if testing.Short() {
		throttlers = 500
	}
	s := startServer(t, "--appendfsync", "everysec")
	fleettest.CallMany(t, newEngine(t, s.client(t)), throttlers, time.Second/2)
}
