package client

import (
	"bufio"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"evenkeel.dev/tests/cluster/workloads/internal/server"
)

const patience = 30 * time.Second

func serviceAccount(t *testing.T, s *httptest.Server) string {
	t.Helper()
	dir := t.TempDir()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	for name, content := range map[string][]byte{"token": []byte("secret\n"), "ca.crt": ca} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// serve runs a server on loopback; stop drains it and gives its error.
func serve(t *testing.T, cfg server.Config) (s *server.Server, stop func() error) {
	t.Helper()
	cfg.Listen, cfg.Metrics, cfg.Pod, cfg.Version = "127.0.0.1:0", "127.0.0.1:0", "pod-1", "v1"
	s, err := server.New(cfg, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(cancel)
	return s, func() error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(patience):
			t.Fatal("the server does not stop")
			return nil
		}
	}
}

type line map[string]any

func (l line) num(key string) float64           { n, _ := l[key].(float64); return n }
func (l line) counts(key string) map[string]any { m, _ := l[key].(map[string]any); return m }

// runLoad runs the client until see says that it has seen enough; the end event is the answer.
func runLoad(t *testing.T, see func(line) bool, args ...string) line {
	t.Helper()
	cfg, err := Parse(args, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, w := io.Pipe()
	go func() { _ = w.CloseWithError(Run(ctx, cfg, w)) }()
	var last line
	enough := false
	for lines := bufio.NewScanner(r); lines.Scan(); {
		last = nil
		if err := json.Unmarshal(lines.Bytes(), &last); err != nil {
			t.Fatalf("%v: %s", err, lines.Text())
		}
		if _, err := time.Parse(time.RFC3339Nano, last["t"].(string)); err != nil {
			t.Fatal(err)
		}
		if !enough && see(last) {
			enough = true
			cancel()
		}
	}
	if !enough || last["event"] != "end" {
		t.Fatalf("not seen; last line: %v", last)
	}
	return last
}

func TestServerWithAgeSaysMaxAge(t *testing.T) {
	t.Parallel()
	s, _ := serve(t, server.Config{Age: server.Age{Max: 2 * time.Second}})
	seen := 0
	end := runLoad(t, func(l line) bool {
		if l["event"] == "goaway" {
			seen++
			if l["debug"] != "max_age" || l.num("age_ms") < 1700 || l.num("age_ms") > 5000 {
				t.Errorf("%v", l)
			}
		}
		return seen == 2
	}, "--target=passthrough:///"+s.Addr(), "--report-every=200ms")
	if end.num("goaways") < 2 || end.counts("goaway_reasons")["max_age"] != end.num("goaways") {
		t.Errorf("goaways: %v", end)
	}
	if end.num("connections_opened") < 2 || end.num("ok") != end.num("started") || end.num("attempts") < end.num("started") || end.num("in_flight") != 0 {
		t.Errorf("calls and connections: %v", end)
	}
	if end.counts("replies")["pod-1"] != end.num("ok") || end.counts("first_replies")["pod-1"] == nil {
		t.Errorf("replies: %v", end)
	}
}

func TestMethodsAndChannels(t *testing.T) {
	t.Parallel()
	s, stop := serve(t, server.Config{DrainTimeout: patience})
	for _, method := range []string{"echo", "watch", "chat"} {
		end := runLoad(t, func(l line) bool { return l["event"] == "report" && l.num("ok") > 0 },
			"--target=dns:///"+s.Addr(), "--method="+method, "--connections=3", "--report-every=300ms",
			"--stream-messages=3", "--stream-interval=5ms")
		each := 3.0
		if method == "echo" {
			each = 1
		}
		if end.num("connections_opened") != 3 || end.counts("replies")["pod-1"] != each*end.num("ok") || len(end.counts("errors")) != 0 {
			t.Errorf("%s: %v", method, end)
		}
	}
	metrics := get(t, "http://"+s.MetricsAddr()+"/metrics", http.StatusOK)
	if !strings.Contains(metrics, `grpc_server_started_total{grpc_method="Chat",grpc_service="evenkeel.echo.v1.Echo",grpc_type="bidi_stream"}`) ||
		strings.Contains(metrics, "grpc.health") {
		t.Error(metrics)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// Servers that do not speak the echo service are told apart by address, and age as seen from their GOAWAYs.
func TestHealthOfAnyServer(t *testing.T) {
	t.Parallel()
	s, _ := serve(t, server.Config{Age: server.Age{Max: time.Second}})
	end := runLoad(t, func(l line) bool { return l["event"] == "goaway" },
		"--target=passthrough:///"+s.Addr(), "--method=health", "--report-every=100ms")
	if end.num("ok") == 0 || end.counts("replies")[s.Addr()] != end.num("ok") || len(end.counts("errors")) != 0 {
		t.Errorf("%v", end)
	}
}

func TestOnlyARetryPolicyTriesFailedCallsAgain(t *testing.T) {
	t.Parallel()
	for _, retry := range []bool{false, true} {
		end := runLoad(t, func(l line) bool { return l["event"] == "error" },
			"--target=passthrough:///127.0.0.1:1", fmt.Sprintf("--retry=%t", retry))
		if tried := end.num("attempts") > end.num("started"); tried != retry {
			t.Errorf("--retry=%t: %v", retry, end)
		}
	}
}

// An endless stream is cut when the drain is over; the calls before it all succeed.
func TestDrainServesOnAndCutsWhatLasts(t *testing.T) {
	t.Parallel()
	s, stop := serve(t, server.Config{Drain: 500 * time.Millisecond, DrainTimeout: 200 * time.Millisecond})
	stopped := make(chan error, 1)
	draining := false
	end := runLoad(t, func(l line) bool {
		if !draining && l["event"] == "first_reply" {
			draining = true
			go func() { stopped <- stop() }()
		}
		return l["event"] == "error"
	}, "--target=passthrough:///"+s.Addr(), "--method=watch", "--stream-messages=0", "--deadline=0", "--max-in-flight=2", "--report-every=100ms")
	if err := <-stopped; err == nil || !strings.Contains(err.Error(), "drain-timeout") {
		t.Errorf("server: %v", err)
	}
	if end.counts("errors")["UNAVAILABLE"] == nil || end.counts("goaway_reasons")["graceful_stop"] == nil || end.num("dropped") == 0 {
		t.Errorf("%v", end)
	}
}

func TestReadyAfterAndPreinitializedMetrics(t *testing.T) {
	t.Parallel()
	s, _ := serve(t, server.Config{ReadyAfter: time.Hour, InitializeMetrics: true})
	get(t, "http://"+s.MetricsAddr()+"/readyz", http.StatusServiceUnavailable)
	get(t, "http://"+s.MetricsAddr()+"/healthz", http.StatusOK)
	if m := get(t, "http://"+s.MetricsAddr()+"/metrics", http.StatusOK); !strings.Contains(m, `grpc_server_started_total{grpc_method="Echo"`) {
		t.Error(m)
	}
}

func TestNotReadyButServingWhileDraining(t *testing.T) {
	t.Parallel()
	s, stop := serve(t, server.Config{Drain: 2 * time.Second, DrainTimeout: patience})
	ready := "http://" + s.MetricsAddr() + "/readyz"
	awaitStatus(t, ready, http.StatusOK)
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	awaitStatus(t, ready, http.StatusServiceUnavailable)
	end := runLoad(t, func(l line) bool { return l["event"] == "report" && l.num("ok") > 0 },
		"--target=passthrough:///"+s.Addr(), "--report-every=100ms")
	if len(end.counts("errors")) != 0 {
		t.Errorf("%v", end)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func awaitStatus(t *testing.T, url string, want int) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		r, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Body.Close()
		if r.StatusCode == want {
			return
		}
	}
	t.Fatalf("%s: never %d", url, want)
}

func get(t *testing.T, url string, want int) string {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != want {
		t.Fatalf("%s: %d %v", url, r.StatusCode, err)
	}
	return string(body)
}
