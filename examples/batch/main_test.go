package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDemonstration(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir()) // on Unix
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"-records", "60"}, &out), out.String())
	for _, pattern := range []string{
		`^4 writers hand over 60 records each, one write in 3 fails\n`,
		`\nrecords +240 +all in the file once`,
		`\nwrites +[1-9]\d* +\d+ of them failed`,
		`\nlongest wait +[\d.]+m?s +of a record`,
		`\nruns +[█✗]`,
	} {
		assert.Regexp(t, pattern, out.String())
	}
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

// An interrupt loses no record.
func TestJournal_Close(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, run(ctx, nil, io.Discard), context.Canceled)

	disk, err := newDisk(filepath.Join(t.TempDir(), "records.txt"))
	require.NoError(t, err)
	j, err := newJournal(disk)
	require.NoError(t, err)
	for number := range 10 {
		require.NoError(t, j.add(record{number: number}))
	}
	require.NoError(t, j.close(ctx))
	assert.Equal(t, 10, disk.records)
}

// A failed write leaves nothing behind, so it can be repeated.
func TestDisk_Write(t *testing.T) {
	file := filepath.Join(t.TempDir(), "records.txt")
	disk, err := newDisk(file)
	require.NoError(t, err)
	defer disk.close()
	const first, second = "0 1\n0 2\n", "0 3\n0 4\n"
	require.NoError(t, disk.write([]record{{number: 1}, {number: 2}}))
	for _, want := range []string{first, first + second} {
		err := disk.write([]record{{number: 3}, {number: 4}})
		assert.Equal(t, want == first, err != nil)
		got, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.Equal(t, want, string(got))
	}
}

func TestVerify(t *testing.T) {
	const right = "0 0\n1 0\n2 0\n3 0\n2 1\n1 1\n0 1\n3 1\n"
	tests := map[string]struct {
		content string
		wrong   bool
	}{
		"right":          {right, false},
		"empty":          {"", true},
		"one missing":    {strings.Replace(right, "2 1\n", "", 1), true},
		"one twice":      {strings.Replace(right, "2 1\n", "2 1\n2 1\n", 1), true},
		"wrong order":    {strings.Replace(right, "0 0\n1 0\n2 0\n3 0\n2 1\n", "2 1\n0 0\n1 0\n2 0\n3 0\n", 1), true},
		"half a line":    {right[:len(right)-2], true},
		"unknown writer": {right + "4 0\n", true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "records.txt")
			require.NoError(t, os.WriteFile(file, []byte(test.content), 0o600))
			assert.Equal(t, test.wrong, verify(file, 2) != nil)
		})
	}
}
