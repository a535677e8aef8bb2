// Package frames finds GOAWAY and PING in the bytes of an HTTP/2 connection.
package frames

import "encoding/binary"

// An HTTP/2 frame is a header of 9 bytes (RFC 9113, section 4.1) and a payload.
const (
	headerLen      = 9
	pingLen        = 8
	goAwayFixedLen = 8
	maxDebugData   = 64
	// What a client sends before its first frame.
	clientPrefaceLen = 24
)

// The types that are found.
const (
	Ping   = 6
	GoAway = 7
)

// Ack is the flag of a PING that answers one.
const Ack = 1

// Frame is one that was found, with the beginning of its payload; it is
// overwritten by the next.
type Frame struct {
	Type, Flags byte
	Payload     []byte
}

// IsAck says whether it answers a PING.
func (f Frame) IsAck() bool { return f.Type == Ping && f.Flags&Ack != 0 }

// Code is the error code of a GOAWAY.
func (f Frame) Code() uint32 { return binary.BigEndian.Uint32(f.Payload[4:8]) }

// Debug is what a GOAWAY says of its reason.
func (f Frame) Debug() string { return string(f.Payload[goAwayFixedLen:]) }

// Scanner reads one direction of a connection, in whatever pieces it arrives.
type Scanner struct {
	skip    int
	header  [headerLen]byte
	have    int
	left    int
	payload []byte
	found   func(Frame)
}

// FromServer scans what a server sends.
func FromServer(found func(Frame)) *Scanner { return &Scanner{found: found} }

// FromClient scans what a client sends.
func FromClient(found func(Frame)) *Scanner {
	return &Scanner{found: found, skip: clientPrefaceLen}
}

// Scan takes the next piece.
func (s *Scanner) Scan(p []byte) {
	n := min(s.skip, len(p))
	s.skip -= n
	p = p[n:]
	for len(p) > 0 {
		if s.have < headerLen {
			n := copy(s.header[s.have:], p)
			s.have += n
			p = p[n:]
			if s.have < headerLen {
				return
			}
			s.left = int(s.header[0])<<16 | int(s.header[1])<<8 | int(s.header[2])
			s.payload = s.payload[:0]
		}
		n := min(s.left, len(p))
		keep := min(n, s.wanted()-len(s.payload))
		s.payload = append(s.payload, p[:keep]...)
		s.left -= n
		p = p[n:]
		if s.left == 0 {
			s.end()
		}
	}
}

// wanted is how much of the payload is kept.
func (s *Scanner) wanted() int {
	switch s.header[3] {
	case Ping:
		return pingLen
	case GoAway:
		return goAwayFixedLen + maxDebugData
	default:
		return 0
	}
}

func (s *Scanner) end() {
	s.have = 0
	frame := Frame{Type: s.header[3], Flags: s.header[4], Payload: s.payload}
	whole := frame.Type == Ping && len(s.payload) == pingLen ||
		frame.Type == GoAway && len(s.payload) >= goAwayFixedLen
	if whole {
		s.found(frame)
	}
}
