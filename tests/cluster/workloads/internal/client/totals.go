package client

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// Counts are sums over a stretch of time, and two gauges at its end. The JSON
// names are a contract (README.md).
type Counts struct {
	Started           int64            `json:"started"`
	Attempts          int64            `json:"attempts"`
	OK                int64            `json:"ok"`
	Replies           map[string]int64 `json:"replies"`
	Errors            map[string]int64 `json:"errors"`
	Dropped           int64            `json:"dropped"`
	Late              int64            `json:"late"`
	InFlight          int64            `json:"in_flight"`
	ConnectionsOpened int64            `json:"connections_opened"`
	ConnectionsOpen   int64            `json:"connections_open"`
	GoAways           int64            `json:"goaways"`
	GoAwayReasons     map[string]int64 `json:"goaway_reasons"`
}

// Report is Counts since a moment; FirstReplies only where it covers all.
type Report struct {
	SinceMS int64 `json:"since_ms"`
	Counts
	Latency      *Quantiles        `json:"latency_us,omitempty"`
	FirstReplies map[string]string `json:"first_replies,omitzero"`
}

// stretch is an unfinished Report.
type stretch struct {
	since   time.Time
	counts  Counts
	latency latencies
}

func newStretch(now time.Time) stretch {
	return stretch{since: now, counts: Counts{
		Replies: map[string]int64{}, Errors: map[string]int64{}, GoAwayReasons: map[string]int64{},
	}}
}

// Totals counts twice: since the last report and since the start or a reset.
type Totals struct {
	mu     sync.Mutex
	window stretch
	total  stretch
	// These outlive a reset: what is open, and what came first, ever.
	inFlight, connections atomic.Int64
	firstReplies          map[string]string
}

// NewTotals starts at zero.
func NewTotals(now time.Time) *Totals {
	return &Totals{window: newStretch(now), total: newStretch(now), firstReplies: map[string]string{}}
}

// count changes both stretches.
func (t *Totals) count(f func(*Counts)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f(&t.window.counts)
	f(&t.total.counts)
}

func (t *Totals) started() { t.count(func(c *Counts) { c.Started++ }) }

func (t *Totals) attempted() { t.count(func(c *Counts) { c.Attempts++ }) }

// ended takes the code of a call that came to its end, and how long it took.
func (t *Totals) ended(code string, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range []*stretch{&t.window, &t.total} {
		if code == "OK" {
			s.counts.OK++
			s.latency.add(took)
		} else {
			s.counts.Errors[code]++
		}
	}
}

func (t *Totals) dropped(n int64) { t.count(func(c *Counts) { c.Dropped += n }) }

func (t *Totals) late(n int64) { t.count(func(c *Counts) { c.Late += n }) }

func (t *Totals) connOpened() { t.count(func(c *Counts) { c.ConnectionsOpened++ }) }

func (t *Totals) goAway(reason string) {
	t.count(func(c *Counts) { c.GoAways++; c.GoAwayReasons[reason]++ })
}

// reply says whether it is the first ever from this backend.
func (t *Totals) reply(backend string, now time.Time) bool {
	t.count(func(c *Counts) { c.Replies[backend]++ })
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, seen := t.firstReplies[backend]; seen {
		return false
	}
	t.firstReplies[backend] = stamp(now)
	return true
}

// Window is the report since the last Window.
func (t *Totals) Window(now time.Time) Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.report(&t.window, now)
	t.window = newStretch(now)
	return r
}

// Total is the report since the start or the last Reset.
func (t *Totals) Total(now time.Time) Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.withFirsts(t.report(&t.total, now))
}

// Reset is Total, and begins anew in the same instant: no reply is lost or
// counted twice between the two.
func (t *Totals) Reset(now time.Time) Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.withFirsts(t.report(&t.total, now))
	t.total = newStretch(now)
	return r
}

func (t *Totals) report(s *stretch, now time.Time) Report {
	c := s.counts
	c.Replies, c.Errors, c.GoAwayReasons = maps.Clone(c.Replies), maps.Clone(c.Errors), maps.Clone(c.GoAwayReasons)
	c.InFlight, c.ConnectionsOpen = t.inFlight.Load(), t.connections.Load()
	return Report{SinceMS: now.Sub(s.since).Milliseconds(), Counts: c, Latency: s.latency.quantiles()}
}

func (t *Totals) withFirsts(r Report) Report {
	r.FirstReplies = maps.Clone(t.firstReplies)
	return r
}
