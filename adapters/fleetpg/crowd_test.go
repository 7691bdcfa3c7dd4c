//go:build linux

package fleetpg_test

import (
	"testing"
	"time"

	"github.com/throttle-go/throttle/internal/testkit/fleettest"
)

func TestEngine_Crowd(t *testing.T) {
	throttlers := 500
	if testing.Short() {
		throttlers = 100
	}
	engine := newEngine(t, newDatabase(t).pool(t))
	requireWorks(t, engine)
	fleettest.CallMany(t, engine, throttlers, 2*time.Second)
}
