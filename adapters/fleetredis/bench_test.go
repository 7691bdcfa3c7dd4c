//go:build linux

package fleetredis_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/fleet/machine"
)

// BenchmarkClaim reports the server's time for a claim for a new call, and the memory of a key
// after it: for new keys, for ten thousand busy keys, and for one key that has as many
// identifiers as the server keeps.
func BenchmarkClaim(b *testing.B) {
	for _, c := range []struct {
		name string
		keys int
	}{{"new keys", 1 << 30}, {"10000 keys", 10_000}, {"1 key", 1}} {
		b.Run(c.name, func(b *testing.B) {
			s := startServer(b, "--appendfsync", "everysec")
			client := s.client(b)
			engine := newEngine(b, client)
			for i := 0; b.Loop(); i++ {
				_, err := engine.Claim(b.Context(), "tenant-"+strconv.Itoa(i%c.keys), machine.Claim{
					ID:  "3w5e11264sgsf-" + strconv.FormatInt(int64(i), 36),
					New: true, Age: machine.None, By: machine.MaxNumber,
					Spacing: 61 * time.Second, Lease: 10 * time.Second,
					Policy: "interval 1m0s, guard 1s, lease 10s",
				})
				require.NoError(b, err)
			}
			b.ReportMetric(float64(serverTime(b, client, "evalsha"))/float64(time.Microsecond), "server-µs/op")
			bytes, err := client.MemoryUsage(b.Context(), prefix+"key:tenant-0").Result()
			require.NoError(b, err)
			b.ReportMetric(float64(bytes), "B/key")
		})
	}
}
