package client

import (
	"math"
	"time"
)

// Classes of durations are this far apart: as exact as what is read from them.
const classGrowth = 1.02

// Up to a minute and a half; what lasted longer counts in the last one.
const classes = 928

// latencies counts calls by how long they took.
type latencies struct {
	counts [classes]int64
	sum    int64
}

// Quantiles are in whole microseconds.
type Quantiles struct {
	P50 int64 `json:"p50"`
	P99 int64 `json:"p99"`
}

func (l *latencies) add(took time.Duration) {
	class := 0
	if us := float64(took) / float64(time.Microsecond); us > 1 {
		class = min(int(math.Log(us)/math.Log(classGrowth)), classes-1)
	}
	l.counts[class]++
	l.sum++
}

// quantile is the upper end of the class that the call at this place is in.
func (l *latencies) quantile(q float64) int64 {
	wanted, seen := int64(math.Ceil(q*float64(l.sum))), int64(0)
	for class, count := range l.counts {
		if seen += count; count > 0 && seen >= wanted {
			return int64(math.Pow(classGrowth, float64(class+1)))
		}
	}
	return 0
}

// quantiles are nil where no call ended well.
func (l *latencies) quantiles() *Quantiles {
	if l.sum == 0 {
		return nil
	}
	return &Quantiles{P50: l.quantile(0.5), P99: l.quantile(0.99)}
}
