//go:build linux

package fleetredis_test

import (
	"context"
	"encoding/hex"
	"hash/fnv"
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

// decode returns the state in the fields of a hash, with hashes of the identifiers.
func decode(tb testing.TB, fields map[string]string) machine.State {
	tb.Helper()
	version, numbers, _ := strings.Cut(fields["n"], " ")
	require.Equal(tb, "1", version, "%q", fields)
	words := strings.Split(numbers, " ")
	require.Len(tb, words, 12, "%q", fields)
	var n [11]int64
	for i := range n {
		n[i] = integer(tb, words[i])
	}
	s := machine.State{
		Token: n[0], Granted: machine.Time(n[1]), Next: machine.Time(n[2]), Until: machine.Time(n[3]),
		Span: micro(n[4]), Lease: micro(n[5]),
		Requested: n[6], Acknowledged: n[7], Taken: n[8], Failures: int(n[9]), Limit: machine.Time(n[10]),
		Owner:  words[11],
		Policy: fields["p"],
	}
	for ids := fields["i"]; ids != ""; ids = ids[24:] {
		require.GreaterOrEqual(tb, len(ids), 24)
		s.IDs = append(s.IDs, machine.Recent{ID: hex.EncodeToString([]byte(ids[:8])), At: machine.Time(integer(tb, ids[8:24]))})
	}
	if ending := fields["e"]; ending != "" {
		words := strings.SplitN(ending, " ", 4)
		require.Len(tb, words, 4, "%q", fields)
		s.Last = machine.Ending{
			From: integer(tb, words[0]), Through: s.Acknowledged, Token: integer(tb, words[1]),
			Outcome: machine.Outcome{Failed: words[2] == "1", Message: words[3]},
		}
	}
	return s
}

// hashed returns s with hashes of its identifiers, as a server keeps it.
func hashed(s machine.State) machine.State {
	ids := s.IDs
	s.IDs = nil
	for _, r := range ids {
		h := fnv.New64a()
		h.Write([]byte(r.ID))
		s.IDs = append(s.IDs, machine.Recent{ID: hex.EncodeToString(h.Sum(nil)), At: r.At})
	}
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
	fields, err := client.HGetAll(tb.Context(), prefix+"key:"+key).Result()
	require.NoError(tb, err)
	if len(fields) == 0 {
		return machine.State{}
	}
	return decode(tb, fields)
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
