module github.com/throttle-go/throttle/bench

go 1.26.0

require (
	github.com/bep/debounce v1.2.1
	github.com/failsafe-go/failsafe-go v0.9.8
	github.com/samber/lo v1.53.0
	github.com/stretchr/testify v1.12.1
	github.com/throttle-go/throttle v0.0.0
	go.uber.org/ratelimit v0.3.1
	golang.org/x/time v0.16.0
)

require (
	github.com/benbjohnson/clock v1.3.0 // indirect
	github.com/bits-and-blooms/bitset v1.24.4 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/text v0.22.0 // indirect
)

replace github.com/throttle-go/throttle => ../
