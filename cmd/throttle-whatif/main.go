// Command throttle-whatif answers one question: what would each policy have done with my
// traffic?
//
// It reads the times of your calls, plays them against a grid of policies, and prints a row
// for each policy: how many runs it makes, and how long the calls wait for them. It uses
// [throttle.Simulate], so an hour of traffic takes a moment.
//
//	go install github.com/throttle-go/throttle/cmd/throttle-whatif@latest
//
// # Examples
//
// A file with a time on each line, and the default grid:
//
//	throttle-whatif -file calls.txt
//
// The first field of a log, where each run takes 200 ms, and your own grid:
//
//	throttle-whatif -file changes.log -field 1 -took 200ms -interval 0,1s,10s -quiet 0,300ms -maxwait 0,2s
//
// prints
//
//	333 calls in 9m55s. Each policy is watched for 10m6s.
//
//	     runs  saved  running  load  dropped    p50    p99  longest  stale  policy
//	  *   222  33.3%    44.4s  7.3%        0  5.1ms  192ms    200ms   7.3%  no limit
//	  *    98  70.6%    19.6s  3.2%        0  599ms  999ms       1s   8.1%  at most once per 1s
//	  *    79  76.3%    15.8s  2.6%        0  525ms     2s       2s  10.5%  after 300ms of quiet, at the latest after 2s
//	       79  76.3%    15.8s  2.6%        0  535ms     2s       2s  11.0%  at most once per 1s, after 300ms of quiet, at the latest after 2s
//	  *    65  80.5%      13s  2.1%        0  686ms  29.5s    30.1s  10.5%  after 300ms of quiet
//	       65  80.5%      13s  2.1%        0  699ms  29.5s    30.1s  10.9%  at most once per 1s, after 300ms of quiet
//	  *    49  85.3%     9.8s  1.6%        0  5.91s  9.93s      10s  40.0%  at most once per 10s
//	  *    48  85.6%     9.6s  1.6%        0   5.6s  9.94s    9.98s  38.9%  at most once per 10s, after 300ms of quiet, at the latest after 2s
//	  *    45  86.5%       9s  1.5%        0   5.9s  29.7s    31.4s  37.5%  at most once per 10s, after 300ms of quiet
//
// A log in JSON, through jq, and what happens if one run in ten fails and is repeated:
//
//	jq -r .time app.log | throttle-whatif -fail 0.1 -interval 1s,5s -retry 1s -retrymax 1m
//
// A picture of the best policies:
//
//	throttle-whatif -file calls.txt -svg best.svg
//
// # Input
//
// Each line holds the time of one call. Empty lines are skipped, and the lines may be in
// any order. With -field N the time is the N-th field of the line, counted from 1; fields
// are separated by spaces or tabs. Brackets and quotes around the time, a comma or colon
// after it, and the key of a pair such as time=… do not matter. A line without a time is an
// error, which names the line.
//
// A time is in RFC 3339, such as 2026-03-02T09:00:00.25Z, or a Unix time. The size of a Unix
// time tells its unit: seconds below 10^11, milliseconds below 10^14, microseconds below
// 10^17, and nanoseconds from there on. It may have a fraction. All times are exact to the
// nanosecond.
//
// The throttler is built at the instant of the first call. Every run takes as long as -took
// says. With -fail, that share of the runs fails. Which ones is random, but always the same:
// run number n fails under every policy, or under none.
//
// # Grid
//
// Each of the flags -interval, -quiet, -maxwait, -maxinterval, -burst, -maxload, -maxcalls,
// -edges, -from, -retry and -retrymax sets a field of [throttle.Policy]; -help says which. It
// takes one or more values, separated by commas. The grid has all combinations of the values
// that [throttle.Policy.Validate] accepts, but at most 10000. A flag that you leave out stands
// for the zero value: no such limit. Without any of these flags, you get the grid of
//
//	-interval 0,100ms,300ms,1s,3s,10s -quiet 0,100ms -maxwait 0,1s
//
// # Columns
//
// All policies are watched for the same time: from the first call until each policy is sure to
// have covered the last one. So the watch goes on after the last call for the longest Interval,
// Quiet, retry delay or rest of MaxLoad in the grid, and for two runs. A run that starts later
// does not count, and one that ends later counts up to the end of the watch. This also puts an
// end to periodic runs and to endless retries.
//
//   - A star marks the policies that no other policy beats. One policy beats another if it has
//     no more runs, no longer p99 and no more staleness, and is better in one of the three.
//   - runs is the number of runs. The rows are sorted by it.
//   - saved is the share of runs that the policy saves, compared with one run for each call. It
//     is negative if there are more runs than calls.
//   - running is the time during which a run was active, and load is its share of the watch.
//   - dropped is the number of calls that the policy drops. Only policies with the leading edge
//     alone drop calls.
//   - p50, p99 and longest are about the wait of calls: the time from a call until the start of
//     the first run after it, which is the run that covers it. No run covers a dropped call, but
//     it waits in the same way, at most until the end of the watch: otherwise a policy would
//     look fast because it drops calls. Half of the calls wait no longer than p50, and 99 per
//     cent no longer than p99. Both are exact.
//   - stale is the share of the watch in which some call was not yet reflected. A call, dropped
//     or not, is reflected once a successful run that started after it has ended.
//   - policy is the policy in words.
//
// A run that is due at the instant of a call starts before the call, and does not reflect it.
// See [throttle.Simulate].
//
// # JSON and pictures
//
// With -json you get an array with an object for each row, in the same order. Fields whose
// names end in _ns are in nanoseconds. The fields saved, load and stale are shares, where 1 is
// all.
//
// With -svg you also get a picture of the three best policies with a star, on one time axis.
// The best ones have the smallest sum of runs and staleness, each scaled so that among the
// policies with a star the least is 0 and the most is 1. Of equal rows only the first counts.
// Calls that would share a few pixels are drawn as one, and so are runs.
package main

import (
	"io"
	"os"

	"github.com/throttle-go/throttle/internal/flags"
)

func main() {
	flags.Exit("throttle-whatif", run(os.Args[1:], os.Stdin, os.Stdout))
}

// run is the whole program.
func run(args []string, stdin io.Reader, stdout io.Writer) error {
	c, err := parse(args, stdout)
	if err != nil {
		return err
	}
	calls, err := readFile(c.file, c.field, stdin)
	if err != nil {
		return err
	}
	s := newScenario(calls, c)
	results := s.tryAll(c.policies)
	write := s.writeTable
	if c.json {
		write = s.writeJSON
	}
	if err := write(stdout, results); err != nil || c.svg == "" {
		return err
	}
	return s.writeSVG(c.svg, results)
}
