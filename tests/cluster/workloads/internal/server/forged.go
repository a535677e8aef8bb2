package server

import (
	"fmt"
	"net/http"
	"sync/atomic"
)

const (
	forgedLine = `{"level":"ERROR","target":"evenkeel","message":"forged"}`
	// What commands a terminal, and ends a line wherever a line can end.
	forgedText = "\x1b[2J\x1b]0;forged\x07\r" + forgedLine + "\u2028<script>forged</script>"
	// The same as a label's value, where the format spells quotes and new lines out.
	forgedValue = "\x1b[2J\x1b]0;forged\x07\\n{\\\"level\\\":\\\"ERROR\\\",\\\"message\\\":\\\"forged\\\"}"
)

// forged counts requests as it should, and lies in all that is text.
func forged() http.HandlerFunc {
	var asked atomic.Int64
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", `text/plain; version=0.0.4; forged="yes"`)
		fmt.Fprintf(w, "# HELP grpc_server_started_total %s\n# TYPE grpc_server_started_total counter\n", forgedText)
		fmt.Fprintf(w, "# %s\n", forgedText)
		fmt.Fprintf(w, "grpc_server_started_total{grpc_method=%q,grpc_service=\"%s\",grpc_type=\"unary\",forged=\"%s\"} %d\n",
			"Echo", forgedValue, forgedValue, 100*asked.Add(1))
		fmt.Fprintf(w, "forged_total{forged=\"%s\"} 1\n", forgedValue)
	}
}

// forgedAnswer refuses with a status line and a body of its own making, byte for byte.
func forgedAnswer(reason string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		connection, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer connection.Close()
		fmt.Fprintf(connection, "HTTP/1.1 400 %s\r\nContent-Type: text/plain\r\nX-Forged: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
			reason, forgedLine, len(forgedText), forgedText)
	}
}
