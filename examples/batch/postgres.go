package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A table is a store on PostgreSQL. It has a table of its own, which close drops.
type table struct {
	pool   *pgxpool.Pool
	name   string
	faults faults
}

func newTable(ctx context.Context, url string) (*table, error) {
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return nil, err
	}
	t := &table{pool: pool, name: fmt.Sprintf("batch_example_%d", time.Now().UnixNano())}
	_, err = pool.Exec(ctx, `CREATE TABLE `+t.name+` (
		writer int, number int, content text NOT NULL,
		place bigint GENERATED ALWAYS AS IDENTITY, -- the order of the inserts
		PRIMARY KEY (writer, number))`)
	if err != nil {
		pool.Close()
		return nil, err
	}
	return t, nil
}

func (t *table) insert(ctx context.Context, rows []row) error {
	var writers, numbers []int
	var texts []string
	for _, r := range rows {
		writers, numbers, texts = append(writers, r.Writer), append(numbers, r.Number), append(texts, r.Text)
	}
	tx, err := t.pool.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx)) //nolint:errcheck // after a commit it has no effect

	// If a connection breaks during a commit, nobody knows whether that took place. The
	// rows are inserted again then, which must not fail.
	_, err = tx.Exec(ctx, `INSERT INTO `+t.name+` (writer, number, content)
		SELECT writer, number, content
		FROM unnest($1::int[], $2::int[], $3::text[]) WITH ORDINALITY AS r (writer, number, content, position)
		ORDER BY position
		ON CONFLICT DO NOTHING`, writers, numbers, texts)
	if err == nil && t.faults.next(rows) {
		_, err = tx.Exec(ctx, `SELECT pg_terminate_backend(pg_backend_pid())`) // breaks the connection
	}
	if err != nil {
		return refusal(err)
	}
	// The end of ctx must not break off the commit, for the reason above.
	return tx.Commit(context.WithoutCancel(ctx))
}

// refusal wraps errRefused if err says that a row is wrong. Other errors are not the row's
// fault: the same insert may succeed later.
func refusal(err error) error {
	var answer *pgconn.PgError
	if !errors.As(err, &answer) {
		return err
	}
	const dataException, constraintViolation = "22", "23" // classes of codes
	if class := answer.Code[:2]; class == dataException || class == constraintViolation {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	return err
}

func (t *table) rows(ctx context.Context) ([]row, error) {
	found, err := t.pool.Query(ctx, `SELECT writer, number, content FROM `+t.name+` ORDER BY place`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(found, func(r pgx.CollectableRow) (row, error) {
		var one row
		return one, r.Scan(&one.Writer, &one.Number, &one.Text)
	})
}

func (t *table) close(ctx context.Context) error {
	defer t.pool.Close()
	_, err := t.pool.Exec(ctx, `DROP TABLE `+t.name)
	return err
}
