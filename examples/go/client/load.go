package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"evenkeel.dev/examples/go/echopb"
)

// endBound is how long calls may go on once no more are started.
const endBound = 2 * time.Second

type load struct {
	config
	seen  *totals
	lines *lines
	stubs []echopb.EchoClient
	slots chan struct{}
	open  sync.WaitGroup
}

func run(ctx context.Context, cfg config) error {
	l := &load{config: cfg, seen: newTotals(), lines: newLines(), slots: make(chan struct{}, cfg.maxInFlight)}
	if cfg.http != "" {
		if err := serveTotals(cfg.http, l.seen); err != nil {
			return err
		}
	}
	prepare(cfg)
	for range cfg.connections {
		conn, err := channel(cfg, l.seen)
		if err != nil {
			return fmt.Errorf("--target: %w", err)
		}
		defer conn.Close()
		l.stubs = append(l.stubs, echopb.NewEchoClient(conn))
	}
	if cfg.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, cfg.duration)
		defer cancel()
	}
	l.lines.write("start", map[string]any{
		"target": cfg.target, "policy": cfg.policy, "method": "echo", "rate": cfg.rate, "connections": cfg.connections})
	calls, giveUp := context.WithCancel(context.Background())
	l.pace(ctx, calls)
	timer := time.AfterFunc(endBound, giveUp)
	l.open.Wait()
	timer.Stop()
	giveUp()
	l.lines.sums("end", l.seen.total(false))
	return nil
}

// pace starts calls by the clock, not by the end of earlier ones: waiting would hide an outage from its own figures.
func (l *load) pace(ctx, calls context.Context) {
	pace := time.NewTicker(max(time.Duration(float64(time.Second)/l.rate), 5*time.Millisecond))
	defer pace.Stop()
	reports := time.NewTicker(l.reportEvery)
	defer reports.Stop()
	begin, started := time.Now(), 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-reports.C:
			l.lines.sums("report", l.seen.sinceReport())
		case <-pace.C:
			due := int(time.Since(begin).Seconds() * l.rate)
			// What a stopped process missed is not made up for, but for a second's worth.
			if late := due - started - int(l.rate) - 1; late > 0 {
				l.seen.count(func(s *sums) { s.Late += late })
				started += late
			}
			for ; started < due; started++ {
				l.start(calls, l.stubs[started%len(l.stubs)])
			}
		}
	}
}

func (l *load) start(ctx context.Context, stub echopb.EchoClient) {
	select {
	case l.slots <- struct{}{}:
	default:
		l.seen.count(func(s *sums) { s.Dropped++ })
		return
	}
	l.seen.count(func(s *sums) { s.Started++ })
	l.seen.inFlight.Add(1)
	l.open.Go(func() {
		l.call(ctx, stub)
		<-l.slots
	})
}

func (l *load) call(ctx context.Context, stub echopb.EchoClient) {
	begun, timed, cancel := time.Now(), ctx, context.CancelFunc(func() {})
	if l.deadline > 0 {
		timed, cancel = context.WithTimeout(ctx, l.deadline)
	}
	defer cancel()
	reply, err := stub.Echo(timed, &echopb.EchoRequest{Message: "echo"})
	if ctx.Err() != nil && status.Code(err) == codes.Canceled {
		return // given up by ourselves: it stays in in_flight
	}
	l.seen.inFlight.Add(-1)
	if err != nil {
		code := codeNames[min(int(status.Code(err)), len(codeNames)-1)]
		l.seen.count(func(s *sums) { s.Errors[code]++ })
		l.lines.error(code, time.Since(begun), status.Convert(err).Message())
		return
	}
	if l.seen.reply(reply.GetPod()) {
		l.lines.write("first_reply", map[string]any{
			"backend": reply.GetPod(), "version": reply.GetVersion(), "connection_age": reply.GetConnectionAge()})
	}
}

// codeNames are those that every gRPC language documents; Go prints others.
var codeNames = [...]string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
	"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
	"UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}
