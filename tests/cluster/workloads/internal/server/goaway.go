package server

import (
	"net"
	"slices"
	"sync"
	"time"

	"evenkeel.dev/tests/cluster/workloads/internal/frames"
)

// A graceful close sends a GOAWAY and a PING, and a second GOAWAY, which names
// the last call that is answered, when the PING comes back. grpc-go waits five
// seconds for that. Calls that reach the server later were begun in good faith
// and fail nevertheless, unless the client tries them again.

// watchedListener reports the connections on which the PING did not come back.
type watchedListener struct {
	net.Listener
	unanswered func(peer string, waited time.Duration)
}

func (l watchedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &watchedConn{Conn: conn}
	c.closing.unanswered = func(waited time.Duration) { l.unanswered(conn.RemoteAddr().String(), waited) }
	c.in = frames.FromClient(c.closing.read)
	c.out = frames.FromServer(c.closing.written)
	return c, nil
}

// watchedConn sees the frames of a plaintext connection.
type watchedConn struct {
	net.Conn
	in, out *frames.Scanner
	closing closing
}

func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.in.Scan(p[:n])
	return n, err
}

func (c *watchedConn) Write(p []byte) (int, error) {
	c.out.Scan(p)
	return c.Conn.Write(p)
}

// closing is where a graceful close has got to. One goroutine reads a
// connection and another writes it.
type closing struct {
	mu         sync.Mutex
	begun      time.Time
	ping       []byte
	answered   bool
	unanswered func(waited time.Duration)
}

func (c *closing) written(f frames.Frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case f.Type == frames.Ping && !f.IsAck() && !c.begun.IsZero() && c.ping == nil:
		c.ping = slices.Clone(f.Payload)
	case f.Type == frames.GoAway && c.begun.IsZero():
		c.begun = time.Now()
	case f.Type == frames.GoAway && c.ping != nil && !c.answered:
		c.answered = true // once
		c.unanswered(time.Since(c.begun))
	}
}

func (c *closing) read(f frames.Frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.IsAck() && c.ping != nil && slices.Equal(f.Payload, c.ping) {
		c.answered = true
	}
}
