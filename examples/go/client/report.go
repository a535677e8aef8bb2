package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

const (
	maxErrors  = 20 // lines a second
	maxMessage = 300
)

func stamp() string { return time.Now().UTC().Format(time.RFC3339Nano) }

// lines are JSON, on standard output.
type lines struct {
	mu     sync.Mutex
	out    *json.Encoder
	second int64
	errors int
}

func newLines() *lines { return &lines{out: json.NewEncoder(os.Stdout)} }

func (l *lines) write(event string, fields map[string]any) {
	fields["t"], fields["event"] = stamp(), event
	l.encode(fields)
}

func (l *lines) sums(event string, s *sums) {
	l.encode(struct {
		T     string `json:"t"`
		Event string `json:"event"`
		*sums
	}{stamp(), event, s})
}

// error is bounded: an outage at a high rate must not fill the node's log. The sums are complete.
func (l *lines) error(code string, after time.Duration, message string) {
	l.mu.Lock()
	if second := time.Now().Unix(); second != l.second {
		l.second, l.errors = second, 0
	}
	l.errors++
	over := l.errors > maxErrors
	l.mu.Unlock()
	if over {
		return
	}
	if letters := []rune(message); len(letters) > maxMessage {
		message = string(letters[:maxMessage]) + "…"
	}
	l.write("error", map[string]any{"code": code, "after_ms": after.Milliseconds(), "message": message})
}

func (l *lines) encode(line any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.out.Encode(line)
}

// serveTotals answers until the process ends.
func serveTotals(address string, seen *totals) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("--http: %w", err)
	}
	answer := func(w http.ResponseWriter, s *sums) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(struct {
			T string `json:"t"`
			*sums
		}{stamp(), s})
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /totals", func(w http.ResponseWriter, _ *http.Request) { answer(w, seen.total(false)) })
	mux.HandleFunc("POST /reset", func(w http.ResponseWriter, _ *http.Request) { answer(w, seen.total(true)) })
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	server := http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }()
	return nil
}
