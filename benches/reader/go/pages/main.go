// Pages prints a metrics page as a gRPC server has it: Go's and the process's own metrics, and those of
// go-grpc-middleware with histograms for a number of services, some of which have had calls.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"

	grpcprom "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

func main() {
	services := flag.Int("services", 1, "number of services, of four methods each")
	histogram := flag.Bool("histogram", true, "with grpc_server_handling_seconds")
	open := flag.Bool("openmetrics", false, "in OpenMetrics rather than in Prometheus text")
	flag.Parse()
	if err := run(*services, *histogram, *open); err != nil {
		log.Fatal(err)
	}
}

func run(services int, histogram, open bool) error {
	var options []grpcprom.ServerMetricsOption
	if histogram {
		options = append(options, grpcprom.WithServerHandlingTimeHistogram())
	}
	metrics := grpcprom.NewServerMetrics(options...)
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	call(metrics, healthpb.Health_Check_FullMethodName, 90, 0)
	for service := range services {
		for i, method := range []string{"Get", "List", "Put", "Delete"} {
			call(metrics, fmt.Sprintf("/acme.catalog.v1.Catalog%d/%s", service, method), 10*(i+1), i)
		}
	}
	handler := promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true, EnableOpenMetricsTextCreatedSamples: true})
	request := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	if open {
		request.Header.Set("Accept", "application/openmetrics-text;version=1.0.0")
	}
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, request)
	_, err := os.Stdout.Write(answer.Body.Bytes())
	return err
}

// call makes some calls, of which some fail.
func call(metrics *grpcprom.ServerMetrics, method string, calls, failed int) {
	interceptor := metrics.UnaryServerInterceptor()
	for n := range calls {
		handler := func(context.Context, any) (any, error) {
			if n < failed {
				return nil, status.Error(codes.NotFound, "no such item")
			}
			return nil, nil
		}
		_, _ = interceptor(context.Background(), nil, &grpc.UnaryServerInfo{FullMethod: method}, handler)
	}
}
