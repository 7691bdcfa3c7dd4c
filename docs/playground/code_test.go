package main_test

import (
	"go/ast"
	"go/constant"
	"go/format"
	"go/parser"
	"go/token"
	"go/types"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	app "github.com/throttle-go/throttle/docs/playground"
	"github.com/throttle-go/throttle/internal/testkit/snippet"
)

func TestCode(t *testing.T) {
	tests := map[string]throttle.Policy{
		"throttle.Policy{}":                                            {},
		"throttle.Every(100 * time.Millisecond)":                       throttle.Every(100 * ms),
		"throttle.Every(time.Second)":                                  throttle.Every(time.Second),
		"throttle.Debounce(60*time.Millisecond, 0)":                    throttle.Debounce(60*ms, 0),
		"throttle.Debounce(time.Minute, 90*time.Second)":               throttle.Debounce(time.Minute, 90*time.Second),
		"throttle.Policy{Interval: 100 * time.Millisecond, Burst: 3}":  {Interval: 100 * ms, Burst: 3},
		"throttle.Policy{Edges: throttle.Leading | throttle.Trailing}": {Edges: throttle.Leading | throttle.Trailing},
		`throttle.Policy{
	Interval: 1500 * time.Millisecond,
	Retry:    throttle.Backoff{Initial: time.Second, Max: time.Minute, Eager: true},
	From:     throttle.FromEnd,
}`: {Interval: 1500 * ms, From: throttle.FromEnd, Retry: throttle.Backoff{Initial: time.Second, Max: time.Minute, Eager: true}},
	}
	for want, policy := range tests {
		assert.Equal(t, want, app.Code(policy))
	}
}

// Code compiles, is formatted, and says exactly the policy.
func TestCode_AnyPolicy(t *testing.T) {
	policies := []throttle.Policy{custom().Policy}
	for _, p := range app.Presets() {
		policies = append(policies, p.State.Policy)
	}
	r := rand.New(rand.NewPCG(2, 2))
	for range 300 {
		policies = append(policies, randomPolicy(r))
	}
	var all []string
	for _, p := range policies {
		code := app.Code(p)
		all = append(all, code)
		assert.Equal(t, p, policyOf(t, code), code)
		declaration := "package p\n\nvar policy = " + code + "\n"
		formatted, err := format.Source([]byte(declaration))
		require.NoError(t, err, code)
		assert.Equal(t, string(formatted), declaration, "gofmt changes it")
	}
	require.NoError(t, snippet.Check(all, map[string]string{"time": "time", "throttle": "github.com/throttle-go/throttle"}))
}

// policyOf returns the policy that code says.
func policyOf(t *testing.T, code string) throttle.Policy {
	t.Helper()
	expression, err := parser.ParseExpr(code)
	require.NoError(t, err, code)
	switch e := expression.(type) {
	case *ast.CompositeLit:
		var p throttle.Policy
		fill(t, reflect.ValueOf(&p).Elem(), e)
		return p
	case *ast.CallExpr:
		var args []time.Duration
		for _, arg := range e.Args {
			args = append(args, time.Duration(number(t, arg)))
		}
		if types.ExprString(e.Fun) == "throttle.Every" {
			return throttle.Every(args[0])
		}
		require.Equal(t, "throttle.Debounce", types.ExprString(e.Fun))
		return throttle.Debounce(args[0], args[1])
	}
	t.Fatalf("neither a literal nor a call: %s", code)
	return throttle.Policy{}
}

// fill sets the fields of a struct as literal says.
func fill(t *testing.T, target reflect.Value, literal *ast.CompositeLit) {
	t.Helper()
	for _, element := range literal.Elts {
		pair, ok := element.(*ast.KeyValueExpr)
		require.True(t, ok)
		field := target.FieldByName(types.ExprString(pair.Key))
		switch {
		case field.Kind() == reflect.Struct:
			inner, ok := pair.Value.(*ast.CompositeLit)
			require.True(t, ok)
			fill(t, field, inner)
		case field.Kind() == reflect.Bool:
			field.SetBool(types.ExprString(pair.Value) == "true")
		case field.Kind() == reflect.Float64:
			value, err := types.Eval(token.NewFileSet(), nil, token.NoPos, "float64("+types.ExprString(pair.Value)+")")
			require.NoError(t, err)
			x, _ := constant.Float64Val(value.Value)
			field.SetFloat(x)
		case field.CanUint():
			field.SetUint(uint64(number(t, pair.Value)))
		default:
			field.SetInt(number(t, pair.Value))
		}
	}
}

// number returns the value of a constant expression of numbers and of names in two packages.
func number(t *testing.T, e ast.Expr) int64 {
	t.Helper()
	names := map[string]int64{
		"time.Nanosecond": 1, "time.Microsecond": int64(time.Microsecond), "time.Millisecond": int64(ms),
		"time.Second": int64(time.Second), "time.Minute": int64(time.Minute), "time.Hour": int64(time.Hour),
		"throttle.Leading": int64(throttle.Leading), "throttle.Trailing": int64(throttle.Trailing), "throttle.FromEnd": int64(throttle.FromEnd),
	}
	if binary, ok := e.(*ast.BinaryExpr); ok {
		if binary.Op == token.OR {
			return number(t, binary.X) | number(t, binary.Y)
		}
		require.Equal(t, token.MUL, binary.Op)
		return number(t, binary.X) * number(t, binary.Y)
	}
	text := types.ExprString(e)
	if value, known := names[text]; known {
		return value
	}
	value, err := types.Eval(token.NewFileSet(), nil, token.NoPos, text)
	require.NoError(t, err, text)
	n, exact := constant.Int64Val(value.Value)
	require.True(t, exact, text)
	return n
}
