package server

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

const (
	ageEnv    = "MAX_CONNECTION_AGE"
	graceEnv  = "MAX_CONNECTION_AGE_GRACE"
	ageFlag   = "max-connection-age"
	graceFlag = "max-connection-age-grace"
	shortFlag = "short-connection-age"
	listFlag  = "grpc_channel_arguments"
)

// Config is all that flags and environment say.
type Config struct {
	Listen, Metrics   string
	Age               Age
	Drain             time.Duration
	DrainTimeout      time.Duration
	StartAfter        time.Duration
	ReadyAfter        time.Duration
	CrashOnAge        bool
	InitializeMetrics bool
	OddMetrics        string
	SecureMetrics     string
	Pod, Version      string
}

// Parse reads flags and environment. Usage goes to usage.
func Parse(args []string, env func(string) string, usage io.Writer) (Config, error) {
	var c Config
	fs := flag.NewFlagSet("server", flag.ContinueOnError)
	fs.SetOutput(usage)
	fs.StringVar(&c.Listen, "listen", ":8080", "gRPC `address`")
	fs.StringVar(&c.Metrics, "metrics", ":9090", "`address` of /metrics, /healthz and /readyz")
	age := fs.String(ageFlag, "", "MaxConnectionAge, a `duration`; wins over "+ageEnv)
	grace := fs.String(graceFlag, "", "MaxConnectionAgeGrace, a `duration`; wins over "+graceEnv)
	short := fs.Bool(shortFlag, false, "the same as --"+ageFlag+"="+ShortAge.String())
	list := fs.String(listFlag, "", "channel `arguments` as key=value,key=value, as in TensorFlow Serving; wins over "+ageEnv)
	fs.DurationVar(&c.Drain, "drain", 5*time.Second, "after SIGTERM, serve on for this long, not ready")
	fs.DurationVar(&c.DrainTimeout, "drain-timeout", 20*time.Second, "then let calls finish for at most this long")
	fs.DurationVar(&c.StartAfter, "start-after", 0, "open no port before this long, as a program that loads its data first")
	fs.DurationVar(&c.ReadyAfter, "ready-after", 0, "become ready only after this long")
	fs.BoolVar(&c.CrashOnAge, "crash-on-age", false, "exit with 1 when an age is set")
	fs.BoolVar(&c.InitializeMetrics, "initialize-metrics", false, "export every series at zero from the start")
	fs.StringVar(&c.OddMetrics, "odd-metrics", "", "serve /metrics on "+oddAddress+" too, with something wrong about it, a `kind`: "+strings.Join(oddities, ", "))
	fs.StringVar(&c.SecureMetrics, "secure-metrics", "", "serve /metrics on "+secureAddress+" too, over TLS with tls.crt and tls.key of this `directory`, for the bearer token in its file token")
	refuseRepeats(fs)
	if err := fs.Parse(args); err != nil {
		return c, err
	}
	if fs.NArg() > 0 {
		return c, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}

	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	listed, errList := listSettings("--"+listFlag, *list)
	ages := envSettings(ageEnv, env)
	if given[ageFlag] || *short || len(listed[listAge]) > 0 {
		ages = nil
	}
	ages = append(ages, listed[listAge]...)
	if given[ageFlag] {
		ages = append(ages, setting{"--" + ageFlag, *age, goDuration})
	}
	if *short {
		ages = append(ages, setting{"--" + shortFlag, ShortAge.String(), goDuration})
	}
	graces := envSettings(graceEnv, env)
	if given[graceFlag] {
		graces = []setting{{"--" + graceFlag, *grace, goDuration}}
	}
	if len(listed[listGrace]) > 0 {
		graces = listed[listGrace]
	}
	var errAge, errGrace error
	c.Age.Max, c.Age.Source, errAge = one(ages)
	c.Age.Grace, _, errGrace = one(graces)

	c.Pod, c.Version = env("POD_NAME"), env("VERSION")
	if c.Pod == "" {
		c.Pod, _ = os.Hostname()
	}
	return c, errors.Join(errList, errAge, errGrace)
}

// refuseRepeats makes a flag that is given twice an error, as in Thanos. Go's
// own flags let the last one win, which would hide a flag appended twice.
func refuseRepeats(fs *flag.FlagSet) {
	fs.VisitAll(func(f *flag.Flag) { f.Value = &onceValue{Value: f.Value} })
}

type onceValue struct {
	flag.Value
	given bool
}

func (v *onceValue) Set(s string) error {
	if v.given {
		return errors.New("the flag is given twice")
	}
	v.given = true
	return v.Value.Set(s)
}

// String is also asked of a zero value, for the usage text.
func (v *onceValue) String() string {
	if v.Value == nil {
		return ""
	}
	return v.Value.String()
}

// IsBoolFlag keeps switches usable without a value.
func (v *onceValue) IsBoolFlag() bool {
	b, ok := v.Value.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}
