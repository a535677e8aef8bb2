package server

import (
	"bytes"
	"crypto/subtle"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

const secureAddress = ":9092"

// secureServer serves page over TLS for those who know the token.
func secureServer(directory string, page http.Handler) (*http.Server, error) {
	file := func(name string) string { return filepath.Join(directory, name) }
	certificate, err := tls.LoadX509KeyPair(file("tls.crt"), file("tls.key"))
	if err != nil {
		return nil, fmt.Errorf("--secure-metrics: %w", err)
	}
	token, err := os.ReadFile(file("token"))
	if err != nil {
		return nil, fmt.Errorf("--secure-metrics: %w", err)
	}
	want := append([]byte("Bearer "), bytes.TrimSpace(token)...)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), want) != 1 {
			http.Error(w, "not with this token", http.StatusUnauthorized)
			return
		}
		page.ServeHTTP(w, r)
	})
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", handler)
	return &http.Server{
		Addr: secureAddress, Handler: mux, ReadHeaderTimeout: 10 * time.Second,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
	}, nil
}
