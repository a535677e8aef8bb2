package client

import (
	"io"
	"net"
	"testing"

	"golang.org/x/net/http2"
)

func TestOneGoAwayAConnection(t *testing.T) {
	ours, theirs := net.Pipe()
	go func() {
		f := http2.NewFramer(theirs, nil)
		_ = f.WriteGoAway(1<<31-1, http2.ErrCodeNo, []byte("max_age"))
		_ = f.WritePing(false, [8]byte{})
		_ = f.WriteGoAway(7, http2.ErrCodeNo, nil)
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
