// Client is the load client of the cluster tests and the demo; README.md
// lists its flags and the JSON lines it writes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"evenkeel.dev/tests/cluster/workloads/internal/client"
)

func main() {
	err := run(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "client:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if len(args) > 0 && args[0] == "get" {
		return client.Get(ctx, args[1:], os.Stdout, os.Stderr)
	}
	cfg, err := client.Parse(args, os.Stderr)
	if err != nil {
		return err
	}
	return client.Run(ctx, cfg, os.Stdout)
}
