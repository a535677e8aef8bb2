package client

import (
	"encoding/json"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
)

const (
	maxErrorEvents = 20 // per second
	maxMessage     = 300
)

// Events writes the JSON lines of README.md.
type Events struct {
	mu     sync.Mutex
	out    *json.Encoder
	second int64
	errors int
}

// NewEvents writes to out.
func NewEvents(out io.Writer) *Events { return &Events{out: json.NewEncoder(out)} }

type head struct {
	T     string `json:"t"`
	Event string `json:"event"`
}

func at(now time.Time, event string) head { return head{stamp(now), event} }

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func (e *Events) write(line any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	_ = e.out.Encode(line)
}

func (e *Events) start(now time.Time, c Config) {
	e.write(struct {
		head
		Target      string  `json:"target"`
		Policy      string  `json:"policy"`
		Method      string  `json:"method"`
		Rate        float64 `json:"rate"`
		Connections int     `json:"connections"`
	}{at(now, "start"), c.Target, c.Policy, c.Method, c.Rate, c.Connections})
}

func (e *Events) firstReply(now time.Time, backend, version, age string) {
	e.write(struct {
		head
		Backend       string `json:"backend"`
		Version       string `json:"version"`
		ConnectionAge string `json:"connection_age"`
	}{at(now, "first_reply"), backend, version, age})
}

func (e *Events) goAway(now time.Time, g GoAway) {
	e.write(struct {
		head
		Peer  string `json:"peer"`
		Code  uint32 `json:"code"`
		Debug string `json:"debug"`
		AgeMS int64  `json:"age_ms"`
	}{at(now, "goaway"), g.Peer, g.Code, g.Debug, g.Age.Milliseconds()})
}

func (e *Events) report(now time.Time, event string, r Report) {
	e.write(struct {
		head
		Report
	}{at(now, event), r})
}

// error writes at most maxErrorEvents a second: an outage at a high rate must
// not fill the node's log. The counts in the reports are complete.
func (e *Events) error(now, begun time.Time, code, message string) {
	e.mu.Lock()
	if s := now.Unix(); s != e.second {
		e.second, e.errors = s, 0
	}
	e.errors++
	over := e.errors > maxErrorEvents
	e.mu.Unlock()
	if over {
		return
	}
	e.write(struct {
		head
		Code    string `json:"code"`
		AfterMS int64  `json:"after_ms"`
		Message string `json:"message"`
	}{at(now, "error"), code, now.Sub(begun).Milliseconds(), truncate(message, maxMessage)})
}

func truncate(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n]) + "…"
	}
	return s
}

// codeNames are the names that every gRPC language documents; Go prints others.
var codeNames = [...]string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
	"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
	"UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

func codeName(c codes.Code) string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return "UNKNOWN"
}
