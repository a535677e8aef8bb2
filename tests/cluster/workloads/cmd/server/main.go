// Server is the gRPC echo server of the cluster tests and the demo; README.md
// lists its flags and variables.
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

	"evenkeel.dev/tests/cluster/workloads/internal/server"
)

func main() {
	err := run()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	cfg, err := server.Parse(os.Args[1:], os.Getenv, os.Stderr)
	if err != nil {
		return err
	}
	select {
	case <-time.After(cfg.StartAfter):
	case <-ctx.Done():
		return nil
	}
	s, err := server.New(cfg, os.Stdout)
	if err != nil {
		return err
	}
	return s.Run(ctx)
}
