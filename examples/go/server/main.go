// Server answers Echo, ends connections at an age, and shows how many RPCs it served.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	grpcprom "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"evenkeel.dev/examples/go/echopb"
)

// After SIGTERM: serve on while endpoints and DNS forget this pod, then let calls finish.
// Together they stay below the usual terminationGracePeriodSeconds of 30; a preStop hook comes on top.
const (
	drain  = 5 * time.Second
	finish = 20 * time.Second
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	age, err := duration("MAX_CONNECTION_AGE")
	if err != nil {
		return err
	}
	grace, err := duration("MAX_CONNECTION_AGE_GRACE")
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	server := newServer(registry, age, grace)
	echo := newEcho(age)
	echopb.RegisterEchoServer(server, echo)
	healthy := health.NewServer()
	healthpb.RegisterHealthServer(server, healthy)

	listener, err := net.Listen("tcp", ":"+env("PORT", "8080"))
	if err != nil {
		return err
	}
	failed := make(chan error, 2)
	go func() { failed <- serveMetrics(registry) }()
	go func() { failed <- server.Serve(listener) }()
	log("start", "pod", echo.pod, "version", echo.version, "max_connection_age", echo.age)
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	log("draining")
	healthy.Shutdown()
	time.Sleep(drain)
	return end(server)
}

// newServer counts RPCs. The zero age and the zero grace are for ever; grpc-go spreads the age by a tenth.
func newServer(registry *prometheus.Registry, age, grace time.Duration) *grpc.Server {
	metrics := grpcprom.NewServerMetrics()
	registry.MustRegister(metrics)
	return grpc.NewServer(
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: age, MaxConnectionAgeGrace: grace}),
		grpc.ChainUnaryInterceptor(metrics.UnaryServerInterceptor()),
		grpc.ChainStreamInterceptor(metrics.StreamServerInterceptor()),
	)
}

func serveMetrics(registry *prometheus.Registry) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	server := http.Server{Addr: ":" + env("METRICS_PORT", "9090"), Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	return server.ListenAndServe()
}

// end asks every client to go elsewhere, and waits for what they still have here.
func end(server *grpc.Server) error {
	cut := time.AfterFunc(finish, server.Stop)
	server.GracefulStop()
	if !cut.Stop() {
		return errors.New("calls were still open and have been cut")
	}
	log("stopped")
	return nil
}

// duration reads 30s or 1m30s; absent, empty and 0s are none.
func duration(variable string) (time.Duration, error) {
	value := os.Getenv(variable)
	if value == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(value)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%s: %q is not a duration such as 30s or 1m30s", variable, value)
	}
	return d, nil
}

func env(variable, otherwise string) string {
	if value := os.Getenv(variable); value != "" {
		return value
	}
	return otherwise
}

// log writes one JSON line of pairs of a name and a text.
func log(event string, pairs ...string) {
	line := map[string]string{"t": time.Now().UTC().Format(time.RFC3339Nano), "event": event}
	for i := 0; i+1 < len(pairs); i += 2 {
		line[pairs[i]] = pairs[i+1]
	}
	_ = json.NewEncoder(os.Stdout).Encode(line)
}
