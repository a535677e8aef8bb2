package client

import (
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Config is all that the flags of the load client say.
type Config struct {
	Target         string
	Policy         string
	Method         string
	Rate           float64
	MaxInFlight    int
	Deadline       time.Duration
	Duration       time.Duration
	ReportEvery    time.Duration
	Connections    int
	StreamMessages uint
	StreamInterval time.Duration
	DNSMinInterval time.Duration
	Retry          bool
	HTTP           string
}

// Parse reads the flags. Usage goes to usage.
func Parse(args []string, usage io.Writer) (Config, error) {
	var c Config
	fs := flag.NewFlagSet("client", flag.ContinueOnError)
	fs.SetOutput(usage)
	fs.StringVar(&c.Target, "target", "", "gRPC `target`: dns:///host:port, passthrough:///host:port, kubernetes:///service.namespace:port-name")
	fs.StringVar(&c.Policy, "policy", "round_robin", "round_robin or pick_first")
	fs.StringVar(&c.Method, "method", "echo", "echo, watch, chat or health")
	fs.Float64Var(&c.Rate, "rate", 50, "calls started per second, whether or not earlier ones have ended")
	fs.IntVar(&c.MaxInFlight, "max-in-flight", 1000, "calls open at once; more are dropped, and counted")
	fs.DurationVar(&c.Deadline, "deadline", 2*time.Second, "of each call; 0 is none")
	fs.DurationVar(&c.Duration, "duration", 0, "time to run; 0 is until SIGTERM")
	fs.DurationVar(&c.ReportEvery, "report-every", time.Second, "time between reports")
	fs.IntVar(&c.Connections, "connections", 1, "independent channels, used in turn")
	fs.UintVar(&c.StreamMessages, "stream-messages", 5, "messages of a watch or chat; 0 is without end")
	fs.DurationVar(&c.StreamInterval, "stream-interval", 100*time.Millisecond, "time between messages of a watch or chat")
	fs.DurationVar(&c.DNSMinInterval, "dns-min-interval", 0, "least time between DNS lookups; 0 is the library's own (30s)")
	fs.BoolVar(&c.Retry, "retry", false, "try a call that ends UNAVAILABLE again, up to five times in all, by a retry policy")
	fs.StringVar(&c.HTTP, "http", "", "`address` of GET /totals, POST /reset, GET /healthz; empty is none")
	if err := fs.Parse(args); err != nil {
		return c, err
	}
	if fs.NArg() > 0 {
		return c, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	return c, c.check()
}

func (c Config) check() error {
	switch {
	case c.Target == "":
		return fmt.Errorf("--target is required")
	case !slices.Contains([]string{"round_robin", "pick_first"}, c.Policy):
		return fmt.Errorf("--policy: %q is neither round_robin nor pick_first", c.Policy)
	case !slices.Contains([]string{"echo", "watch", "chat", "health"}, c.Method):
		return fmt.Errorf("--method: %q is none of echo, watch, chat, health", c.Method)
	case !(c.Rate > 0 && c.Rate <= 100_000):
		return fmt.Errorf("--rate: must be above 0 and at most 100000")
	case c.MaxInFlight < 1 || c.MaxInFlight > 100_000:
		return fmt.Errorf("--max-in-flight: must be from 1 to 100000")
	case c.Connections < 1 || c.Connections > 1000:
		return fmt.Errorf("--connections: must be from 1 to 1000")
	case c.ReportEvery < 10*time.Millisecond:
		return fmt.Errorf("--report-every: must be at least 10ms")
	case c.StreamMessages > 1<<31:
		return fmt.Errorf("--stream-messages: must be at most %d", 1<<31)
	case slices.Contains([]string{"watch", "chat"}, c.Method) && c.StreamInterval < time.Millisecond:
		return fmt.Errorf("--stream-interval: must be at least 1ms")
	case c.Deadline < 0 || c.Duration < 0 || c.DNSMinInterval < 0:
		return fmt.Errorf("--deadline, --duration and --dns-min-interval must not be negative")
	}
	return nil
}

// scheme of the target, which decides the resolver.
func (c Config) scheme() string {
	scheme, _, _ := strings.Cut(c.Target, ":")
	return scheme
}
