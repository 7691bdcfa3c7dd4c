//go:build linux

package fleetredis_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/adapters/fleetredis"
	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
)

// The tests in this file compare the scripts with package machine.

// hostileKeys returns keys that could break a script or a protocol.
func hostileKeys() []string {
	return []string{
		"", "plain", "}", "{", "{}", "a}{b", "with space", "quote ' \" \\", "new\r\nline", "nul\x00byte",
		"%d %s %%", "ünïcödé ☃", "\xff\xfe", "KEYS[1]", "'; redis.call('FLUSHALL') --", strings.Repeat("long", 20_000),
	}
}

// A twin applies operations to an engine and to a machine.State, and compares the results.
type twin struct {
	t      *testing.T
	engine fleet.Engine
	client redis.Cmdable
	random *rand.Rand
	unit   time.Duration // random spans are up to ten of it

	states map[string]*machine.State
	tokens map[string][]int64
	ids    []string
}

func newTwin(t *testing.T, client redis.UniversalClient, unit time.Duration, opts ...fleetredis.Option) *twin {
	t.Helper()
	engine, err := fleetredis.New(client, opts...)
	require.NoError(t, err)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return &twin{
		t: t, engine: engine, client: client, random: rand.New(rand.NewPCG(seed, 0)), unit: unit,
		states: make(map[string]*machine.State), tokens: make(map[string][]int64),
	}
}

func (w *twin) state(key string) *machine.State {
	if w.states[key] == nil {
		w.states[key] = new(machine.State)
	}
	return w.states[key]
}

func (w *twin) span() time.Duration {
	switch w.random.IntN(20) {
	case 0:
		return 0
	case 1:
		return machine.MaxSpan
	default:
		return rand.N(10 * w.unit).Truncate(time.Microsecond)
	}
}

// quiet returns a span that is often 0 or not in whole microseconds, and seldom so long that the key is
// not due again.
func (w *twin) quiet() time.Duration {
	switch w.random.IntN(40) {
	case 0:
		return machine.MaxSpan
	case 1, 2, 3, 4, 5, 6, 7, 8, 9:
		return rand.N(2 * time.Microsecond)
	case 10, 11, 12, 13, 14, 15, 16, 17, 18, 19:
		return rand.N(3 * w.unit)
	default:
		return 0
	}
}

func (w *twin) text() string {
	return []string{"", "every 1m0s", "quote ' \" \\ %d", "new\r\nline ;=1 2", "ünïcödé ☃", strings.Repeat("x", machine.MaxText)}[w.random.IntN(6)]
}

// id returns a new identifier, or a recent one.
func (w *twin) id() string {
	if n := len(w.ids); n > 0 && w.random.IntN(4) == 0 {
		return w.ids[max(0, n-1-w.random.IntN(40))]
	}
	id := fmt.Sprintf("%d-%s", len(w.ids), strings.Repeat("a", w.random.IntN(20)))
	w.ids = append(w.ids, id)
	return id
}

// token returns a token that the key has, had, or never had.
func (w *twin) token(key string) int64 {
	tokens := w.tokens[key]
	if len(tokens) == 0 || w.random.IntN(10) == 0 {
		return w.random.Int64N(machine.MaxNumber)
	}
	return tokens[max(0, len(tokens)-1-w.random.IntN(2))]
}

// step applies a random operation to key.
func (w *twin) step(key string) {
	switch w.random.IntN(7) {
	case 0, 1, 2, 3:
		w.claim(key)
	case 4, 5:
		w.finish(key)
	default:
		w.renew(key)
	}
	s := load(w.t, w.client, key)
	require.Equal(w.t, hashed(*w.state(key)), s)
	require.NoError(w.t, s.Validate())
	requireIndexed(w.t, w.client, key, s)
}

