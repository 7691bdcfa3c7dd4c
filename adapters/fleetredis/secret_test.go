//go:build linux

package fleetredis_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
)

const secret = "correct-horse"

// errorsOf calls all operations and returns their errors.
func errorsOf(t *testing.T, engine fleet.Engine) []error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, claimed := engine.Claim(ctx, "k", newClaim("id"))
	_, finished := engine.Finish(ctx, "k", machine.Finish{})
	_, renewed := engine.Renew(ctx, "k", 1)
	_, due := engine.Due(ctx, nil)
	return []error{claimed, finished, renewed, due}
}

// TestEngine_Secrets checks that errors do not contain credentials: neither wrong ones, nor those
// that a server repeats because it does not know the command.
func TestEngine_Secrets(t *testing.T) {
	s := startServer(t, "--requirepass", "another")
	parrot := newServerWith(t, parrot)
	for name, url := range map[string]string{
		"wrong password": "redis://user:" + secret + "@" + s.Addr() + "",
		"no server":      "redis://user:" + secret + "@127.0.0.1:1",
		"parrot":         "redis://user:" + secret + "@" + parrot + "",
		"parrot, RESP2":  "redis://:" + secret + "@" + parrot + "?protocol=2",
	} {
		t.Run(name, func(t *testing.T) {
			options, err := redis.ParseURL(url)
			require.NoError(t, err)
			options.ContextTimeoutEnabled, options.MaxRetries, options.DialerRetries = true, -1, 1
			for _, err := range errorsOf(t, newEngine(t, connect(t, options))) {
				require.Error(t, err)
				assert.NotContains(t, err.Error(), secret)
			}
		})
	}
}

// TestEngine_Secrets_FromProvider uses credentials that the engine does not know, and a server that
// repeats them in its error.
func TestEngine_Secrets_FromProvider(t *testing.T) {
	s := startServer(t, "--rename-command", "AUTH", "")
	options := clientOptions(s.Addr())
	options.Protocol = 2
	options.CredentialsProvider = func() (string, string) { return "user", secret }
	client := connect(t, options)
	require.ErrorContains(t, client.Ping(t.Context()).Err(), secret, "the server does not repeat it")
	for _, err := range errorsOf(t, newEngine(t, client)) {
		require.ErrorContains(t, err, "unknown command")
		assert.NotContains(t, err.Error(), secret)
	}
}

// parrot answers a command with an error that repeats it.
func parrot(command []string) string { return "-WRONG " + strings.Join(command, " ") + "\r\n" }

// newServerWith returns the address of a server that answers commands with what answer returns.
func newServerWith(t *testing.T, answer func(command []string) string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wait sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		wait.Wait()
	})
	wait.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wait.Go(func() {
				defer conn.Close()
				// The client forgets a connection whose greeting has failed without closing it.
				defer context.AfterFunc(t.Context(), func() { conn.Close() })()
				r := bufio.NewReader(conn)
				for {
					command, err := readCommand(r)
					if err != nil {
						return
					}
					if _, err := io.WriteString(conn, answer(command)); err != nil {
						return
					}
				}
			})
		}
	})
	return l.Addr().String()
}
