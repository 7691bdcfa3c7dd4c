// Command playground makes a page on which you can try policies: it shows when the runs start
// that your calls, or a script of calls, ask for. The page is static. It runs the library
// itself, compiled to WebAssembly.
//
//	go run ./docs/playground
//
// builds the page with the go command and serves it at http://localhost:8080 until it is
// interrupted. With -o it writes the page's files to a folder instead, for any web server:
//
//	go run ./docs/playground -o site
//
// The part of the URL after # is a query that says what the page shows. It has a parameter for
// each [Field] that differs from the preset:
//
//	#preset=burst
//	#preset=flush&mode=live
//	#mode=script&interval=100ms&burst=3&calls=0,30,60&runs=60,fail
//
// The names of the presets are those of the pictures in docs/policies.
//
// The package is two programs. main.go and build.go are the one that builds the page; main_js.go
// is the one that runs in it. All other files but page.js know neither a browser nor a file,
// so that tests can play with the page.
package main
