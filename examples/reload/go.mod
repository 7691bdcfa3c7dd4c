module github.com/throttle-go/throttle/examples/reload

go 1.25.0

require (
	github.com/fsnotify/fsnotify v1.10.1
	github.com/stretchr/testify v1.12.1
	github.com/throttle-go/throttle v0.0.0
	golang.org/x/sync v0.22.0
)

require (
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/sys v0.13.0 // indirect
)

replace github.com/throttle-go/throttle => ../..
