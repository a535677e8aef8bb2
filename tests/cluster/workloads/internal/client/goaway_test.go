package client

import (
	"bytes"
	"io"
	"net"
	"slices"
	"testing"

	"golang.org/x/net/http2"
)

func framesWithGoAways(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	f := http2.NewFramer(&b, nil)
	for _, err := range []error{
		f.WriteSettings(),
		f.WriteData(1, true, bytes.Repeat([]byte{frameGoAway}, 300)),
		f.WriteGoAway(1<<31-1, http2.ErrCodeNo, []byte("max_age")),
		f.WritePing(false, [8]byte{}),
		f.WriteGoAway(7, http2.ErrCodeEnhanceYourCalm, bytes.Repeat([]byte("x"), 1000)),
		f.WriteData(3, true, nil),
		f.WriteGoAway(7, http2.ErrCodeNo, nil),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func TestScannerFindsGoAwaysInAnyPieces(t *testing.T) {
	stream := framesWithGoAways(t)
	type found struct {
		code  uint32
		debug string
	}
	want := []found{{0, "max_age"}, {11, string(bytes.Repeat([]byte("x"), maxDebugData))}, {0, ""}}
	for piece := 1; piece <= len(stream); piece++ {
		var got []found
		s := frameScanner{found: func(code uint32, debug string) { got = append(got, found{code, debug}) }}
		for chunk := range slices.Chunk(stream, piece) {
			s.scan(chunk)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("pieces of %d: got %v", piece, got)
		}
	}
}

func TestOneGoAwayAConnection(t *testing.T) {
	ours, theirs := net.Pipe()
	go func() {
		_, _ = theirs.Write(framesWithGoAways(t))
		_ = theirs.Close()
	}()
	var got []GoAway
	conn := watchConn(ours, func(g GoAway) { got = append(got, g) })
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].Debug != "max_age" || got[0].Peer == "" {
		t.Fatalf("got %+v", got)
	}
}

func FuzzScanner(f *testing.F) {
	f.Add([]byte{0, 0, 8, frameGoAway, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 3)
	f.Fuzz(func(_ *testing.T, stream []byte, piece int) {
		s := frameScanner{found: func(uint32, string) {}}
		for chunk := range slices.Chunk(stream, min(max(piece, 1), 1<<20)) {
			s.scan(chunk)
		}
	})
}
