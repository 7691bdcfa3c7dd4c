//go:build linux

package fleetredis_test

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/fleet/machine"
)

const (
	prefix = "throttle:{default:0}:"
	index  = prefix + "due"
)

var stored = regexp.MustCompile(`(?s)^1((?: \d+){19}) (.*)$`)

// decode returns the state in text.
func decode(tb testing.TB, text string) machine.State {
	tb.Helper()
	parts := stored.FindStringSubmatch(text)
	require.NotNil(tb, parts, "%q", text)
	var n [19]int64
	for i, digits := range strings.Fields(parts[1]) {
		n[i] = integer(tb, digits)
	}
	newest, count := n[14], n[15]
	owner, texts := parts[2][:n[16]], parts[2][n[16]:]
	ids, texts := texts[:n[17]], texts[n[17]:]
	policy, message := texts[:n[18]], texts[n[18]:]
	s := machine.State{
		Token: n[0], Granted: machine.Time(n[1]), Next: machine.Time(n[2]), Until: machine.Time(n[3]),
		Requested: n[4], Acknowledged: n[5], Taken: n[6],
		Span: micro(n[7]), Lease: micro(n[8]), Failures: int(n[9]),
		Last: machine.Ending{
			From: n[10], Through: n[11], Token: n[12],
			Outcome: machine.Outcome{Failed: n[13] == 1, Message: message},
		},
		Owner:  owner,
		Policy: policy,
	}
	for entry := range strings.SplitSeq(ids, ";") {
		if id, at, ok := strings.Cut(entry, "="); ok {
			const recent = int64(100 * time.Second / time.Microsecond)
			age := (newest%recent - integer(tb, at) + recent) % recent
			s.IDs = append(s.IDs, machine.Recent{ID: id, At: machine.Time(newest - age)})
		}
	}
	require.Len(tb, s.IDs, int(count))
	return s
}

func integer(tb testing.TB, digits string) int64 {
	tb.Helper()
	n, err := strconv.ParseInt(digits, 10, 64)
	require.NoError(tb, err)
	return n
}

func micro(n int64) time.Duration { return time.Duration(n) * time.Microsecond }

// load returns the stored state of key, the zero State if there is none.
func load(tb testing.TB, client redis.Cmdable, key string) machine.State {
	tb.Helper()
	text, err := client.Get(tb.Context(), prefix+"key:"+key).Result()
	if errors.Is(err, redis.Nil) {
		return machine.State{}
	}
	require.NoError(tb, err)
	return decode(tb, text)
}

// requireIndexed requires that the index has key if, and as, its state says.
func requireIndexed(tb testing.TB, client redis.Cmdable, key string, s machine.State) {
	tb.Helper()
	score, err := client.ZScore(tb.Context(), index, key).Result()
	due, pending := s.Due()
	if !pending {
		require.ErrorIs(tb, err, redis.Nil, "%q is in the index", key)
		return
	}
	require.NoError(tb, err, "%q is not in the index", key)
	require.Equal(tb, due, machine.Time(score))
}

// storeNow returns the store's time.
func storeNow(ctx context.Context, tb testing.TB, client redis.Cmdable) machine.Time {
	tb.Helper()
	now, err := client.Time(ctx).Result()
	require.NoError(tb, err)
	return machine.Time(now.UnixMicro())
}
