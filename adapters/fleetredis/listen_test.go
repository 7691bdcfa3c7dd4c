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

// This file holds what those hear who listen.

// listen listens to engine until the test ends or stop is called, which returns
// what Listen has.
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

// requireSubscribed waits until somebody listens.
func requireSubscribed(t *testing.T, s *server) {
	t.Helper()
	client := s.client(t)
	require.Eventually(t, func() bool {
		n, err := client.PubSubNumSub(t.Context(), "throttle:{default}:wake").Result()
		return err == nil && n["throttle:{default}:wake"] == 1
	}, 20*time.Second, 5*time.Millisecond, "nobody listens")
}

func receive(t *testing.T, wakes <-chan machine.Wake) machine.Wake {
	t.Helper()
	select {
	case w := <-wakes:
		return w
	case <-time.After(20 * time.Second):
		t.Fatal("no wake was heard")
		return machine.Wake{}
	}
}

// finish runs key once.
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

// TestListenHearsRunsEnd: of every key, once, with when the next is due.
func TestListenHearsRunsEnd(t *testing.T) {
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

// TestListenIgnoresWhatOthersPublish: anybody may.
func TestListenIgnoresWhatOthersPublish(t *testing.T) {
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

// TestListenGoesOnAfterARestart: on another connection.
func TestListenGoesOnAfterARestart(t *testing.T) {
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
	require.ErrorIs(t, stop(), context.Canceled, "it ends without a server too")
}

// TestListenLeavesASilentConnection: one that has broken without a word, as by a firewall
// that has forgotten it.
func TestListenLeavesASilentConnection(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes 10 s, and -short is set")
	}
	s := startServer(t)
	w := newWire(t, s.Addr())
	wakes, _ := listen(t, newEngine(t, newClient(t, w.listener.Addr().String())))
	requireSubscribed(t, s)
	before := w.accepted.Load()
	w.silent.Store(true)
	require.Eventually(t, func() bool { return w.accepted.Load() > before }, 30*time.Second, 5*time.Millisecond)
	w.silent.Store(false)
	engine := newEngine(t, s.client(t))
	require.Eventually(t, func() bool {
		finish(t, engine, "k", false)
		require.NoError(t, s.client(t).Del(t.Context(), prefix+"key:k").Err())
		return len(wakes) > 0
	}, 20*time.Second, 50*time.Millisecond)
}

// TestListenLeavesNoGoroutine, nor do operations.
func TestListenLeavesNoGoroutine(t *testing.T) {
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

// TestListenReturnsIfItIsForbidden: to try again would be in vain.
func TestListenReturnsIfItIsForbidden(t *testing.T) {
	s := startServer(t)
	client := s.client(t)
	require.NoError(t, client.ACLSetUser(t.Context(), "mute", "on", ">password", "+@all", "~*", "resetchannels").Err())
	options := clientOptions(s.Addr())
	options.Username, options.Password = "mute", "password"
	limited := connect(t, options)
	engine := newEngine(t, limited)
	err := engine.Listen(t.Context(), func(machine.Wake) {})
	require.ErrorContains(t, err, "NOPERM")
	require.Zero(t, limited.PoolStats().PubSubStats.Active, "its connection is left")
	finish(t, engine, "k", false) // which cannot publish, and does all else
	require.Equal(t, int64(1), load(t, client, "k").Acknowledged)
}
