// Package throttledebug serves a live page of throttles for a browser: what each is up
// to, when its next run is due, and how its last runs went.
//
//	var recorder throttledebug.Recorder
//	reload, err := throttle.New(policy, load,
//		throttle.WithName("reload"), throttle.WithObserver(recorder.Observe))
//	...
//	http.Handle("/debug/throttle", throttledebug.Handler(
//		throttledebug.Throttler(reload), throttledebug.Runs(&recorder)))
//
// There is no registry: the page shows what [Handler] was given, in that order. What a
// throttle itself does not keep, its recent runs, comes from a [Recorder].
//
// # Requests
//
// The page is one resource. The path of a request is not looked at, and all links are
// relative, so that it can be mounted anywhere. Its parameters are
//
//	format     json: a Page; events: a stream of changes, for the page's own use
//	q0, q1, …  of the part with that place on the page, a Group: only keys that contain this
//
// GET and HEAD are allowed, and POST by [Actions] only. The page loads nothing from
// elsewhere, and is readable without script too: then it is read anew every few
// seconds.
//
// # Who may see it
//
// Names, keys and errors are shown as text, whatever they hold, to whoever can reach
// the page. It knows no users: who may see it is for what is around it to decide, as
// for net/http/pprof.
//
// # What it costs
//
// Without an open page nothing runs and no timer is set. An open page is one request,
// which looks once a second, and more seldom if a look takes long: it takes no more
// than a twentieth of one processor's time; without script, a look each five seconds.
// A look at a Group takes time in proportion to its keys, with no lock held for all of
// it. An open page does not hold up http.Server.Shutdown.
package throttledebug
