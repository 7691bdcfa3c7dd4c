//go:build linux

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
	"github.com/throttle-go/throttle/internal/testkit/flagstest"
	"github.com/throttle-go/throttle/internal/testkit/servers"
)

// The worker processes are this test binary.
func TestMain(m *testing.M) {
	if os.Getenv(asWorker) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// tiny is enough effort to test that everything works, too little for real figures.
func tiny() effort {
	return effort{
		duration:   100 * time.Millisecond,
		processes:  2,
		goroutines: 2,
		keys:       100,
		calls:      1000,
		listeners:  3,
		interval:   200 * time.Millisecond,
		hot:        5,
	}
}

func TestEffort_MeasureKind(t *testing.T) {
	t.Parallel()
	e := tiny()
	var out strings.Builder
	f, err := e.measureKind(t.Context(), kinds()[0], &out)
	servers.Require(t, err)
	assert.Regexp(t, `^redis, fsync always: redis-server [\d.]+, measured in `, out.String())

	require.Len(t, f.claims, 6)
	for _, c := range f.claims {
		assert.Positive(t, c.claim)
		assert.Positive(t, c.bare)
		assert.Positive(t, c.ratio.P25)
		assert.LessOrEqual(t, c.ratio.P50, c.ratio.P75)
		assert.GreaterOrEqual(t, c.turns, 2)
	}

	assert.GreaterOrEqual(t, f.counted.atOnce.Claims, f.counted.runs)
	assert.GreaterOrEqual(t, f.counted.atOnce.Finishes, f.counted.runs)
	// On a busy machine the short interval may be over before the call, which then needs one claim.
	assert.GreaterOrEqual(t, f.counted.waited.Claims, f.counted.runs)
	assert.GreaterOrEqual(t, f.counted.waited.Finishes, f.counted.runs)
	assert.Less(t, f.counted.coalesced.Claims, f.counted.calls/100)
	assert.Positive(t, f.counted.call)

	for _, w := range []work{f.load.all, f.load.few} {
		assert.Positive(t, w.claims)
		assert.Positive(t, w.script)
		assert.GreaterOrEqual(t, w.cpu, 0.0)
	}
	assert.Greater(t, f.load.most, f.load.state)
	assert.Positive(t, f.load.key)

	assert.Positive(t, f.fleet.Runs)
	assert.GreaterOrEqual(t, f.fleet.Finishes+int64(f.fleet.keys), f.fleet.Runs)
	assert.Greater(t, f.fleet.each(f.fleet.Claims), 0.5)
	spacings := int64(f.fleet.took/f.fleet.spacing) + 1
	assert.LessOrEqual(t, f.fleet.Runs, int64(f.fleet.keys)*spacings)

	out.Reset()
	printFindings(&out, []finding{f}, e)
	assert.NotContains(t, out.String(), "NaN")
	assert.NotContains(t, out.String(), "Inf")
	assert.Equal(t, 6+3+1+1+2+len(f.crowds), strings.Count(out.String(), "\nredis, fsync always  "))
}

// Every call is covered, although the process that made it is killed.
func TestStore_MeasureBurst(t *testing.T) {
	t.Parallel()
	for _, p := range contenders() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			s := startStore(t, kinds()[1])
			row, err := s.measureBurst(t.Context(), p, burst{"tiny", 2, 3, 5, 50 * time.Millisecond, 0})
			require.NoError(t, err)
			assert.Equal(t, []string{p.name, "tiny", "30"}, row[:3])
			assert.NotContains(t, row, "NaN")
			row, err = s.measureKill(t.Context(), p, false)
			require.NoError(t, err)
			assert.Equal(t, []string{p.name, "the caller, before the run", "20", "20"}, row[:4])
		})
	}
}

// An unexpected verdict is an error, since it would give a figure of something else.
func TestClaim(t *testing.T) {
	t.Parallel()
	for _, i := range []int{0, 2} {
		k := kinds()[i]
		t.Run(k.flag, func(t *testing.T) {
			t.Parallel()
			s := startStore(t, k)
			c, err := s.client(t.Context(), 1)
			require.NoError(t, err)
			defer c.close()
			require.NoError(t, served(t.Context(), c.engine(), "k", spacing))
			reply, err := c.engine().Claim(t.Context(), "k", machine.Claim{ID: "poll", Age: machine.None, Lease: lease})
			require.NoError(t, err)
			require.Equal(t, machine.Served, reply.Verdict, "the run has ended")
			require.NoError(t, deferred(t.Context(), c.engine(), "k"))
			_, err = claim(t.Context(), c.engine(), "k", spacing, machine.Granted)
			require.EqualError(t, err, "claim of k: verdict is 3, not 2")

			require.Error(t, c.bare(t.Context(), "k"), "there is nothing to read")
			require.NoError(t, c.prepare(t.Context(), "k"))
			require.NoError(t, c.bare(t.Context(), "k"))

			size, err := c.size(t.Context(), "k")
			require.NoError(t, err)
			total, err := c.total(t.Context())
			require.NoError(t, err)
			assert.Greater(t, size, int64(200))
			assert.Greater(t, total, size)
		})
	}
}

