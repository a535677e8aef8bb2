package client

import (
	"testing"
	"time"
)

func TestQuantilesAreExactToTwoPercent(t *testing.T) {
	var l latencies
	if l.quantiles() != nil {
		t.Fatal("quantiles of nothing")
	}
	for ms := 1; ms <= 100; ms++ {
		l.add(time.Duration(ms) * time.Millisecond)
	}
	got := *l.quantiles()
	near := func(is, wanted int64) bool { return is >= wanted && is <= wanted+wanted/50 }
	if !near(got.P50, 50_000) || !near(got.P99, 99_000) {
		t.Fatalf("%+v", got)
	}
}

func TestLatenciesTakeAnyDuration(t *testing.T) {
	var l latencies
	l.add(-time.Second)
	l.add(0)
	l.add(time.Hour)
	if got := *l.quantiles(); got.P50 != 1 || got.P99 < 80_000_000 {
		t.Fatalf("%+v", got)
	}
}
