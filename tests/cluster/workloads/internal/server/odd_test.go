package server

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const honestText = `grpc_server_started_total{grpc_method="Echo",grpc_service="pkg.Echo",grpc_type="unary"} 3
grpc_server_handled_total{} 2
`

func honestPage(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, honestText)
}

func TestOddPagesAreOdd(t *testing.T) {
	ask := func(kind string, times int) *httptest.ResponseRecorder {
		odd, err := oddServer(kind, http.HandlerFunc(honestPage))
		if err != nil {
			t.Fatal(err)
		}
		var recorder *httptest.ResponseRecorder
		for range times {
			recorder = httptest.NewRecorder()
			odd.Handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		}
		return recorder
	}
	if code := ask("redirect", 1).Code; code != http.StatusFound {
		t.Errorf("redirect: %d", code)
	}
	if page := ask("switch", 1).Body.String(); strings.Contains(page, "handled") || !strings.Contains(page, "started") {
		t.Errorf("switch, before: %s", page)
	}
	if page := ask("switch", switchAfter+1).Body.String(); strings.Contains(page, "started") || !strings.Contains(page, "handled") {
		t.Errorf("switch, after: %s", page)
	}
	if length := ask("broken", 1).Header().Get("Content-Length"); length != fmt.Sprint(2*len(honestText)) {
		t.Errorf("broken: %s", length)
	}
	if page := ask("other", 1).Body.String(); page != "rpc_server_call_duration_seconds_count{rpc_method=\"pkg.Echo/Echo\"} 3\n" {
		t.Errorf("other: %s", page)
	}
	if page := ask("migrate", switchAfter).Body.String(); page != honestText {
		t.Errorf("migrate, before: %s", page)
	}
	if page := ask("migrate", switchAfter+1).Body.String(); page != ask("other", 1).Body.String() {
		t.Errorf("migrate, after: %s", page)
	}
	if first, second := ask("falling", 1).Body.String(), ask("falling", 2).Body.String(); first <= second || len(first) != len(second) {
		t.Errorf("falling: %s, then %s", first, second)
	}
	if page := ask("forged", 1).Body.String(); strings.Count(page, "\x1b") < 4 || strings.Count(page, "\n") != 5 {
		t.Errorf("forged: %q", page)
	}
	if odd, err := oddServer("tls", http.HandlerFunc(honestPage)); err != nil || odd.TLSConfig == nil {
		t.Errorf("tls: %v", err)
	}
	if _, err := oddServer("oops", nil); err == nil || !strings.Contains(err.Error(), "--odd-metrics") {
		t.Errorf("unknown: %v", err)
	}
}

func TestFrozenCountsAtFirst(t *testing.T) {
	calls := 0
	server, err := oddServer("frozen", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "grpc_server_started_total{grpc_method=\"Echo\"} %d\n", calls)
	}))
	if err != nil {
		t.Fatal(err)
	}
	ask := func() string {
		recorder := httptest.NewRecorder()
		server.Handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		return recorder.Body.String()
	}
	// Nothing is counted yet, for however long.
	for range 2 * switchAfter {
		ask()
	}
	for range switchAfter {
		calls += 10
		ask()
	}
	frozen := ask()
	calls += 10
	if again := ask(); again != frozen || !strings.HasSuffix(again, fmt.Sprintf(" %d\n", 10*switchAfter)) {
		t.Errorf("%s, then %s", frozen, again)
	}
}

func TestForgedStatusLinesAreSentToTheLetter(t *testing.T) {
	odd, err := oddServer("forged-status", http.HandlerFunc(honestPage))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(odd.Handler)
	defer server.Close()
	connection, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	_, _ = io.WriteString(connection, "GET /metrics HTTP/1.1\r\nHost: odd\r\n\r\n")
	if answer, err := io.ReadAll(connection); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 400 \x1b[2J") {
		t.Errorf("%v: %q", err, answer)
	}
}
