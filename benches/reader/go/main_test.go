// Measures Prometheus's own parsers on the pages that PAGES names, one page a line, as `name bytes/s`.
package reader

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

func pages(b *testing.B, run func(b *testing.B, page []byte)) {
	for _, path := range strings.Fields(os.Getenv("PAGES")) {
		page, err := os.ReadFile(path)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(filepath.Base(path), func(b *testing.B) {
			begun := spent(b)
			for b.Loop() {
				run(b, page)
			}
			seconds := (spent(b) - begun).Seconds()
			b.ReportMetric(float64(len(page))*float64(b.N)/seconds/1e6, "cpu-MB/s")
		})
	}
}

// spent is the processor time of this process, its garbage collector included: others use the machine too.
func spent(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkTextparse is what a Prometheus server does with series that it has seen before: the text of each is looked
// up in a map.
func BenchmarkTextparse(b *testing.B) {
	table := labels.NewSymbolTable()
	pages(b, func(b *testing.B, page []byte) { parse(b, page, table, false) })
}

// BenchmarkTextparseLabels is what it does with new ones: their labels are taken apart.
func BenchmarkTextparseLabels(b *testing.B) {
	table := labels.NewSymbolTable()
	pages(b, func(b *testing.B, page []byte) { parse(b, page, table, true) })
}

func parse(b *testing.B, page []byte, table *labels.SymbolTable, withLabels bool) {
	parser := textparse.NewPromParser(page, table, false)
	var set labels.Labels
	for {
		entry, err := parser.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			b.Fatal(err)
		}
		if entry != textparse.EntrySeries {
			continue
		}
		parser.Series()
		if withLabels {
			parser.Labels(&set)
		}
	}
}

// BenchmarkExpfmt is the parser of prometheus/common, which makes a tree of the whole page.
func BenchmarkExpfmt(b *testing.B) {
	pages(b, func(b *testing.B, page []byte) {
		parser := expfmt.NewTextParser(model.UTF8Validation)
		if _, err := parser.TextToMetricFamilies(bytes.NewReader(page)); err != nil {
			b.Fatal(err)
		}
	})
}
