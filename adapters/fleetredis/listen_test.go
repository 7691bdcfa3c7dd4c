//go:build linux

package fleetredis_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
)

// listen listens to engine until the test ends or calls stop, which returns the result of Listen.
func listen(t *testing.T, engine fleet.Engine) (wakes <-chan machine.Wake, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	heard := make(chan machine.Wake, 100)
	result := make(chan error, 1)
	ended := make(chan struct{})
	go func() {
		result <- engine.Listen(ctx, func(w machine.Wake) { heard <- w })
		close(ended)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return heard, func() error { cancel(); return <-result }
}

// requireSubscribed waits until an engine listens.
func requireSubscribed(t *testing.T, s *server) {
	t.Helper()
	client := s.client(t)
	require.Eventually(t, func() bool {
		n, err := client.PubSubNumSub(t.Context(), "throttle:{default}:wake").Result()
		return err == nil && n["throttle:{default}:wake"] == 1
	}, patience, 5*time.Millisecond, "nobody listens")
}

func receive(t *testing.T, wakes <-chan machine.Wake) machine.Wake {
	t.Helper()
	select {
	case w := <-wakes:
		return w
	case <-time.After(patience):
		t.Fatal("no wake came")
		return machine.Wake{}
	}
}

// finish claims and finishes a run of key. A second finish must be stale.
func finish(t *testing.T, engine fleet.Engine, key string, again bool) machine.Finished {
	t.Helper()
	reply, err := engine.Claim(t.Context(), key, newClaim("id"))
	require.NoError(t, err)
	f := machine.Finish{Token: reply.Token, Ran: true, Again: again}
	finished, err := engine.Finish(t.Context(), key, f)
	require.NoError(t, err)
	require.False(t, finished.Stale)
	stale, err := engine.Finish(t.Context(), key, f)
	require.NoError(t, err)
	require.True(t, stale.Stale)
	return finished
}

// TestEngine_Listen checks that a listener hears about every finished run once, and when the key is
// due next.
func TestEngine_Listen(t *testing.T) {
	forEachServer(t, func(t *testing.T, s *server) {
		s.Start(t)
		engine := newEngine(t, s.client(t))
		wakes, stop := listen(t, engine)
		requireSubscribed(t, s)
		for _, key := range hostileKeys() {
			finish(t, engine, key, false)
			assert.Equal(t, machine.Wake{Key: key, Poll: machine.None}, receive(t, wakes))
			require.NoError(t, s.client(t).Del(t.Context(), prefix+"key:"+key).Err())
			finished := finish(t, engine, key, true)
			require.True(t, finished.Pending)
			assert.Equal(t, machine.Wake{Key: key, Poll: finished.Poll}, receive(t, wakes))
		}
		require.ErrorIs(t, stop(), context.Canceled)
		require.Empty(t, wakes)
	})
}

// TestEngine_Listen_ForeignMessages checks that Listen ignores what others publish on its channel.
func TestEngine_Listen_ForeignMessages(t *testing.T) {
	s := startServer(t)
	client := s.client(t)
	wakes, _ := listen(t, newEngine(t, client))
	requireSubscribed(t, s)
	for _, payload := range []string{
		"", " ", "x", "5", " k", "x k", "-2 k", "1.5 k", "0x5 k", "nan k", "99999999999999999999 k", "3153600000000001 k", "\x00\xff",
		"5 last",
	} {
		require.NoError(t, client.Publish(t.Context(), "throttle:{default}:wake", payload).Err())
	}
	assert.Equal(t, machine.Wake{Key: "last", Poll: 5 * time.Microsecond}, receive(t, wakes))
}

// TestEngine_Listen_Restart checks that Listen goes on, with a new connection, after the server
// restarts.
func TestEngine_Listen_Restart(t *testing.T) {
	s := startServer(t)
	engine := newEngine(t, s.client(t))
	wakes, stop := listen(t, engine)
	requireSubscribed(t, s)
	s.Kill(t)
	s.Start(t)
	requireSubscribed(t, s)
	finish(t, engine, "k", false)
	assert.Equal(t, "k", receive(t, wakes).Key)
	s.Kill(t)
	require.ErrorIs(t, stop(), context.Canceled, "it must end without a server too")
}

// TestEngine_Listen_SilentConnection checks that Listen replaces a connection that no longer
// delivers anything, such as one that a firewall has forgotten.
func TestEngine_Listen_SilentConnection(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes 10 s, and -short is set")
	}
	s := startServer(t)
	w := newWire(t, s.Addr())
	wakes, _ := listen(t, newEngine(t, connect(t, impatientOptions(w.listener.Addr().String()))))
	requireSubscribed(t, s)
	before := w.accepted.Load()
	w.silent.Store(true)
	require.Eventually(t, func() bool { return w.accepted.Load() > before }, patience, 5*time.Millisecond)
	w.silent.Store(false)
	engine := newEngine(t, s.client(t))
	require.Eventually(t, func() bool {
		finish(t, engine, "k", false)
		require.NoError(t, s.client(t).Del(t.Context(), prefix+"key:k").Err())
		return len(wakes) > 0
	}, patience, 50*time.Millisecond)
}

// TestEngine_Listen_Goroutines checks that neither Listen nor operations leak a goroutine.
func TestEngine_Listen_Goroutines(t *testing.T) {
	s := startServer(t)
	before := goleak.IgnoreCurrent()
	client := newClient(t, s.Addr())
	engine := newEngine(t, client)
	_, stop := listen(t, engine)
	requireSubscribed(t, s)
	finish(t, engine, "k", false)
	require.ErrorIs(t, stop(), context.Canceled)
	require.NoError(t, client.Close())
	goleak.VerifyNone(t, before)
}

// TestEngine_Listen_Forbidden checks that Listen returns if the server forbids to subscribe, as
// trying again would not help.
func TestEngine_Listen_Forbidden(t *testing.T) {
	s := startServer(t)
	client := s.client(t)
	require.NoError(t, client.ACLSetUser(t.Context(), "mute", "on", ">password", "+@all", "~*", "resetchannels").Err())
	options := clientOptions(s.Addr())
	options.Username, options.Password = "mute", "password"
	limited := connect(t, options)
	engine := newEngine(t, limited)
	err := engine.Listen(t.Context(), func(machine.Wake) {})
	require.ErrorContains(t, err, "NOPERM")
	require.Zero(t, limited.PoolStats().PubSubStats.Active, "its connection is still open")
	finish(t, engine, "k", false) // it cannot publish, but does everything else
	require.Equal(t, int64(1), load(t, client, "k").Acknowledged)
}
