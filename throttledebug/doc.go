// Package throttledebug serves a live web page of throttles: what each one is doing, when
// its next run is due, and how its recent runs went. Of a throttle that a fleet shares, it
// shows this process's part: see [Fleet], [FleetGroup] and [Engine].
//
//	var recorder throttledebug.Recorder
//	reload, err := throttle.New(policy, load,
//		throttle.WithName("reload"), throttle.WithObserver(recorder.Observe))
//	...
//	http.Handle("/debug/throttle", throttledebug.Handler(
//		throttledebug.Throttler(reload), throttledebug.Runs(&recorder)))
//
// There is no registry: the page shows the options of [Handler]. Failing throttles come
// first, and names are in natural order: item-2 before item-10. A throttle does not keep its
// recent runs; they come from a [Recorder]. Without one, the page knows only the last run.
//
// A strip shows the recent runs of a throttle and the first calls that they cover. Shading
// shows the windows, in which spacing or a backoff holds off the next run, under the current
// policy. Of a throttle with keys (a Group, KeyedCoalescer or fleet.Group), the five keys that
// ran most often have strips of their own. All strips have the same time axis, so that you
// can compare them.
//
// # Requests
//
// The page is one resource. It ignores the path of a request, and all its links are
// relative, so you can mount it anywhere. Its parameters are
//
//	format     json: a Page; events: a stream of changes, for the page itself
//	show       failing, running, pending, paused or closed: only these throttles
//	last       1s, 10s, 30s, 1m, 10m, 1h, 6h or 24h: how much of the past the strips show;
//	           without it, what suits most policies
//	q0, q1, …  for the throttle with keys at that position among the options: only keys
//	           that contain this text
//
// A Page in JSON has all throttles, in the order of the options.
//
// GET and HEAD are allowed, and POST with [Actions]. The page loads nothing from other
// places. It also works without JavaScript; it then reloads every five seconds.
//
// # Access
//
// The page shows names, keys and errors as plain text, whatever they contain, to everyone
// who can reach it. It knows no users. As with net/http/pprof, restrict access with the
// server or handler around it.
//
// # Cost
//
// Without an open page nothing runs and no timer is set. An open page is one request. It
// reads the throttles once a second, or less often if that takes long, so that it uses at
// most a twentieth of one processor. Without JavaScript, it reads them every five seconds.
// Reading a throttle with keys takes time in proportion to them, and holds no lock for all of
// that time. An open page does not delay http.Server.Shutdown.
package throttledebug
