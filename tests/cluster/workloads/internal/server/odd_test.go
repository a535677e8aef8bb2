package server

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func honestPage(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, "grpc_server_started_total{} 3\ngrpc_server_handled_total{} 2\n")
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
	if length := ask("broken", 1).Header().Get("Content-Length"); length != "120" {
		t.Errorf("broken: %s", length)
	}
	if odd, err := oddServer("tls", http.HandlerFunc(honestPage)); err != nil || odd.TLSConfig == nil {
		t.Errorf("tls: %v", err)
	}
	if _, err := oddServer("oops", nil); err == nil || !strings.Contains(err.Error(), "--odd-metrics") {
		t.Errorf("unknown: %v", err)
	}
}
