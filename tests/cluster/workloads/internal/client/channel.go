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

// retryPolicy is for every method. Its least delay lets a connection that was
// found closing be replaced.
const retryPolicy = `"methodConfig":[{"name":[{}],"retryPolicy":{
	"maxAttempts":5,"initialBackoff":"0.1s","maxBackoff":"1s","backoffMultiplier":2,"retryableStatusCodes":["UNAVAILABLE"]}}],`

// serviceConfig is all that a channel knows of one.
func (c Config) serviceConfig() string {
	policy := ""
	if c.Retry {
		policy = retryPolicy
	}
	return fmt.Sprintf(`{%s"loadBalancingConfig":[{%q:{}}]}`, policy, c.Policy)
}

// dial makes one channel whose connections are counted. No service config is
// looked up: it could add a retry policy, and a TXT query for every lookup.
func dial(c Config, totals *Totals, events *Events) (*grpc.ClientConn, error) {
	var dialer net.Dialer
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(c.serviceConfig()),
		grpc.WithDisableServiceConfig(),
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
	}
	if !c.Retry {
		options = append(options, grpc.WithDisableRetry())
	}
	return grpc.NewClient(c.Target, options...)
}

// connCounter sees connections begin and end, and every attempt at a call.
type connCounter struct{ totals *Totals }

func (connCounter) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (connCounter) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

func (h connCounter) HandleRPC(_ context.Context, s stats.RPCStats) {
	if _, ok := s.(*stats.Begin); ok {
		h.totals.attempted()
	}
}

func (h connCounter) HandleConn(_ context.Context, s stats.ConnStats) {
	switch s.(type) {
	case *stats.ConnBegin:
		h.totals.connections.Add(1)
		h.totals.connOpened()
	case *stats.ConnEnd:
		h.totals.connections.Add(-1)
	}
}
