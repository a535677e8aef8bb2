package client

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestTotalsKeepWindowAndTotalApart(t *testing.T) {
	start := time.Now()
	totals := NewTotals(start)
	totals.started()
	totals.started()
	if !totals.reply("a", start) || totals.reply("a", start) {
		t.Fatal("the first reply, and only it, is the first")
	}
	totals.ended("OK", time.Millisecond)
	totals.ended("UNAVAILABLE", time.Second)
	totals.goAway("max_age")
	totals.connections.Add(1)
	totals.connOpened()

	w := totals.Window(start.Add(time.Second))
	if w.SinceMS != 1000 || w.Started != 2 || w.OK != 1 || w.Errors["UNAVAILABLE"] != 1 || w.Replies["a"] != 2 || w.FirstReplies != nil {
		t.Fatalf("window: %+v", w)
	}
	if w.Latency == nil || w.Latency.P99 < 1000 || w.Latency.P99 > 1020 {
		t.Fatalf("a failed call has no latency: %+v", w.Latency)
	}
	totals.reply("b", start)
	if w = totals.Window(start.Add(3 * time.Second)); w.SinceMS != 2000 || w.Started != 0 || len(w.Replies) != 1 || w.ConnectionsOpen != 1 {
		t.Fatalf("second window: %+v", w)
	}
	all := totals.Total(start.Add(4 * time.Second))
	if all.SinceMS != 4000 || all.Replies["a"] != 2 || all.Replies["b"] != 1 ||
		all.GoAwayReasons["max_age"] != 1 || len(all.FirstReplies) != 2 {
		t.Fatalf("total: %+v", all)
	}
	if before := totals.Reset(start.Add(4 * time.Second)); before.OK != 1 {
		t.Fatalf("reset answers with what was: %+v", before)
	}
	after := totals.Total(start.Add(5 * time.Second))
	if after.SinceMS != 1000 || after.OK != 0 || after.ConnectionsOpen != 1 || len(after.FirstReplies) != 2 {
		t.Fatalf("after reset: %+v", after)
	}
}

func TestTotalsOverHTTP(t *testing.T) {
	totals := NewTotals(time.Now())
	handler := totalsHandler(totals)
	ask := func(method, path string) (int, map[string]any) {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		var body map[string]any
		_ = json.Unmarshal(w.Body.Bytes(), &body)
		return w.Code, body
	}
	_, empty := ask("GET", "/totals")
	for _, name := range []string{"replies", "errors", "goaway_reasons", "first_replies"} {
		if m, ok := empty[name].(map[string]any); !ok || len(m) != 0 {
			t.Fatalf("%s is not {}: %v", name, empty)
		}
	}
	totals.reply("a", time.Now())
	for _, method := range []string{"GET /totals", "POST /reset"} {
		verb, path, _ := strings.Cut(method, " ")
		code, body := ask(verb, path)
		if code != http.StatusOK || body["replies"].(map[string]any)["a"] != 1.0 {
			t.Fatalf("%s: %d %v", method, code, body)
		}
	}
	if _, body := ask("GET", "/totals"); len(body["replies"].(map[string]any)) != 0 {
		t.Fatalf("after the reset: %v", body)
	}
	if code, _ := ask("GET", "/reset"); code != http.StatusMethodNotAllowed {
		t.Fatalf("GET /reset: %d", code)
	}
}

func TestErrorEventsAreLimited(t *testing.T) {
	var out bytes.Buffer
	events := NewEvents(&out)
	now := time.Unix(1000, 0)
	for range 100 {
		events.error(now, now, "UNAVAILABLE", strings.Repeat("é", 1000))
	}
	events.error(now.Add(time.Second), now, "UNAVAILABLE", "later")
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != maxErrorEvents+1 {
		t.Fatalf("%d lines", len(lines))
	}
	for at, want := range map[int]struct {
		length int
		after  float64
	}{0: {maxMessage + 1, 0}, maxErrorEvents: {len("later"), 1000}} {
		var got line
		if err := json.Unmarshal([]byte(lines[at]), &got); err != nil {
			t.Fatal(err)
		}
		message, _ := got["message"].(string)
		if len([]rune(message)) != want.length || got.num("after_ms") != want.after {
			t.Errorf("line %d: %v", at, got)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, args := range [][]string{
		{}, {"--target=dns:///x:1", "--policy=random"}, {"--target=dns:///x:1", "--method=none"},
		{"--target=dns:///x:1", "--rate=0"}, {"--target=dns:///x:1", "--rate=NaN"}, {"--target=dns:///x:1", "stray"},
	} {
		if _, err := Parse(args, io.Discard); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}

func TestGetReportsTheStatus(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.WriteHeader(http.StatusForbidden)
	}))
	defer server.Close()
	var out bytes.Buffer
	args := []string{"--server", server.URL, "--service-account", serviceAccount(t, server), "--path=/api/v1/pods", "--path=/api/v1/nodes"}
	if err := Get(t.Context(), args, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); strings.Count(got, `"status":403`) != 2 || !strings.Contains(got, `"event":"api","path":"/api/v1/nodes"`) {
		t.Fatal(got)
	}
}
