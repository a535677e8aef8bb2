package frames

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

func stream(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	f := http2.NewFramer(&b, nil)
	for _, err := range []error{
		f.WriteSettings(),
		f.WriteData(1, true, bytes.Repeat([]byte{GoAway}, 300)),
		f.WriteGoAway(1<<31-1, http2.ErrCodeNo, []byte("max_age")),
		f.WritePing(false, [8]byte{1, 6}),
		f.WriteGoAway(7, http2.ErrCodeEnhanceYourCalm, bytes.Repeat([]byte("x"), 1000)),
		f.WriteData(3, true, nil),
		f.WritePing(true, [8]byte{1, 6}),
		f.WriteGoAway(7, http2.ErrCodeNo, nil),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func describe(f Frame) string {
	if f.Type == Ping {
		return fmt.Sprintf("ping %t %v", f.IsAck(), f.Payload)
	}
	return fmt.Sprintf("goaway %d %s", f.Code(), f.Debug())
}

func TestFindsFramesInAnyPieces(t *testing.T) {
	frames := stream(t)
	want := []string{
		"goaway 0 max_age", "ping false [1 6 0 0 0 0 0 0]", "goaway 11 " + strings.Repeat("x", maxDebugData),
		"ping true [1 6 0 0 0 0 0 0]", "goaway 0 ",
	}
	for piece := 1; piece <= len(frames)+clientPrefaceLen; piece++ {
		var got []string
		found := func(f Frame) { got = append(got, describe(f)) }
		server, client := FromServer(found), FromClient(found)
		for chunk := range slices.Chunk(frames, piece) {
			server.Scan(chunk)
		}
		for chunk := range slices.Chunk(append([]byte(http2.ClientPreface), frames...), piece) {
			client.Scan(chunk)
		}
		if !slices.Equal(got, append(slices.Clone(want), want...)) {
			t.Fatalf("pieces of %d: got %v", piece, got)
		}
	}
}

func FuzzScanner(f *testing.F) {
	f.Add([]byte{0, 0, 8, GoAway, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 3)
	f.Fuzz(func(_ *testing.T, stream []byte, piece int) {
		s := FromServer(func(f Frame) { describe(f) })
		for chunk := range slices.Chunk(stream, min(max(piece, 1), 1<<20)) {
			s.Scan(chunk)
		}
	})
}
