package main

import (
	"fmt"
	"strings"

	"github.com/sercand/kuberesolver/v6"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver/dns"
)

const retryPolicy = `"methodConfig":[{"name":[{}],"retryPolicy":{
	"maxAttempts":5,"initialBackoff":"0.1s","maxBackoff":"1s","backoffMultiplier":2,"retryableStatusCodes":["UNAVAILABLE"]}}],`

// prepare sets what the libraries keep for the whole program; call it before the first channel.
func prepare(c config) {
	if c.dnsMinInterval > 0 {
		dns.SetMinResolutionInterval(c.dnsMinInterval)
	}
	if strings.HasPrefix(c.target, "kubernetes:") {
		// Watches with the pod's ServiceAccount, which has to be allowed to.
		kuberesolver.RegisterInCluster()
	}
}

// channel balances: without a policy all calls of a client go to one pod.
func channel(c config, seen *totals) (*grpc.ClientConn, error) {
	retry := ""
	if c.retry {
		retry = retryPolicy
	}
	return grpc.NewClient(c.target,
		grpc.WithDefaultServiceConfig(fmt.Sprintf(`{%s"loadBalancingConfig":[{%q:{}}]}`, retry, c.policy)),
		// Saves a TXT query with every look-up.
		grpc.WithDisableServiceConfig(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithStatsHandler(counter{seen}),
	)
}
