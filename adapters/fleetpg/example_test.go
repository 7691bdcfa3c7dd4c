//go:build linux

package fleetpg_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/adapters/fleetpg"
	"github.com/throttle-go/throttle/fleet"
)

// The examples need a server, so TestExamples runs them.

//nolint:testableexamples // TestExamples runs it
func Example() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()
	if err := fleetpg.Migrate(ctx, pool); err != nil {
		fmt.Println(err)
		return
	}
	engine, err := fleetpg.New(pool)
	if err != nil {
		fmt.Println(err)
		return
	}

	// Every replica of the service does this.
	t := throttle.Must(fleet.New(engine, "search-index", throttle.Every(time.Minute), func(context.Context) error {
		fmt.Println("rebuilt")
		return nil
	}))
	defer t.Close()
	fmt.Println(t.Do(ctx))
	// rebuilt
	// <nil>
}

// A run follows each new article, even if the process ends right after the commit.
//
//nolint:testableexamples // TestExamples runs it
func ExampleEngine_CallTx() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()
	engine, err := fleetpg.New(pool)
	if err != nil {
		fmt.Println(err)
		return
	}

	rebuilt := make(chan struct{})
	t := throttle.Must(fleet.New(engine, "articles", throttle.Every(time.Minute), func(ctx context.Context) error {
		var articles int
		err := pool.QueryRow(ctx, "SELECT count(*) FROM articles").Scan(&articles)
		fmt.Println("rebuilt with articles:", articles)
		close(rebuilt)
		return err
	}))
	defer t.Close()

	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if err := engine.CallTx(ctx, tx, "articles"); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "INSERT INTO articles VALUES ('On throttles')")
		return err
	})
	fmt.Println("committed:", err)
	<-rebuilt
	// committed: <nil>
	// rebuilt with articles: 1
}

// Another program migrates the schema. This one only checks it.
//
//nolint:testableexamples // TestExamples runs it
func ExampleEngine_Check() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()
	engine, err := fleetpg.New(pool, fleetpg.WithSchema("fleet"), fleetpg.WithNamespace("staging"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(engine.Check(ctx))
	// throttle: there is no schema "fleet", and this program needs version 1 of it
}

func TestExamples(t *testing.T) {
	d := newDatabase(t)
	mustExec(t, d.pool(t), "CREATE TABLE articles (title text)")
	t.Setenv("DATABASE_URL", d.url())
	require.Equal(t, "rebuilt\n<nil>\n", printed(t, Example))
	require.Equal(t, "committed: <nil>\nrebuilt with articles: 1\n", printed(t, ExampleEngine_CallTx))
	require.Equal(t, "throttle: there is no schema \"fleet\", and this program needs version 1 of it\n", printed(t, ExampleEngine_Check))
}

// printed returns the output of f.
func printed(t *testing.T, f func()) string {
	t.Helper()
	reader, writer, err := os.Pipe()
	require.NoError(t, err)
	before := os.Stdout
	os.Stdout = writer
	defer func() { os.Stdout = before }()
	f()
	require.NoError(t, writer.Close())
	text, err := io.ReadAll(reader)
	require.NoError(t, err)
	return string(text)
}
