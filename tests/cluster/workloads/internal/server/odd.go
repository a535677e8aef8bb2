package server

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// oddities are what may be wrong with a metrics page.
var oddities = []string{
	"hang", "endless", "broken", "redirect", "garbage", "lie", "switch", "other", "tls", "forged", "forged-body", "forged-status",
}

const (
	oddAddress = ":9091"
	// What "endless" sends in all.
	endlessBytes = 1 << 30
	// Requests after which "switch" counts in another family.
	switchAfter = 6
)

// startedSeries is how "other" finds the calls that it shows under another name.
var startedSeries = regexp.MustCompile(`^grpc_server_started_total\{grpc_method="(\w+)",grpc_service="([\w.]+)",[^}]*\}`)

// oddServer serves the page of honest with something wrong about it.
func oddServer(kind string, honest http.Handler) (*http.Server, error) {
	if !slices.Contains(oddities, kind) {
		return nil, fmt.Errorf("--odd-metrics %q: there are %s", kind, strings.Join(oddities, ", "))
	}
	server := &http.Server{Addr: oddAddress, ReadHeaderTimeout: 10 * time.Second, Handler: honest}
	handle := func(h http.HandlerFunc) { server.Handler = h }
	switch kind {
	case "hang":
		handle(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	case "endless":
		handle(endless)
	case "broken":
		handle(func(w http.ResponseWriter, r *http.Request) {
			page := pageOf(honest, r)
			w.Header().Set("Content-Length", fmt.Sprint(2*len(page)))
			_, _ = w.Write(page)
		})
	case "redirect":
		// Whoever follows finds good numbers.
		mux := http.NewServeMux()
		mux.Handle("/elsewhere", honest)
		mux.HandleFunc("/metrics", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		})
		server.Handler = mux
	case "garbage":
		handle(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(bytes.Repeat([]byte{0xff, 0, '{', '\n'}, 500))
		})
	case "lie":
		handle(lie)
	case "switch":
		var asked atomic.Int64
		handle(func(w http.ResponseWriter, r *http.Request) {
			hidden := "grpc_server_handled_total"
			if asked.Add(1) > switchAfter {
				hidden = "grpc_server_started_total"
			}
			for line := range bytes.Lines(pageOf(honest, r)) {
				if !bytes.Contains(line, []byte(hidden)) {
					_, _ = w.Write(line)
				}
			}
		})
	case "other":
		// As where one image counts by another library: the same calls under another name.
		handle(func(w http.ResponseWriter, r *http.Request) {
			const series = `rpc_server_call_duration_seconds_count{rpc_method="$2/$1"}`
			for line := range bytes.Lines(pageOf(honest, r)) {
				if startedSeries.Match(line) {
					_, _ = w.Write(startedSeries.ReplaceAll(line, []byte(series)))
				}
			}
		})
	case "forged":
		handle(forged())
	case "forged-body":
		handle(forgedAnswer(forgedLine))
	case "forged-status":
		handle(forgedAnswer(forgedText))
	case "tls":
		certificate, err := selfSigned()
		if err != nil {
			return nil, err
		}
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	}
	return server, nil
}

func pageOf(h http.Handler, r *http.Request) []byte {
	recorder := httptest.NewRecorder()
	plain := r.Clone(r.Context())
	plain.Header.Del("Accept-Encoding")
	h.ServeHTTP(recorder, plain)
	return recorder.Body.Bytes()
}

func endless(w http.ResponseWriter, _ *http.Request) {
	var chunk bytes.Buffer
	for i := range 1000 {
		fmt.Fprintf(&chunk, "http_requests_total{path=\"/item/%d\"} 1\n", i)
	}
	for sent := 0; sent < endlessBytes; sent += chunk.Len() {
		if _, err := w.Write(chunk.Bytes()); err != nil {
			return
		}
	}
}

// lie gives numbers that no counter has.
func lie(w http.ResponseWriter, _ *http.Request) {
	const series = "grpc_server_%s_total{grpc_method=\"UnaryEcho\",grpc_service=\"s\",grpc_type=\"unary\"} %s\n"
	fmt.Fprintf(w, series, "started", "NaN")
	fmt.Fprintf(w, series, "handled", "-1e300")
}

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour), DNSNames: []string{"metrics"}}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
