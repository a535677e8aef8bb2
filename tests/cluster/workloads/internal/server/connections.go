package server

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/stats"
)

// connections counts what a server accepts, under the names of gRFC A80, which
// grpc-go itself does not have yet.
type connections struct {
	created prometheus.Counter
	open    prometheus.Gauge
}

func newConnections(registry prometheus.Registerer) *connections {
	c := &connections{
		created: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "grpc_tcp_connections_created_total", Help: "Connections made since the start.",
		}),
		open: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "grpc_tcp_connection_count", Help: "Connections open now.",
		}),
	}
	registry.MustRegister(c.created, c.open)
	return c
}

func (*connections) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

func (c *connections) HandleConn(_ context.Context, s stats.ConnStats) {
	switch s.(type) {
	case *stats.ConnBegin:
		c.created.Inc()
		c.open.Inc()
	case *stats.ConnEnd:
		c.open.Dec()
	}
}

func (*connections) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }
func (*connections) HandleRPC(context.Context, stats.RPCStats)                       {}
