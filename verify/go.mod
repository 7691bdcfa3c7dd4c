module github.com/throttle-go/throttle/verify

go 1.25.0

require (
	github.com/anishathalye/porcupine v1.3.1
	github.com/bep/debounce v1.2.1
	github.com/chromedp/cdproto v0.159.0
	github.com/chromedp/chromedp v0.23.0
	github.com/samber/lo v1.53.0
	github.com/stretchr/testify v1.12.1
	github.com/throttle-go/throttle v0.0.0
	golang.org/x/exp v0.0.0-20260218203240-3dfff04db8fa
	golang.org/x/time v0.15.0
)

require (
	github.com/go-json-experiment/json v0.0.0-20260213210345-44df1a37e875 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/text v0.22.0 // indirect
)

replace github.com/throttle-go/throttle => ../
