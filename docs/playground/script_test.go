package main_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	app "github.com/throttle-go/throttle/docs/playground"
)

func TestParseScript(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"nothing":                 {"", ""},
		"calls":                   {"0 30 60 110 330", "0 30 60 110 330"},
		"calls in any order":      {"60\n0, 30.5\t1e2", "0 30.5 60 100"},
		"calls with their name":   {"calls: 1 2", "1 2"},
		"runs":                    {"0\nruns: 60 110 fail 20fail ok", "0\nruns: 60 110 fail 20fail ok"},
		"lines in any order":      {" until : 500 \r\nruns:fail\r\n\r\n0", "0\nruns: fail\nuntil: 500"},
		"runs without calls":      {"runs: 1", "\nruns: 1"},
		"the end that suits best": {"until: 0", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			script, err := app.ParseScript(test.text)
			require.NoError(t, err)
			assert.Equal(t, test.want, script.String())
			again, err := app.ParseScript(script.String())
			require.NoError(t, err)
			assert.Equal(t, script, again)
		})
	}
}

func TestParseScript_Problems(t *testing.T) {
	tests := map[string]struct {
		text string
		want []string
	}{
		"no number":       {"0 soon", []string{`calls: "soon" is not a number of milliseconds`}},
		"several":         {"-1\nruns: x\nuntil: NaN", []string{`calls: "-1" is negative`, `runs: "x"`, `until: "NaN"`}},
		"an unknown word": {"walks: 1", []string{`not with "walks"`}},
		"too many calls":  {strings.Repeat("1 ", 1001), []string{"more than 1000 calls"}},
		"too many runs":   {"runs: " + strings.Repeat("1 ", 1001), []string{"more than 1000 runs"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := app.ParseScript(test.text)
			for _, want := range test.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}
