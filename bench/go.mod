module github.com/throttle-go/throttle/bench

go 1.25.0

require (
	github.com/bep/debounce v1.2.1
	github.com/failsafe-go/failsafe-go v0.9.8
	github.com/graph-gophers/dataloader/v7 v7.1.2
	github.com/hibiken/asynq v0.26.0
	github.com/jackc/pgx/v5 v5.12.0
	github.com/redis/go-redis/v9 v9.22.0
	github.com/samber/lo v1.53.0
	github.com/stretchr/testify v1.12.1
	github.com/throttle-go/throttle v0.0.0
	github.com/throttle-go/throttle/adapters/fleetpg v0.0.0
	github.com/throttle-go/throttle/adapters/fleetredis v0.0.0
	go.opentelemetry.io/otel/sdk v1.46.0
	go.opentelemetry.io/otel/trace v1.46.0
	go.uber.org/ratelimit v0.3.1
	golang.org/x/time v0.15.0
)

require (
	github.com/benbjohnson/clock v1.3.0 // indirect
	github.com/bits-and-blooms/bitset v1.24.4 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/go-logr/logr v1.4.4 // indirect
	github.com/go-logr/stdr v1.2.2 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	github.com/jackc/puddle/v2 v2.2.3 // indirect
	github.com/robfig/cron/v3 v3.0.1 // indirect
	github.com/spf13/cast v1.10.0 // indirect
	go.opentelemetry.io/auto/sdk v1.2.1 // indirect
	go.opentelemetry.io/otel v1.46.0 // indirect
	go.opentelemetry.io/otel/metric v1.46.0 // indirect
	go.uber.org/atomic v1.12.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/sync v0.22.0 // indirect
	golang.org/x/sys v0.47.0 // indirect
	golang.org/x/text v0.41.0 // indirect
	google.golang.org/protobuf v1.36.10 // indirect
)

replace (
	github.com/throttle-go/throttle => ../
	github.com/throttle-go/throttle/adapters/fleetpg => ../adapters/fleetpg
	github.com/throttle-go/throttle/adapters/fleetredis => ../adapters/fleetredis
)
