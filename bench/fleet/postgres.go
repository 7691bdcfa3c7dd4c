//go:build linux

package main

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/throttle-go/throttle/adapters/fleetpg"
	"github.com/throttle-go/throttle/fleet"
)

type postgresClient struct {
	pool      *pgxpool.Pool
	throttles *fleetpg.Engine
}

func openPostgres(ctx context.Context, url string, connections int) (*postgresClient, error) {
	options, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	options.MaxConns = int32(connections)
	pool, err := pgxpool.NewWithConfig(ctx, options)
	if err != nil {
		return nil, err
	}
	c := &postgresClient{pool: pool}
	if err = fleetpg.Migrate(ctx, pool); err == nil {
		c.throttles, err = fleetpg.New(pool)
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *postgresClient) close() { c.pool.Close() }

func (c *postgresClient) engine() fleet.Engine { return c.throttles }

func (c *postgresClient) prepare(ctx context.Context, key string) error {
	_, err := c.pool.Exec(ctx, `CREATE TABLE IF NOT EXISTS bare (LIKE throttle.state INCLUDING ALL) WITH (fillfactor = 70)`)
	if err != nil {
		return err
	}
	_, err = c.pool.Exec(ctx, `INSERT INTO bare SELECT * FROM throttle.state WHERE namespace = 'default' AND key = $1 ON CONFLICT DO NOTHING`, key)
	return err
}

// bare returns as many columns as a claim.
func (c *postgresClient) bare(ctx context.Context, key string) error {
	var numbers [11]int64
	var failed bool
	var texts [2]string
	return c.pool.QueryRow(ctx, `UPDATE bare SET requested = requested + 1 WHERE namespace = $1 AND key = $2
		RETURNING format, token, failures, span, until, requested, acknowledged, last_from, last_through, last_token,
		last_failed, last_message, policy, granted`, "default", key).
		Scan(&numbers[0], &numbers[1], &numbers[2], &numbers[3], &numbers[4], &numbers[5], &numbers[6], &numbers[7],
			&numbers[8], &numbers[9], &failed, &texts[0], &texts[1], &numbers[10])
}

func (c *postgresClient) version(ctx context.Context) (version string, err error) {
	err = c.pool.QueryRow(ctx, `SELECT 'PostgreSQL ' || split_part(current_setting('server_version'), ' ', 1)`).Scan(&version)
	return version, err
}

func (c *postgresClient) total(ctx context.Context) (bytes int64, err error) {
	err = c.pool.QueryRow(ctx, `SELECT pg_total_relation_size('throttle.state')`).Scan(&bytes)
	return bytes, err
}

func (c *postgresClient) size(ctx context.Context, key string) (bytes int64, err error) {
	err = c.pool.QueryRow(ctx, `SELECT pg_column_size(s.*) FROM throttle.state s WHERE namespace = 'default' AND key = $1`, key).Scan(&bytes)
	return bytes, err
}

func (c *postgresClient) commands(context.Context) (calls, took float64, err error) { return 0, 0, nil }
