package enginetest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
)

// The tests in this file are about what an engine adds to the machine: keys, contexts and
// listeners.

// testKeysApart uses keys that a store could confuse.
func testKeysApart(b *bench) {
	b.ids++
	var keys []string
	for _, text := range []string{
		"a", "A", " a", "a ", "a\t", "a\n", "a\r\n", "\na", "a\x01", "é", "e\u0301", "É", "ß", "ss", "i", "İ", "ı",
		"'", "''", `"`, `\`, `\\`, `\'`, "`", "{a}", "{a}b", "}{", "{}", "{", "*", "?", "[a]", "%", "_", "%s", "$1", ":1", "@a",
		"--", ";", "/*", ",", "a,b", "(a)", "/", "..", ":", "::", "a:b", "|", "~", "#", "<a>", "&amp;", "null", "NULL", "0", "00",
		"0x0", "1e0", "\ufeffa", "\u200ba", "\u202ea", "\ufffd", "\U0010ffff", "\u2028", `\u0061`, `\x61`, "+", "%20",
	} {
		keys = append(keys, text+b.name, b.name+text, text+b.name+text)
	}
	long := strings.Repeat("é", 256)[len(b.name):]
	keys = append(keys, b.name+long, b.name+long[:len(long)-2], b.name+long[:len(long)-2]+"aa", b.name+long[:len(long)-2]+"ab")

	tokens := make(map[string]int64, len(keys))
	for i, key := range keys {
		require.NotContains(b.t, tokens, key)
		c := b.claim()
		c.Spacing, c.Policy = 0, key[:min(len(key), 20)]
		if !strings.HasPrefix(key, b.name) {
			c.Policy = ""
		}
		o := &operation{kind: claim, key: key, claim: c}
		require.NoError(b.t, b.send(b.t.Context(), b.engine(), o))
		require.NoError(b.t, b.model(key).follow(o))
		require.Equal(b.t, machine.Granted, o.reply.Verdict, "%q", key)
		tokens[key] = o.reply.Token
		if i%2 == 0 {
			o := &operation{kind: claim, key: key, claim: b.claim()}
			require.NoError(b.t, b.send(b.t.Context(), b.engine(), o))
			require.NoError(b.t, b.model(key).follow(o))
		}
	}
	b.requireIndex()
	for key, token := range tokens {
		o := &operation{kind: finish, key: key, finish: machine.Finish{
			Token: token, Ran: true, Outcome: machine.Outcome{Failed: true, Message: b.id()},
		}}
		require.NoError(b.t, b.send(b.t.Context(), b.engine(), o))
		require.NoError(b.t, b.model(key).follow(o))
	}
	b.requireIndex() // every second key is due
	for _, key := range keys {
		o := &operation{kind: claim, key: key, claim: b.poll()}
		require.NoError(b.t, b.send(b.t.Context(), b.engine(), o))
		require.NoError(b.t, b.model(key).follow(o))
	}
}

// testEndedContext requires that operations return if their context has ended. An operation may or
// may not have had its effect, so the test does not compare the key.
func testEndedContext(b *bench) {
	key := b.key("")
	ended, cancel := context.WithCancel(b.t.Context())
	cancel()
	expired, cancel := context.WithDeadline(b.t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	for _, ctx := range []context.Context{ended, expired} {
		for _, o := range []*operation{
			{kind: claim, key: key, claim: b.claim()},
			{kind: finish, key: key, finish: machine.Finish{Token: 1, Ran: true}},
			{kind: renew, key: key, token: 1},
		} {
			b.requireEnd(func() {
				require.Error(b.t, b.send(ctx, b.engine(), o), "%v", o)
			})
		}
		b.requireEnd(func() {
			_, err := b.engine().Due(ctx, nil)
			require.Error(b.t, err)
		})
		b.requireEnd(func() {
			_ = b.engine().Listen(ctx, func(machine.Wake) {})
		})
	}
	// The engine must still work.
	b.grant(b.key("other"), b.claim())
}

// requireEnd requires that f returns.
func (b *bench) requireEnd(f func()) {
	b.t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	b.requireDone(done)
}

func (b *bench) requireDone(done <-chan struct{}) {
	b.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		require.FailNow(b.t, "it does not return", "within %v", patience)
	}
}

// A listener collects the notifications of an engine.
type listener struct {
	done chan struct{} // closed when Listen has returned
	err  error         // the result of Listen

	mu sync.Mutex // guards the field below
	// +checklocks:mu
	wakes []machine.Wake
}

func (b *bench) listen(ctx context.Context, e fleet.Engine) *listener {
	l := &listener{done: make(chan struct{})}
	go func() {
		defer close(l.done)
		l.err = e.Listen(ctx, func(w machine.Wake) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.wakes = append(l.wakes, w)
		})
	}()
	return l
}

// ended reports whether Listen has returned.
func (l *listener) ended() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// heard returns the keys of made that the listener has heard about. The values of made are the
// answers to the finishes, which the notifications must match.
func (l *listener) heard(b *bench, made map[string]machine.Finished) map[string]bool {
	b.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	keys := map[string]bool{}
	for _, w := range l.wakes {
		if finished, ok := made[w.Key]; ok {
			require.Equal(b.t, finished.Wake(w.Key), w)
			keys[w.Key] = true
		}
	}
	return keys
}

// testListen finishes runs until each listener has heard about one with a pending call and one
// without. Listeners may miss any notification, and miss most while they start.
func testListen(b *bench) {
	ctx, cancel := context.WithCancel(b.t.Context())
	defer cancel()
	listeners := []*listener{b.listen(ctx, b.engines[0]), b.listen(ctx, b.engines[1]), b.listen(ctx, b.engines[1])}
	defer func() {
		cancel()
		for _, l := range listeners {
			b.requireDone(l.done)
		}
	}()
	made := [2]map[string]machine.Finished{{}, {}} // without and with a pending call
	i, pause := 0, shortly
	for begun := time.Now(); time.Since(begun) < patience; b.pause(pause) {
		pause = min(2*pause, patience/40)
		if listeners[0].ended() {
			require.ErrorIs(b.t, listeners[0].err, errors.ErrUnsupported, "Listen returned before its context ended")
			b.t.Log("the engine does not support Listen")
			return
		}
		i = 1 - i
		key := b.key("'" + b.id())
		token := b.grant(key, b.claim())
		if i == 1 {
			b.doClaim(key, b.claim())
		}
		made[i][key] = b.doFinish(key, machine.Finish{Token: token, Ran: true})
		all := true
		for _, l := range listeners {
			all = all && !l.ended() && len(l.heard(b, made[0])) > 0 && len(l.heard(b, made[1])) > 0
		}
		if all {
			return
		}
	}
	require.FailNow(b.t, "a listener heard nothing", "about %d finishes", len(made[0])+len(made[1]))
}

// pause lets listeners work for d of real time, or of time in a bubble.
func (b *bench) pause(d time.Duration) {
	time.Sleep(d)
	if b.clock != 0 {
		b.setClock(b.clock) // the store's clock may depend on the clock that time.Sleep moves
	}
}
