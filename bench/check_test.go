package main

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"
)

// Each check has a contestant that keeps the promise and one that does not, so no
// check always gives the same verdict.
//
// Time is faked, which makes the verdicts exact, except in two kinds of check: those
// that use another process, and those in which a goroutine waits for a mutex whose
// holder sleeps in its callback, since fake time does not pass then.
func TestCheck_Promises(t *testing.T) {
	const y, n = true, false
	want := map[string][]bool{
		//             last call, no overlap, interval, at once, stop, panic, no goroutine
		ownName:       {y, y, y, y, y, y, y},
		loopName:      {y, y, y, y, y, n, n},
		triggerName:   {y, y, y, y, n, n, n},
		loName:        {n, y, y, n, n, y, y},
		limiterName:   {n, n, y, n, n, y, y},
		sometimesName: {n, y, y, n, n, y, y},
		uberName:      {y, n, y, n, n, y, y},
		failsafeName:  {n, n, n, n, n, y, y},
		debounceName:  {y, n, y, y, n, n, y},
	}
	assertPromises(t, want, checked(), contestants())
}

func TestCheck_KeyedPromises(t *testing.T) {
	const y, n = true, false
	assertPromises(t, map[string][]bool{
		//              as above, own window
		groupName:      {y, y, y, y, y, y, y, y},
		limiterMapName: {n, n, y, n, n, y, y, y},
		throttleByName: {n, y, y, n, n, y, y, n},
	}, checkedOfKeys(), keyedContestants())
}

func TestCheck_ValuePromises(t *testing.T) {
	const y, n = true, false
	assertPromises(t, map[string][]bool{
		//             as above, no delay, failed run
		coalescerName: {y, y, y, y, y, y, y, y, y},
		binName:       {y, y, y, y, y, n, n, n, n},
	}, checkedOfValues(), valueContestants())
}

func assertPromises(t *testing.T, want map[string][]bool, promises []promise, all []contestant) {
	t.Helper()
	require.Len(t, all, len(want))
	for i, p := range promises {
		for _, c := range all {
			t.Run(p.name+"/"+c.name, func(t *testing.T) {
				if p.name == "panic" || p.name == "no overlap" && c.locks {
					t.Parallel()
					assertKept(t, want[c.name][i], p, c, 50*time.Millisecond)
					return
				}
				synctest.Test(t, func(t *testing.T) { assertKept(t, want[c.name][i], p, c, time.Second) })
			})
		}
	}
}

func assertKept(t *testing.T, want bool, p promise, c contestant, interval time.Duration) {
	t.Helper()
	kept, err := p.kept(c, interval)
	require.NoError(t, err)
	assert.Equal(t, want, kept)
}

// A key has no window of its own if another key delays or prevents its run.
func TestGivesOwnWindow(t *testing.T) {
	for name, perInterval := range map[string]rate.Limit{"late": 1, "never": 0.1} {
		synctest.Test(t, func(t *testing.T) {
			shared := ofKeys(name, func(interval time.Duration, callback func(int)) (call func(int), stop func()) {
				l := rate.NewLimiter(perInterval*rate.Every(interval), 1)
				return func(key int) { ifAllowed(l.Allow, func() { callback(key) })() }, nothing
			})
			assertKept(t, false, promise{kept: givesOwnWindow}, shared, time.Second)
		})
	}
}

// Surviving a panic is not enough: the callback must run again.
func TestRunAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, want := range map[string]error{"again": nil, "never again": errDidNotRun} {
			c := contestant{name: name, wrap: func(_ time.Duration, callback func()) (call, stop func()) {
				calls := 0
				return func() {
					calls++
					if calls == 1 || want == nil {
						callback()
					}
				}, nothing
			}}
			assert.ErrorIs(t, runAgain(c, time.Second), want, name)
		}
	})
}

// The verdicts have the order of the contestants and promises.
func TestCheck_Matrix(t *testing.T) {
	own := promise{name: "own", kept: func(c contestant, _ time.Duration) (bool, error) { return c.name == ownName, nil }}
	all := promise{name: "all", alone: true, kept: func(contestant, time.Duration) (bool, error) { return true, nil }}
	m, err := check([]promise{own, all}, []contestant{{name: ownName}, {name: loName}}, time.Second)
	require.NoError(t, err)
	assert.Equal(t, &matrix{
		Promises: []string{"own", "all"},
		Peers:    []verdicts{{ownName, []bool{true, true}}, {loName, []bool{false, true}}},
	}, m)

	failing := promise{name: "failing", kept: func(contestant, time.Duration) (bool, error) { return false, errRefused }}
	_, err = check([]promise{failing}, []contestant{{name: ownName}}, time.Second)
	assert.ErrorIs(t, err, errRefused)
}