func (w *twin) claim(key string) {
	now := storeNow(w.t.Context(), w.t, w.client)
	c := machine.Claim{
		ID:      w.id(),
		New:     w.random.IntN(2) == 0,
		Age:     []time.Duration{machine.None, 0, w.span()}[w.random.IntN(3)],
		First:   []time.Duration{machine.None, 0, w.span()}[w.random.IntN(3)],
		By:      []machine.Time{0, now, now.Add(time.Hour), now.Add(time.Hour), now.Add(time.Hour)}[w.random.IntN(5)],
		Spacing: w.span(),
		Quiet:   w.quiet(),
		MaxWait: []time.Duration{0, w.quiet(), w.span()}[w.random.IntN(3)],
		Lease:   max(time.Microsecond, w.span()),
		Policy:  w.text(),
	}
	if w.random.IntN(10) == 0 {
		c.Seen = w.state(key).Token + w.random.Int64N(10)
	}
	reply, err := w.engine.Claim(w.t.Context(), key, c)
	require.NoError(w.t, err)
	expected, err := w.state(key).Claim(reply.Now, c)
	require.NoError(w.t, err)
	require.Equal(w.t, expected, reply, "%+v", c)
	if reply.Token != 0 {
		w.tokens[key] = append(w.tokens[key], reply.Token)
	}
}

func (w *twin) finish(key string) {
	f := machine.Finish{
		Token:    w.token(key),
		Ran:      w.random.IntN(3) > 0,
		Again:    w.random.IntN(3) == 0,
		Outcome:  machine.Outcome{Failed: w.random.IntN(2) == 0, Message: w.text()},
		Failures: w.random.IntN(100),
	}
	if w.random.IntN(3) == 0 {
		f.Delay = w.span()
	}
	reply, err := w.engine.Finish(w.t.Context(), key, f)
	require.NoError(w.t, err)
	expected, err := w.state(key).Finish(reply.Now, f)
	require.NoError(w.t, err)
	require.Equal(w.t, expected, reply, "%+v", f)
}

func (w *twin) renew(key string) {
	token := w.token(key)
	before := storeNow(w.t.Context(), w.t, w.client)
	held, err := w.engine.Renew(w.t.Context(), key, token)
	require.NoError(w.t, err)
	s := load(w.t, w.client, key)
	now := before // the reply does not contain the instant; a changed state does
	if held {
		now = s.Until.Add(-s.Lease)
		require.GreaterOrEqual(w.t, now, before)
	}
	require.Equal(w.t, w.state(key).Renew(now, token), held)
}

// TestScripts compares the scripts with the machine on a real server's clock.
func TestScripts(t *testing.T) {
	forEachServer(t, func(t *testing.T, s *server) {
		s.Start(t)
		w := newTwin(t, s.client(t), time.Millisecond)
		keys := hostileKeys()
		// The reply to a renewal does not contain its instant. The instant matters from when the
		// scripts forget identifiers.
		end := time.Now().Add(machine.KeepIDs / 2)
		for range 4000 {
			if time.Now().After(end) {
				break
			}
			w.step(keys[w.random.IntN(len(keys))])
		}
	})
}

// TestScripts_ClockSteps compares them on a clock that steps forth and back.
func TestScripts_ClockSteps(t *testing.T) {
	s := miniredis.RunT(t)
	now := time.Now()
	w := newTwin(t, newClient(t, s.Addr()), time.Second, fleetredis.WithVolatile())
	for range 6000 {
		switch w.random.IntN(30) {
		case 0:
			now = now.Add(time.Duration(w.random.IntN(3)-1) * time.Hour)
		case 1, 2:
			now = now.Add(-rand.N(20 * time.Second))
		case 3:
			now = now.Add(machine.KeepIDs)
		case 4, 5, 6, 7, 8, 9, 10, 11:
			now = now.Add(rand.N(3 * time.Second))
		default:
			now = now.Add(rand.N(5 * time.Millisecond))
		}
		s.SetTime(now)
		w.step([]string{"a", "b"}[w.random.IntN(2)])
	}
}
