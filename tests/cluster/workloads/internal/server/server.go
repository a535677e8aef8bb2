// Package server is the gRPC echo server of the cluster tests and the demo.
package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	grpcprom "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"evenkeel.dev/tests/cluster/workloads/proto/echopb"
)

// Server holds its two listeners from New on; Run serves them.
type Server struct {
	cfg       Config
	log       *json.Encoder
	logMu     sync.Mutex
	grpc      *grpc.Server
	health    *health.Server
	http      *http.Server
	further   []*http.Server
	listener  net.Listener
	metrics   net.Listener
	ready     atomic.Bool
	startedAt time.Time
}

// New builds the server and opens its ports; it logs JSON lines to log.
func New(cfg Config, log io.Writer) (*Server, error) {
	if cfg.CrashOnAge && cfg.Age.Max > 0 {
		return nil, fmt.Errorf("--crash-on-age: a connection age of %s is set by %s", cfg.Age, cfg.Age.Source)
	}
	s := &Server{cfg: cfg, log: json.NewEncoder(log), health: health.NewServer(), startedAt: time.Now()}
	registry := prometheus.NewRegistry()
	s.buildGRPC(registry)
	if err := s.buildHTTP(registry); err != nil {
		return nil, err
	}

	var err error
	if s.listener, err = net.Listen("tcp", cfg.Listen); err != nil {
		return nil, fmt.Errorf("--listen: %w", err)
	}
	if s.metrics, err = net.Listen("tcp", cfg.Metrics); err != nil {
		_ = s.listener.Close()
		return nil, fmt.Errorf("--metrics: %w", err)
	}
	return s, nil
}

func (s *Server) buildGRPC(registry *prometheus.Registry) {
	m := grpcprom.NewServerMetrics()
	registry.MustRegister(m,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.grpc = grpc.NewServer(
		grpc.StatsHandler(newConnections(registry)),
		grpc.ChainUnaryInterceptor(m.UnaryServerInterceptor()),
		grpc.ChainStreamInterceptor(m.StreamServerInterceptor()),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionAge:      s.cfg.Age.Max,
			MaxConnectionAgeGrace: s.cfg.Age.Grace,
		}),
	)
	echopb.RegisterEchoServer(s.grpc, &echo{pod: s.cfg.Pod, version: s.cfg.Version, age: s.cfg.Age.String()})
	healthpb.RegisterHealthServer(s.grpc, s.health)
	if s.cfg.InitializeMetrics {
		m.InitializeMetrics(s.grpc)
	}
}

func (s *Server) buildHTTP(registry *prometheus.Registry) error {
	mux := http.NewServeMux()
	page := promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	mux.Handle("GET /metrics", page)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !s.ready.Load() {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	s.http = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	for _, build := range []struct {
		server func(string, http.Handler) (*http.Server, error)
		asked  string
	}{{oddServer, s.cfg.OddMetrics}, {secureServer, s.cfg.SecureMetrics}} {
		if build.asked == "" {
			continue
		}
		server, err := build.server(build.asked, page)
		if err != nil {
			return err
		}
		s.further = append(s.further, server)
	}
	return nil
}

// Addr is the gRPC address, with the port that was given.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// MetricsAddr is the HTTP address, with the port that was given.
func (s *Server) MetricsAddr() string { return s.metrics.Addr().String() }

// Run serves until ctx ends, then drains: not ready but still serving while
// endpoints and DNS forget this pod, then a GOAWAY to every client, so that
// those who look up again no longer find it.
func (s *Server) Run(ctx context.Context) error {
	s.logStart()
	failed := make(chan error, 2+len(s.further))
	go func() { failed <- s.grpc.Serve(watchedListener{s.listener, s.logUnanswered}) }()
	go func() { failed <- s.http.Serve(s.metrics) }()
	defer s.http.Close()
	for _, server := range s.further {
		defer server.Close()
		go func() {
			if server.TLSConfig != nil {
				failed <- server.ListenAndServeTLS("", "")
			} else {
				failed <- server.ListenAndServe()
			}
		}()
	}
	defer s.grpc.Stop()

	s.setReady(false)
	readyTimer := time.After(s.cfg.ReadyAfter)
	for {
		select {
		case <-readyTimer:
			s.setReady(true)
			s.logEvent("ready")
		case err := <-failed:
			return err
		case <-ctx.Done():
			return s.drain(failed)
		}
	}
}

func (s *Server) drain(failed <-chan error) error {
	s.setReady(false)
	s.logEvent("draining")
	select {
	case <-time.After(s.cfg.Drain):
	case err := <-failed:
		return err
	}

	stopped := make(chan struct{})
	go func() { s.grpc.GracefulStop(); close(stopped) }()
	select {
	case <-stopped:
		s.logEvent("stopped")
		return nil
	case <-time.After(s.cfg.DrainTimeout):
		s.grpc.Stop()
		s.logEvent("stopped")
		return errors.New("--drain-timeout: calls were still open and have been cut")
	}
}

func (s *Server) setReady(ready bool) {
	s.ready.Store(ready)
	status := healthpb.HealthCheckResponse_NOT_SERVING
	if ready {
		status = healthpb.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus("", status)
	s.health.SetServingStatus(echopb.Echo_ServiceDesc.ServiceName, status)
}

func (s *Server) logStart() {
	s.write(map[string]any{
		"t": now(), "event": "start", "pod": s.cfg.Pod, "version": s.cfg.Version,
		"max_connection_age":       orNone(s.cfg.Age.Max),
		"max_connection_age_grace": orNone(s.cfg.Age.Grace),
		"age_source":               s.cfg.Age.Source,
		"listen":                   s.Addr(), "metrics": s.MetricsAddr(),
	})
}

func (s *Server) logEvent(event string) {
	s.write(map[string]any{"t": now(), "event": event, "up_ms": time.Since(s.startedAt).Milliseconds()})
}

func (s *Server) logUnanswered(peer string, waited time.Duration) {
	s.write(map[string]any{
		"t": now(), "event": "goaway_unanswered", "peer": peer, "waited_ms": waited.Milliseconds(),
	})
}

func (s *Server) write(line map[string]any) {
	s.logMu.Lock()
	defer s.logMu.Unlock()
	_ = s.log.Encode(line)
}

func now() string { return time.Now().UTC().Format(time.RFC3339Nano) }
