package main

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/stats"
)

// sums are since a moment. The JSON names are a contract.
type sums struct {
	since             time.Time
	SinceMS           int64             `json:"since_ms"`
	Started           int               `json:"started"`
	Attempts          int               `json:"attempts"`
	OK                int               `json:"ok"`
	Replies           map[string]int    `json:"replies"`
	Errors            map[string]int    `json:"errors"`
	Dropped           int               `json:"dropped"`
	Late              int               `json:"late"`
	ConnectionsOpened int               `json:"connections_opened"`
	ConnectionsOpen   int64             `json:"connections_open"`
	InFlight          int64             `json:"in_flight"`
	FirstReplies      map[string]string `json:"first_replies,omitzero"`
}

func newSums() *sums {
	return &sums{since: time.Now(), Replies: map[string]int{}, Errors: map[string]int{}}
}

// totals counts twice: since the last report, and since the start or a reset.
type totals struct {
	mu            sync.Mutex
	window, whole *sums
	// These outlive a reset.
	inFlight, connections atomic.Int64
	firstReplies          map[string]string
}

func newTotals() *totals {
	return &totals{window: newSums(), whole: newSums(), firstReplies: map[string]string{}}
}

func (t *totals) count(change func(*sums)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(t.window)
	change(t.whole)
}

// reply says whether it is the first ever from this backend.
func (t *totals) reply(backend string) bool {
	t.count(func(s *sums) { s.OK++; s.Replies[backend]++ })
	t.mu.Lock()
	defer t.mu.Unlock()
	_, known := t.firstReplies[backend]
	if !known {
		t.firstReplies[backend] = stamp()
	}
	return !known
}

func (t *totals) sinceReport() *sums {
	t.mu.Lock()
	defer t.mu.Unlock()
	ended := t.window
	t.window = newSums()
	return t.report(ended)
}

// total with reset begins anew in the same instant, so that nothing is lost or counted twice.
func (t *totals) total(reset bool) *sums {
	t.mu.Lock()
	defer t.mu.Unlock()
	ended := t.report(t.whole)
	ended.FirstReplies = maps.Clone(t.firstReplies)
	if reset {
		t.whole = newSums()
	}
	return ended
}

func (t *totals) report(s *sums) *sums {
	r := *s
	r.Replies, r.Errors = maps.Clone(s.Replies), maps.Clone(s.Errors)
	r.SinceMS = time.Since(s.since).Milliseconds()
	r.InFlight, r.ConnectionsOpen = t.inFlight.Load(), t.connections.Load()
	return &r
}

// counter sees connections begin and end, and every attempt at a call.
type counter struct{ *totals }

func (counter) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (counter) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

func (c counter) HandleRPC(_ context.Context, s stats.RPCStats) {
	if _, begins := s.(*stats.Begin); begins {
		c.count(func(s *sums) { s.Attempts++ })
	}
}

func (c counter) HandleConn(_ context.Context, s stats.ConnStats) {
	switch s.(type) {
	case *stats.ConnBegin:
		c.connections.Add(1)
		c.count(func(s *sums) { s.ConnectionsOpened++ })
	case *stats.ConnEnd:
		c.connections.Add(-1)
	}
}
