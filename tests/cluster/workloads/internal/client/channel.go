package client

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/sercand/kuberesolver/v6"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver/dns"
	"google.golang.org/grpc/stats"
)

// prepareResolver sets what grpc-go keeps in global variables; call it before
// the first channel.
func prepareResolver(c Config) {
	if c.DNSMinInterval > 0 {
		dns.SetMinResolutionInterval(c.DNSMinInterval)
	}
	if c.scheme() == "kubernetes" {
		kuberesolver.RegisterInCluster()
	}
}

// dial makes one channel whose connections are counted. Nothing is retried,
// and no service config is looked up: it would add a retry policy, and a TXT
// query for every lookup.
func dial(c Config, totals *Totals, events *Events) (*grpc.ClientConn, error) {
	var dialer net.Dialer
	return grpc.NewClient(c.Target,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(fmt.Sprintf(`{"loadBalancingConfig":[{%q:{}}]}`, c.Policy)),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		grpc.WithNoProxy(),
		grpc.WithStatsHandler(connCounter{totals}),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, "tcp", address)
			if err != nil {
				return nil, err
			}
			return watchConn(conn, func(g GoAway) {
				g.Debug = strings.ToValidUTF8(g.Debug, "?")
				totals.goAway(g.Debug)
				events.goAway(time.Now(), g)
			}), nil
		}),
	)
}

// connCounter sees connections begin and end.
type connCounter struct{ totals *Totals }

func (connCounter) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (connCounter) HandleRPC(context.Context, stats.RPCStats)                         {}
func (connCounter) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

func (h connCounter) HandleConn(_ context.Context, s stats.ConnStats) {
	switch s.(type) {
	case *stats.ConnBegin:
		h.totals.connections.Add(1)
		h.totals.connOpened()
	case *stats.ConnEnd:
		h.totals.connections.Add(-1)
	}
}
