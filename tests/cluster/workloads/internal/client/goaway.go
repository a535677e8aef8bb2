package client

import (
	"net"
	"sync"
	"time"

	"evenkeel.dev/tests/cluster/workloads/internal/frames"
)

// GoAway is what a server says when it closes a connection.
type GoAway struct {
	Peer  string
	Code  uint32
	Debug string
	// Age is how long the connection had been open.
	Age time.Duration
}

// watchedConn reports the first GOAWAY of a plaintext connection: a graceful
// close sends two, and a connection ends only once.
type watchedConn struct {
	net.Conn
	scanner *frames.Scanner
}

func watchConn(conn net.Conn, report func(GoAway)) net.Conn {
	opened := time.Now()
	var once sync.Once
	return &watchedConn{Conn: conn, scanner: frames.FromServer(func(f frames.Frame) {
		if f.Type != frames.GoAway {
			return
		}
		once.Do(func() {
			report(GoAway{Peer: conn.RemoteAddr().String(), Code: f.Code(), Debug: f.Debug(), Age: time.Since(opened)})
		})
	})}
}

func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.scanner.Scan(p[:n])
	return n, err
}
