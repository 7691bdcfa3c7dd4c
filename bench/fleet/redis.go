//go:build linux

package main

import (
	"context"
	"fmt"
	"regexp"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/throttle-go/throttle/adapters/fleetredis"
	"github.com/throttle-go/throttle/fleet"
)

type redisClient struct {
	client    *redis.Client
	throttles *fleetredis.Engine
	script    *redis.Script // for bare
}

// The keys of bare states are as long as the engine's.
const (
	redisState = "throttle:{default:0}:key:"
	redisBare  = "throttle:{default:0}:raw:"
	redisIndex = "throttle:{default:0}:due"
)

// bareScript grants without a question. It gets the arguments of a claim, writes what a grant writes,
// and answers as much.
const bareScript = `
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local state = redis.call('HMGET', KEYS[1], 'n', 'i', 'p', 'e')
local token, next, due = now, now + ARGV[7], now + ARGV[8]
local numbers = string.format('1 %d %d %d %d %d %d 7 6 7 0 %s', token, now, next, due, ARGV[7], ARGV[8], ARGV[2])
local ids = string.sub(state[2], 25) .. ARGV[3] .. clock[1] .. '000000'
redis.call('HSET', KEYS[1], 'n', numbers, 'i', ids)
redis.call('ZADD', KEYS[2], string.format('%d', due), ARGV[1])
return { 2, now, numbers, state[4] }`

func openRedis(url string, connections int) (*redisClient, error) {
	options, err := redis.ParseURL(url)
	if err != nil {
		return nil, err
	}
	options.ContextTimeoutEnabled = true
	options.PoolSize = connections
	c := &redisClient{client: redis.NewClient(options), script: redis.NewScript(bareScript)}
	if c.throttles, err = fleetredis.New(c.client); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *redisClient) close() { _ = c.client.Close() }

func (c *redisClient) engine() fleet.Engine { return c.throttles }

func (c *redisClient) prepare(ctx context.Context, key string) error {
	return c.client.Copy(ctx, redisState+key, redisBare+key, 0, true).Err()
}

func (c *redisClient) bare(ctx context.Context, key string) error {
	m := newClaim(spacing)
	_, err := c.script.Run(ctx, c.client, []string{redisBare + key, redisIndex},
		key, m.ID, "12345678", -2, int64(m.By), m.Seen, m.Spacing.Microseconds(), m.Lease.Microseconds(), m.Policy).Slice()
	return err
}

func (c *redisClient) version(ctx context.Context) (string, error) {
	version, err := c.info(ctx, "server", `redis_version:([\d.]+)`)
	return "redis-server " + version, err
}

func (c *redisClient) total(ctx context.Context) (int64, error) {
	used, err := c.info(ctx, "memory", `used_memory:(\d+)`)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(used, 10, 64)
}

func (c *redisClient) size(ctx context.Context, key string) (int64, error) {
	return c.client.MemoryUsage(ctx, redisState+key).Result()
}

func (c *redisClient) commands(ctx context.Context) (calls, took float64, err error) {
	for name, value := range map[string]*float64{"calls": &calls, "usec": &took} {
		text, err := c.info(ctx, "commandstats", `cmdstat_evalsha:.*\b`+name+`=(\d+)`)
		if err != nil {
			return 0, 0, err
		}
		if *value, err = strconv.ParseFloat(text, 64); err != nil {
			return 0, 0, err
		}
	}
	return calls, took, nil
}

// info returns the first group of pattern in a section of the server's INFO.
func (c *redisClient) info(ctx context.Context, section, pattern string) (string, error) {
	text, err := c.client.Info(ctx, section).Result()
	if err != nil {
		return "", err
	}
	found := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if found == nil {
		return "", fmt.Errorf("INFO %s has no match of %s", section, pattern)
	}
	return found[1], nil
}
