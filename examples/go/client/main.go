// Client calls Echo at a steady rate, balanced over all pods, and says on standard output who answered.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

type config struct {
	target, policy, http                            string
	rate                                            float64
	maxInFlight, connections                        int
	deadline, duration, reportEvery, dnsMinInterval time.Duration
	retry                                           bool
}

func main() {
	cfg, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
		defer stop()
		err = run(ctx, cfg)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "client:", err)
		os.Exit(1)
	}
}

func parse(args []string) (config, error) {
	var c config
	fs := flag.NewFlagSet("client", flag.ContinueOnError)
	fs.StringVar(&c.target, "target", "",
		"dns:///echo-headless.default.svc:8080, or kubernetes:///echo.default:grpc to watch EndpointSlices")
	fs.StringVar(&c.policy, "policy", "round_robin", "or pick_first")
	fs.Float64Var(&c.rate, "rate", 50, "calls started per second")
	fs.IntVar(&c.maxInFlight, "max-in-flight", 1000, "calls open at once; more are dropped, and counted")
	fs.DurationVar(&c.deadline, "deadline", 2*time.Second, "of each call; 0 is none")
	fs.DurationVar(&c.duration, "duration", 0, "0 is until SIGTERM")
	fs.IntVar(&c.connections, "connections", 1, "independent channels, used in turn")
	fs.DurationVar(&c.reportEvery, "report-every", time.Second, "time between reports")
	fs.DurationVar(&c.dnsMinInterval, "dns-min-interval", 0, "least time between look-ups; 0 is the library's own 30s")
	fs.BoolVar(&c.retry, "retry", false, "try a call that ends UNAVAILABLE again")
	fs.StringVar(&c.http, "http", "", "address of GET /totals, POST /reset and GET /healthz, such as :8090")
	if err := fs.Parse(args); err != nil {
		return c, err
	}
	switch {
	case fs.NArg() > 0:
		return c, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	case c.target == "":
		return c, errors.New("--target is required")
	case !(c.rate > 0 && c.rate <= 100_000):
		return c, errors.New("--rate: must be above 0 and at most 100000")
	case c.maxInFlight < 1 || c.connections < 1:
		return c, errors.New("--max-in-flight and --connections: must be at least 1")
	case c.reportEvery < 10*time.Millisecond:
		return c, errors.New("--report-every: must be at least 10ms")
	}
	return c, nil
}
