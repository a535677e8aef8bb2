package server

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// oddities are what may be wrong with a metrics page.
var oddities = []string{
	"hang", "endless", "broken", "redirect", "garbage", "lie", "frozen", "falling", "switch", "other", "migrate", "tls", "forged",
	"forged-body", "forged-status",
}

const (
	oddAddress = ":9091"
	// What "endless" sends in all.
	endlessBytes = 1 << 30
	// Requests after which "switch" counts in another family; for "frozen" and "migrate" those count that showed a call.
	switchAfter = 6
)

var (
	// startedSeries is how "other" and "migrate" find the calls that they show under another name.
	startedSeries = regexp.MustCompile(`^grpc_server_started_total\{grpc_method="(\w+)",grpc_service="([\w.]+)",[^}]*\}`)
	// countedSeries is one that is no more at nought.
	countedSeries = regexp.MustCompile(`(?m)^grpc_server_started_total\{[^}]*\} [1-9]`)
)

const oddSeries = "grpc_server_%s_total{grpc_method=\"UnaryEcho\",grpc_service=\"s\",grpc_type=\"unary\"} %s\n"

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
	case "frozen":
		handle(frozen(honest))
	case "falling":
		var asked atomic.Int64
		handle(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, oddSeries, "started", fmt.Sprint(1_000_000-100*asked.Add(1)))
		})
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
		// As where one image counts by another library.
		handle(func(w http.ResponseWriter, r *http.Request) { renamed(w, pageOf(honest, r)) })
	case "migrate":
		var counted atomic.Int64
		handle(func(w http.ResponseWriter, r *http.Request) {
			page := pageOf(honest, r)
			if countedSeries.Match(page) && counted.Add(1) > switchAfter {
				renamed(w, page)
			} else {
				_, _ = w.Write(page)
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
	fmt.Fprintf(w, oddSeries, "started", "NaN")
	fmt.Fprintf(w, oddSeries, "handled", "-1e300")
}

// frozen serves the honest page until it has counted something in switchAfter of them, and that last one ever after.
func frozen(honest http.Handler) http.HandlerFunc {
	var lock sync.Mutex
	var counted int
	var last []byte
	return func(w http.ResponseWriter, r *http.Request) {
		lock.Lock()
		defer lock.Unlock()
		if counted < switchAfter {
			last = pageOf(honest, r)
			if countedSeries.Match(last) {
				counted++
			}
		}
		_, _ = w.Write(last)
	}
}

// renamed writes the calls of the page under the name that OpenTelemetry has for them, and nothing else.
func renamed(w io.Writer, page []byte) {
	const series = `rpc_server_call_duration_seconds_count{rpc_method="$2/$1"}`
	for line := range bytes.Lines(page) {
		if startedSeries.Match(line) {
			_, _ = w.Write(startedSeries.ReplaceAll(line, []byte(series)))
		}
	}
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