// A comparison with a failed operation is an error.
func TestCompare_Failure(t *testing.T) {
	t.Parallel()
	s := startStore(t, kinds()[0])
	c, err := s.client(t.Context(), 2)
	require.NoError(t, err)
	defer c.close()
	o := operations()[0]
	works, made := o.do, atomic.Int64{}
	o.do = func(ctx context.Context, engine fleet.Engine, key string) error {
		if made.Add(1) == 2*machine.MaxIDs+1 { // the first that is timed
			return errors.New("broken")
		}
		return works(ctx, engine, key)
	}
	e := tiny()
	e.duration = time.Millisecond
	_, err = compare(t.Context(), c, e, 2, o)
	require.EqualError(t, err, "broken")
}

// The CPU time used is the server's, without this process.
func TestStore_Used(t *testing.T) {
	t.Parallel()
	s := startStore(t, kinds()[0])
	c, err := s.client(t.Context(), 1)
	require.NoError(t, err)
	defer c.close()
	const busy = 100 * time.Millisecond
	used, err := s.used(func() error {
		for end := time.Now().Add(busy); time.Now().Before(end); {
			continue
		}
		return nil
	})
	require.NoError(t, err)
	assert.LessOrEqual(t, used, busy/2)
	used, err = s.used(func() error {
		const script = `for _ = 1, 200000 do redis.sha1hex('x') end`
		err := c.(*redisClient).client.Eval(t.Context(), script, nil).Err() //nolint:errcheck,forcetypeassert // it is one
		if errors.Is(err, redis.Nil) {
			return nil // what the script returns
		}
		return err
	})
	require.NoError(t, err)
	assert.GreaterOrEqual(t, used, 20*time.Millisecond)
}

func startStore(t *testing.T, k kind) *store {
	t.Helper()
	s, err := k.start(t.Context())
	servers.Require(t, err)
	t.Cleanup(s.remove)
	return s
}

// Round figures make the demand easy to check.
func TestDemand(t *testing.T) {
	p := plan{replicas: 10, keys: 100, interval: 9 * time.Second, guard: time.Second}
	l := load{few: work{cpu: 1e6}, hotKey: 500, hotState: 300, most: 800}
	assert.Equal(t, demand{
		runs:   10,  // 100 keys in 10 s
		claims: 200, // twice of 10 replicas
		wakes:  100,
		looks:  30,
		cores:  0.200 + 0.020 + 0.010 + 0.030,
		bytes:  100_000,
	}, p.demand(2, 3, l, runCost{grant: 3e6, wake: 1e5}))
}

// A hundred claims of 10 keys by 5 replicas in the time of two spacings are one each.
func TestHotFleet(t *testing.T) {
	f := hotFleet{replicas: 5, keys: 10, spacing: time.Second, took: 2 * time.Second, totals: totals{Looks: 40}}
	assert.InDelta(t, 1, f.each(100), 1e-9)
	assert.InDelta(t, 4, f.looks(), 1e-9)
}

// A failed process ends the measurement, and no process is left.
func TestWorkers_Failure(t *testing.T) {
	t.Parallel()
	s := startStore(t, kinds()[0])
	c, err := s.startWorkers(t.Context(), job{Kind: claimer, Processes: 2, Goroutines: 1, Keys: 10, Duration: time.Millisecond})
	require.NoError(t, err)
	_, err = c.step()
	require.NoError(t, err)
	made, err := c.step()
	require.NoError(t, err)
	require.Equal(t, totals{Claims: 10}, made, "the first claim of each key, of both processes")
	s.server.Kill()
	_, err = c.step()
	require.ErrorContains(t, err, "a process has failed")
	require.Error(t, c.end())
	for _, p := range c.processes {
		require.NotNil(t, p.command.ProcessState)
	}
}

func TestRun_NotInstalled(t *testing.T) {
	t.Setenv("PATH", "")
	var out strings.Builder
	require.ErrorIs(t, run(t.Context(), []string{"-store", "redis"}, &out), servers.ErrNotInstalled)
	assert.Contains(t, out.String(), "\nredis, everysec is left out: redis-server is not installed")
}

func TestFlags(t *testing.T) {
	t.Parallel()
	program := filepath.Join(flagstest.Build(t, "."), "fleet")
	flagstest.Check(t, program, "-store file", "-duration 0s", "-duration 21s", "-duration long", "-debounce -store redis")
}
