package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/internal/testkit/flagstest"
	"github.com/throttle-go/throttle/internal/testkit/servers"
)

// The processes of the service are this test binary.
func TestMain(m *testing.M) {
	if os.Getenv(asReplica) != "" {
		main()
		return
	}
	m.Run()
}

func TestDemonstration(t *testing.T) {
	for _, store := range []string{"redis", "postgres"} {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			for tenants, want := range map[string]string{"0": "last call", "4": "last edits"} {
				t.Run(tenants+" tenants", func(t *testing.T) {
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					var out strings.Builder
					err := run(ctx, []string{"-store", store, "-duration", "2s", "-replicas", "3", "-tenants", tenants}, &out)
					t.Logf("%s", &out)
					servers.Require(t, err)
					require.Contains(t, out.String(), want)
				})
			}
		})
	}
}

func TestRecord_Judge(t *testing.T) {
	at := time.Unix(1, 0)
	good := []event{
		{at, 0, "call", ""},
		{at, 0, "run", "1"},
		{at.Add(time.Second), 1, "run", "2"},
	}
	judge := func(last time.Duration, events ...event) error {
		return (&record{events: events}).judge(new(strings.Builder), time.Second, at.Add(last))
	}
	require.NoError(t, judge(time.Second, good...))
	require.ErrorContains(t, judge(2*time.Second, good...), "last call")
	require.ErrorContains(t, judge(0, append(good, event{at.Add(time.Second + 1), 0, "run", "3"})...), "apart")
	require.ErrorContains(t, judge(0, append(good, event{at.Add(2 * time.Second), 0, "run", "2"})...), "token")
	require.Error(t, judge(0, good[:2]...))
}

func TestRecord_JudgeEdits(t *testing.T) {
	at := time.Unix(1, 0)
	good := []event{
		{at, 0, "edit", "tenant-0"},
		{at.Add(time.Second), 1, "run", "tenant-0"},
		{at.Add(2 * time.Second), 2, "kill", ""},
		{at, 0, "edit", "tenant-1"},
		{at.Add(3 * time.Second), 0, "run", "tenant-1"},
	}
	judge := func(events ...event) (string, error) {
		var out strings.Builder
		err := (&record{events: events}).judgeEdits(&out, time.Second, 2)
		return out.String(), err
	}
	out, err := judge(good...)
	require.NoError(t, err)
	require.Contains(t, out, "2 after 1s without edits, 0 during edits")
	require.Contains(t, out, "processes 2\n")
	require.Contains(t, out, "at most 3s after")
	out, err = judge(append(good, event{at.Add(time.Second / 2), 1, "edit", "tenant-0"})...)
	require.NoError(t, err)
	require.Contains(t, out, "1 after 1s without edits, 1 during edits")
	_, err = judge(append(good, event{at.Add(4 * time.Second), 0, "edit", "tenant-1"})...)
	require.EqualError(t, err, "no re-index after the last edit of tenant-1")
	_, err = judge()
	require.EqualError(t, err, "no re-index after the last edit of tenant-0, tenant-1")
}

func TestFlags(t *testing.T) {
	flagstest.Check(t, filepath.Join(flagstest.Build(t, "."), "fleet"),
		"-store file", "-replicas 1", "-replicas many", "-tenants -1", "-tenants many", "-interval 0", "-duration -1s",
		"-url redis://[", "-url postgres://[", "-url http://localhost")
}
