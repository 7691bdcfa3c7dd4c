//go:build linux

package main

import (
	"context"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// enqueue adds a task to the group that key names.
func enqueue(client *asynq.Client, key string) error {
	_, err := client.Enqueue(asynq.NewTask("call", nil), asynq.Group(key))
	return err
}

// aggregate starts an asynq server, which makes one task of a group and runs it. The server looks
// for tasks ten times as often as by default, and repeats one whose process is gone a second after
// it has noticed, not up to 45 s.
func aggregate(client *redis.Client, run func(ctx context.Context, key string) error) (*asynq.Server, error) {
	server := asynq.NewServerFromRedisClient(client, asynq.Config{
		Concurrency:       100,
		LogLevel:          asynq.ErrorLevel,
		TaskCheckInterval: 100 * time.Millisecond,
		RetryDelayFunc:    func(int, error, *asynq.Task) time.Duration { return time.Second },
		GroupGracePeriod:  quiet,
		GroupMaxDelay:     maxWait,
		GroupAggregator: asynq.GroupAggregatorFunc(func(group string, _ []*asynq.Task) *asynq.Task {
			return asynq.NewTask("run", []byte(group))
		}),
	})
	err := server.Start(asynq.HandlerFunc(func(ctx context.Context, task *asynq.Task) error {
		return run(ctx, string(task.Payload()))
	}))
	return server, err
}
