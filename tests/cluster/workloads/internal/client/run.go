// Package client is the load client of the cluster tests and the demo.
package client

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"evenkeel.dev/tests/cluster/workloads/proto/echopb"
)

// endBound is how long calls may go on once no more are started.
const endBound = 2 * time.Second

type load struct {
	cfg    Config
	totals *Totals
	events *Events
	conns  []*grpc.ClientConn
	slots  chan struct{}
	open   sync.WaitGroup
}

// Run calls at the rate until ctx or the duration ends; JSON lines go to out.
func Run(ctx context.Context, cfg Config, out io.Writer) error {
	l := &load{
		cfg: cfg, totals: NewTotals(time.Now()), events: NewEvents(out),
		slots: make(chan struct{}, cfg.MaxInFlight),
	}
	if cfg.HTTP != "" {
		stop, err := serveTotals(cfg.HTTP, l.totals)
		if err != nil {
			return err
		}
		defer stop()
	}
	prepareResolver(cfg)
	for range cfg.Connections {
		conn, err := dial(cfg, l.totals, l.events)
		if err != nil {
			return fmt.Errorf("--target: %w", err)
		}
		defer conn.Close()
		l.conns = append(l.conns, conn)
	}

	if cfg.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, cfg.Duration)
		defer cancel()
	}
	l.events.start(time.Now(), cfg)
	calls, giveUp := context.WithCancel(context.Background())
	l.paceAndReport(ctx, calls)
	l.finish(giveUp)
	return nil
}

// paceAndReport starts calls by the clock, not by the end of earlier ones: a
// client that waited would hide an outage from its own figures.
func (l *load) paceAndReport(ctx, calls context.Context) {
	pace := time.NewTicker(max(time.Duration(float64(time.Second)/l.cfg.Rate), 5*time.Millisecond))
	defer pace.Stop()
	reports := time.NewTicker(l.cfg.ReportEvery)
	defer reports.Stop()
	begin, started := time.Now(), 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-reports.C:
			now := time.Now()
			l.events.report(now, "report", l.totals.Window(now))
		case <-pace.C:
			due := int(time.Since(begin).Seconds() * l.cfg.Rate)
			// What a stopped process missed it makes up for by a second's worth: the
			// rest says something of the machine, and nothing of the servers.
			if late := due - started - int(l.cfg.Rate) - 1; late > 0 {
				l.totals.late(int64(late))
				started += late
			}
			for ; started < due; started++ {
				l.start(calls, started)
			}
		}
	}
}

func (l *load) start(ctx context.Context, n int) {
	select {
	case l.slots <- struct{}{}:
	default:
		l.totals.dropped(1)
		return
	}
	l.totals.inFlight.Add(1)
	l.totals.started()
	l.open.Add(1)
	go func() {
		defer l.open.Done()
		l.one(ctx, l.conns[n%len(l.conns)])
		<-l.slots
	}()
}

func (l *load) one(ctx context.Context, conn *grpc.ClientConn) {
	begun := time.Now()
	timed, cancel := ctx, context.CancelFunc(func() {})
	if l.cfg.Deadline > 0 {
		timed, cancel = context.WithTimeout(ctx, l.cfg.Deadline)
	}
	defer cancel()
	err := call(timed, l.cfg, conn, func(r *echopb.EchoReply) {
		now := time.Now()
		if l.totals.reply(r.GetPod(), now) {
			l.events.firstReply(now, r.GetPod(), r.GetVersion(), r.GetConnectionAge())
		}
	})
	if ctx.Err() != nil && status.Code(err) == codes.Canceled {
		return // given up by ourselves: it stays in in_flight
	}
	code := codeName(status.Code(err))
	l.totals.inFlight.Add(-1)
	l.totals.ended(code, time.Since(begun))
	if err != nil {
		l.events.error(time.Now(), begun, code, status.Convert(err).Message())
	}
}

// finish waits for open calls, gives up those that last, and says the end.
func (l *load) finish(giveUp context.CancelFunc) {
	timer := time.AfterFunc(endBound, giveUp)
	l.open.Wait()
	timer.Stop()
	giveUp()
	now := time.Now()
	l.events.report(now, "end", l.totals.Total(now))
}
