package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRewrite(t *testing.T) {
	got, err := rewrite([]byte(`package p

func f(a, b int) int {
	switch {
	case a < b, b == 0:
		switch a {
		case 1 + 2:
			return 1
		}
	case a > b &&
		b > 1:
		switch c := a; {
		case c > 2:
		default:
		}
	}
	return 0
}
`))
	require.NoError(t, err)
	assert.Equal(t, `package p

func f(a, b int) int {
	switch {
	case func() bool { return a < b }(), func() bool { return b == 0 }():
		switch a {
		case 1 + 2:
			return 1
		}
	case func() bool { return a > b &&
		b > 1 }():
		switch c := a; {
		case func() bool { return c > 2 }():
		default:
		}
	}
	return 0
}
`, string(got))
}

func TestRewrite_Invalid(t *testing.T) {
	_, err := rewrite([]byte("package"))
	require.Error(t, err)
}
