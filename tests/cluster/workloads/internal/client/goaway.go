package client

import (
	"encoding/binary"
	"net"
	"sync"
	"time"
)

// An HTTP/2 frame is a header of 9 bytes (RFC 9113, section 4.1) and a
// payload; that of GOAWAY is the last stream, an error code and debug data.
const (
	frameHeaderLen = 9
	frameGoAway    = 7
	goAwayFixedLen = 8
	maxDebugData   = 64
)

// GoAway is what a server says when it closes a connection.
type GoAway struct {
	Peer  string
	Code  uint32
	Debug string
	// Age is how long the connection had been open.
	Age time.Duration
}

// frameScanner finds the GOAWAY frames in the bytes that a server sends, in
// whatever pieces they arrive.
type frameScanner struct {
	header  [frameHeaderLen]byte
	have    int
	left    int
	goAway  bool
	payload []byte
	found   func(code uint32, debug string)
}

func (s *frameScanner) scan(p []byte) {
	for len(p) > 0 {
		if s.have < frameHeaderLen {
			n := copy(s.header[s.have:], p)
			s.have += n
			p = p[n:]
			if s.have < frameHeaderLen {
				return
			}
			s.left = int(s.header[0])<<16 | int(s.header[1])<<8 | int(s.header[2])
			s.goAway = s.header[3] == frameGoAway
			s.payload = s.payload[:0]
		}
		n := min(s.left, len(p))
		if s.goAway {
			keep := min(n, goAwayFixedLen+maxDebugData-len(s.payload))
			s.payload = append(s.payload, p[:keep]...)
		}
		s.left -= n
		p = p[n:]
		if s.left == 0 {
			s.endFrame()
		}
	}
}

func (s *frameScanner) endFrame() {
	s.have = 0
	if s.goAway && len(s.payload) >= goAwayFixedLen {
		s.found(binary.BigEndian.Uint32(s.payload[4:8]), string(s.payload[goAwayFixedLen:]))
	}
}

// watchedConn reports the first GOAWAY of a plaintext connection: a graceful
// close sends two, and a connection ends only once.
type watchedConn struct {
	net.Conn
	scanner frameScanner
}

func watchConn(conn net.Conn, report func(GoAway)) net.Conn {
	opened := time.Now()
	var once sync.Once
	c := &watchedConn{Conn: conn}
	c.scanner.found = func(code uint32, debug string) {
		once.Do(func() {
			report(GoAway{Peer: conn.RemoteAddr().String(), Code: code, Debug: debug, Age: time.Since(opened)})
		})
	}
	return c
}

func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.scanner.scan(p[:n])
	return n, err
}
