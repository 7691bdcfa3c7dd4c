//go:build linux

package fleettest

import (
	"bytes"
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A proxy forwards connections to a store. A test can cut it, delay it, and make it lose
// replies, at any time.
type proxy struct {
	listener net.Listener
	target   string

	mu sync.Mutex // guards the fields below
	// The proxy forwards nothing, in either direction, and what it receives is lost.
	// +checklocks:mu
	cut bool
	// How long it delays replies.
	// +checklocks:mu
	delay time.Duration
	// It loses the reply to the next request that contains this, and the connection.
	// +checklocks:mu
	swallow []byte
	// How many replies it lost in that way.
	// +checklocks:mu
	swallowed int
	// How many requests and connections it has had.
	// +checklocks:mu
	requests int
	// +checklocks:mu
	links map[*link]struct{}
}

// A link is a connection through a proxy.
type link struct {
	client, server net.Conn
	lost           bool // some bytes were lost, so the connection is useless
	deaf           bool // lose the next reply
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{listener: l, target: target, links: make(map[*link]struct{})}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return // closed
			}
			group.Go(func() { p.connect(client) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.sever(func(*link) bool { return true })
		group.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

// setCut cuts the proxy off from the store, or connects it again. It then closes the
// connections that have lost bytes.
func (p *proxy) setCut(cut bool) {
	p.mu.Lock()
	p.cut = cut
	p.mu.Unlock()
	if !cut {
		p.sever(func(l *link) bool { return l.lost })
	}
}

func (p *proxy) setDelay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// swallowReply makes the proxy lose the reply to the next request that contains text.
func (p *proxy) swallowReply(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.swallow = []byte(text)
}

func (p *proxy) counts() (requests, swallowed int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests, p.swallowed
}

// sever closes all connections for which the function returns true.
func (p *proxy) sever(which func(*link) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		if which(l) {
			l.client.Close()
			l.server.Close()
		}
	}
}

// connect forwards what client and the store send each other, until one of them ends.
func (p *proxy) connect(client net.Conn) {
	defer client.Close()
	p.mu.Lock()
	p.requests++
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), patience())
	defer cancel()
	server, err := new(net.Dialer).DialContext(ctx, "tcp", p.target)
	if err != nil {
		return
	}
	defer server.Close()
	l := &link{client: client, server: server}
	p.mu.Lock()
	p.links[l] = struct{}{}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.links, l)
	}()

	done := make(chan struct{})
	go func() {
		defer close(done)
		pass(server, client, func(request []byte) bool { return p.takeRequest(l, request) })
	}()
	pass(client, server, func([]byte) bool { return p.takeReply(l) })
	<-done
}

// pass forwards what from sends, if take allows it, until one of them ends.
func pass(to, from net.Conn, take func([]byte) bool) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 1<<16)
	for {
		n, err := from.Read(buffer)
		if n > 0 && take(buffer[:n]) {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// takeRequest reports whether to forward a request.
func (p *proxy) takeRequest(l *link, request []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests++
	if p.cut {
		l.lost = true
		return false
	}
	if len(p.swallow) > 0 && bytes.Contains(request, p.swallow) {
		p.swallow, l.deaf = nil, true
	}
	return true
}

// takeReply waits for the delay, and reports whether to forward a reply.
func (p *proxy) takeReply(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if delay := p.delay; delay > 0 {
		p.mu.Unlock()
		time.Sleep(delay)
		p.mu.Lock()
	}
	if l.deaf {
		l.deaf = false
		p.swallowed++
		l.client.Close()
		return false
	}
	if p.cut {
		l.lost = true
		return false
	}
	return true
}
