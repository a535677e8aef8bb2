package client

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"time"
)

// serveTotals answers until stop is called.
func serveTotals(address string, totals *Totals) (stop func(), err error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--http: %w", err)
	}
	server := &http.Server{Handler: totalsHandler(totals), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }()
	return func() { _ = server.Close() }, nil
}

func totalsHandler(totals *Totals) http.Handler {
	answer := func(w http.ResponseWriter, now time.Time, r Report) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(struct {
			T string `json:"t"`
			Report
		}{stamp(now), r})
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /totals", func(w http.ResponseWriter, _ *http.Request) {
		now := time.Now()
		answer(w, now, totals.Total(now))
	})
	mux.HandleFunc("POST /reset", func(w http.ResponseWriter, _ *http.Request) {
		now := time.Now()
		answer(w, now, totals.Reset(now))
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	return mux
}
