// Package servers runs Redis, Valkey and PostgreSQL servers on ports and folders of their
// own, for tests, benchmarks and examples. It works on Linux.
package servers
