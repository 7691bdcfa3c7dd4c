//go:build linux

package fleetredis_test

import (
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/fleet/machine"
)

// This file measures what keys and claims cost the server.

func benchClaim(id string) machine.Claim {
	return machine.Claim{
		ID: id, New: true, Age: machine.None, By: machine.MaxNumber, Spacing: 61 * time.Second, Lease: 10 * time.Second,
		Policy: "every 1m0s, guard 1s, lease 10s",
	}
}

// BenchmarkClaim reports the server's time of a claim, of one that is the first of its key,
// of one that is deferred, and of one of a key with as many identifiers as are kept.
func BenchmarkClaim(b *testing.B) {
	for name, keys := range map[string]int{"hot": 1, "warm": 1000, "first": 1 << 30} {
		b.Run(name, func(b *testing.B) {
			s := startServer(b, "--appendfsync", "everysec")
			client := s.client(b)
			engine, err := open(s.Addr())
			require.NoError(b, err)
			for i := 0; b.Loop(); i++ {
				_, err := engine.Claim(b.Context(), fmt.Sprintf("tenant-%d", i%keys), benchClaim(fmt.Sprintf("01234567-%012d", i)))
				require.NoError(b, err)
			}
			info, err := client.Info(b.Context(), "commandstats").Result()
			require.NoError(b, err)
			found := regexp.MustCompile(`cmdstat_evalsha:.*usec_per_call=([\d.]+)`).FindStringSubmatch(info)
			require.NotNil(b, found)
			usec, err := strconv.ParseFloat(found[1], 64)
			require.NoError(b, err)
			b.ReportMetric(usec, "server-µs/op")
			bytes, err := client.MemoryUsage(b.Context(), prefix+"key:tenant-0").Result()
			require.NoError(b, err)
			b.ReportMetric(float64(bytes), "B/key")
		})
	}
}
