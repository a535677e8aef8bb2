package server

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"evenkeel.dev/tests/cluster/workloads/internal/frames"
)

func TestUnansweredGoAway(t *testing.T) {
	goAway := frames.Frame{Type: frames.GoAway, Payload: make([]byte, 8)}
	ping := frames.Frame{Type: frames.Ping, Payload: []byte{1, 6, 1, 8, 0, 3, 3, 9}}
	ack := frames.Frame{Type: frames.Ping, Flags: frames.Ack, Payload: ping.Payload}
	other := frames.Frame{Type: frames.Ping, Flags: frames.Ack, Payload: make([]byte, 8)}
	for name, tt := range map[string]struct {
		acks []frames.Frame
		want int
	}{
		"answered":     {[]frames.Frame{other, ack}, 0},
		"not answered": {nil, 1},
		"another ping": {[]frames.Frame{other}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			got := 0
			c := closing{unanswered: func(time.Duration) { got++ }}
			c.written(goAway)
			c.written(ping)
			for _, frame := range tt.acks {
				c.read(frame)
			}
			c.written(goAway)
			c.written(goAway)
			if got != tt.want {
				t.Errorf("reported %d times", got)
			}
		})
	}
}

// A client that reads on but does not answer, as one that stands still.
func TestGRPCWaitsFiveSecondsForTheAnswer(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	s, err := New(Config{Listen: "127.0.0.1:0", Metrics: "127.0.0.1:0", Age: Age{Max: time.Second}}, w)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	go func() { _ = w.CloseWithError(s.Run(ctx)) }()
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = conn.Write([]byte(http2.ClientPreface))
	if err := http2.NewFramer(conn, nil).WriteSettings(); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	for lines := bufio.NewScanner(r); lines.Scan(); {
		var line struct {
			Event, Peer string
			WaitedMS    int64 `json:"waited_ms"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		if line.Event == "goaway_unanswered" {
			if line.Peer != conn.LocalAddr().String() || line.WaitedMS < 4900 {
				t.Errorf("%+v", line)
			}
			return
		}
	}
	t.Error("not reported")
}
