package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const ms = time.Millisecond

func TestReadCalls(t *testing.T) {
	for name, test := range map[string]struct {
		text  string
		field int
		want  []time.Duration
	}{
		"one call":             {"1732833111\n", 0, []time.Duration{0}},
		"no line end":          {"1732833111\n1732833112", 0, []time.Duration{0, time.Second}},
		"line ends of Windows": {"1732833111\r\n\r\n1732833112\r\n", 0, []time.Duration{0, time.Second}},
		"empty lines":          {"\n \t\n1732833111\n\n1732833112\n\n", 0, []time.Duration{0, time.Second}},
		"simultaneous calls":   {"5\n5\n5\n", 0, []time.Duration{0, 0, 0}},
		"out of order":         {"7\n5.25\n6\n", 0, []time.Duration{0, 750 * ms, 1750 * ms}},
		"all formats": {
			"1970-01-01T00:01:00Z\n61\n1970-01-01T01:01:02.000000003+01:00\n", 0,
			[]time.Duration{0, time.Second, 2*time.Second + 3},
		},
		"a nanosecond": {"1732833111.123456789\n1732833111.123456790\n", 0, []time.Duration{0, 1}},
		"the first field": {
			"2024-11-28T22:31:51Z GET /\n2024-11-28T22:31:52Z\n", 1, []time.Duration{0, time.Second},
		},
		"a later field":  {"a  b\t1.5 c\n- - 2\n", 3, []time.Duration{0, 500 * ms}},
		"quotes":         {"\"1.5\"\n'2'\n`2.5`", 0, []time.Duration{0, 500 * ms, time.Second}},
		"brackets":       {"x [1.5] y\nx (2), y\nx {2.5}: y\nx <3> y\n", 2, []time.Duration{0, 500 * ms, time.Second, 1500 * ms}},
		"trailing marks": {"1.5,\n2:\n2.5;\n", 1, []time.Duration{0, 500 * ms, time.Second}},
		"a key": {
			"time=2024-11-28T22:31:51.5Z level=INFO\ntime=\"2024-11-28T22:31:52Z\" level=INFO\n[ts=1732833113] x\n", 1,
			[]time.Duration{0, 500 * ms, 1500 * ms},
		},
		"a long line": {"1 " + strings.Repeat("x", 1<<19) + "\n2\n", 1, []time.Duration{0, time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := readCalls(strings.NewReader(test.text), "log", test.field)
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
		})
	}
}

func TestReadCalls_Error(t *testing.T) {
	for name, test := range map[string]struct {
		text  string
		field int
		want  string
	}{
		"nothing":           {"", 0, "log: no calls"},
		"only empty lines":  {"\n \n\r\n", 1, "log: no calls"},
		"no time":           {"1\n\n\nfoo\n5\n", 0, `log:4: "foo" is no time: want RFC 3339 or a Unix time`},
		"several fields":    {"1\n1 GET /\n", 0, `log:2: "1 GET /" is no time: want RFC 3339 or a Unix time`},
		"the wrong field":   {"1 GET /\n", 2, `log:1: "GET" is no time: want RFC 3339 or a Unix time`},
		"nothing in quotes": {"x \"\"\n", 2, `log:1: "" is no time: want RFC 3339 or a Unix time`},
		"no such field":     {"1 2 3\n1 2\n", 3, `log:2: the line has no field 3, only 2`},
		"out of range":      {"1\n99999999999999999999\n", 0, `log:2: "99999999999999999999" is not between the years 1970 and 2262`},
		"a line too long":   {"1\n" + strings.Repeat("1", longestLine) + "\n", 0, "log:2: the line is longer than 1 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readCalls(strings.NewReader(test.text), "log", test.field)
			assert.EqualError(t, err, test.want)
		})
	}
	t.Run("unreadable", func(t *testing.T) {
		broken := errors.New("broken")
		_, err := readCalls(io.MultiReader(strings.NewReader("1\n2\n"), iotest.ErrReader(broken)), "log", 0)
		require.ErrorIs(t, err, broken)
		assert.EqualError(t, err, "log:3: broken")
	})
}

func TestReadFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "calls")
	require.NoError(t, os.WriteFile(name, []byte("1\n2\nx"), 0o600))
	_, err := readFile(name, 0, strings.NewReader("7"))
	require.ErrorContains(t, err, name+`:3: "x" is no time`)
	_, err = readFile(name+"-", 0, strings.NewReader("7"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = readFile("-", 0, strings.NewReader("x"))
	require.ErrorContains(t, err, `standard input:1: "x" is no time`)
}
