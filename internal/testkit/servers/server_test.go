//go:build linux

package servers_test

import (
	"context"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/internal/testkit/servers"
)

// TestServer kills servers and starts them again.
func TestServer(t *testing.T) {
	for name, build := range map[string]func() (*servers.Server, error){
		"redis":    func() (*servers.Server, error) { return servers.Redis("redis-server") },
		"postgres": servers.Postgres,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := build()
			servers.Require(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			for range 2 {
				require.NoError(t, s.Start(ctx))
				s.Signal(syscall.SIGCONT)
				pids := s.Processes()
				require.NotEmpty(t, pids)
				require.NoError(t, syscall.Kill(pids[0], 0))
				require.Equal(t, name == "postgres", len(pids) > 1)
				s.Kill()
				require.Empty(t, s.Processes())
				_, err = net.Dial("tcp", s.Addr()) //nolint:noctx // nobody listens there
				require.Error(t, err)
			}
			require.NoError(t, s.Remove())
			require.NoDirExists(t, s.Folder())
		})
	}
}

func TestServer_Start_Failure(t *testing.T) {
	s, err := servers.Redis("redis-server")
	servers.Require(t, err)
	require.ErrorContains(t, s.Start(t.Context(), "--no-such-option", "1"), "no-such-option")
	require.NoError(t, s.Remove())
}

func TestRedis_NotInstalled(t *testing.T) {
	_, err := servers.Redis("no-such-server")
	require.ErrorIs(t, err, servers.ErrNotInstalled)
}
