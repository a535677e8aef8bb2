package server

import (
	"io"
	"strings"
	"testing"
	"time"
)

func parse(env map[string]string, args ...string) (Config, error) {
	return Parse(args, func(name string) string { return env[name] }, io.Discard)
}

func TestAgeFromEnvironmentAndFlags(t *testing.T) {
	type env = map[string]string
	for name, c := range map[string]struct {
		env  env
		args []string
		want Age
	}{
		"nothing":              {want: Age{Source: "none"}},
		"empty counts as none": {env: env{"MAX_CONNECTION_AGE": ""}, want: Age{Source: "none"}},
		"env": {
			env:  env{"MAX_CONNECTION_AGE": "1m30s", "MAX_CONNECTION_AGE_GRACE": "10s"},
			want: Age{90 * time.Second, 10 * time.Second, "MAX_CONNECTION_AGE"},
		},
		"seconds": {
			env:  env{"MAX_CONNECTION_AGE_SECONDS": "30", "MAX_CONNECTION_AGE_GRACE_SECONDS": "5"},
			want: Age{30 * time.Second, 5 * time.Second, "MAX_CONNECTION_AGE_SECONDS"},
		},
		"milliseconds": {
			env:  env{"MAX_CONNECTION_AGE_MILLISECONDS": "1500", "MAX_CONNECTION_AGE_GRACE_MILLISECONDS": "250"},
			want: Age{1500 * time.Millisecond, 250 * time.Millisecond, "MAX_CONNECTION_AGE_MILLISECONDS"},
		},
		"flag in both spellings": {
			args: []string{"--max-connection-age=30s", "--max-connection-age-grace", "10s"},
			want: Age{30 * time.Second, 10 * time.Second, "--max-connection-age"},
		},
		"flag wins over env, even a bad one": {
			env:  env{"MAX_CONNECTION_AGE": "oops"},
			args: []string{"--max-connection-age", "1m"},
			want: Age{Max: time.Minute, Source: "--max-connection-age"},
		},
		"switch wins over env": {
			env:  env{"MAX_CONNECTION_AGE": "5m"},
			args: []string{"--short-connection-age"},
			want: Age{Max: 30 * time.Second, Source: "--short-connection-age"},
		},
		"list wins over env": {
			env:  env{"MAX_CONNECTION_AGE": "5m", "MAX_CONNECTION_AGE_GRACE": "5m"},
			args: []string{"--grpc_channel_arguments=a=1,grpc.max_connection_age_ms=2000,grpc.max_connection_age_grace_ms=500"},
			want: Age{2 * time.Second, 500 * time.Millisecond, "--grpc_channel_arguments"},
		},
		"list without an age": {args: []string{"--grpc_channel_arguments", "a=1"}, want: Age{Source: "none"}},
		"switch turned off":   {args: []string{"--short-connection-age=false"}, want: Age{Source: "none"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parse(c.env, c.args...)
			if err != nil || got.Age != c.want {
				t.Fatalf("got %+v, %v; want %+v", got.Age, err, c.want)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	type env = map[string]string
	for name, c := range map[string]struct {
		env  env
		args []string
		want string
	}{
		"number without unit":  {env: env{"MAX_CONNECTION_AGE": "30"}, want: `MAX_CONNECTION_AGE: "30" is not a duration`},
		"negative":             {env: env{"MAX_CONNECTION_AGE": "-1s"}, want: `"-1s" is negative`},
		"unit in seconds":      {env: env{"MAX_CONNECTION_AGE_SECONDS": "30s"}, want: `MAX_CONNECTION_AGE_SECONDS: "30s" is not a whole number`},
		"beyond a duration":    {env: env{"MAX_CONNECTION_AGE_SECONDS": "9223372036854775807"}, want: "out of range"},
		"bad grace":            {env: env{"MAX_CONNECTION_AGE_GRACE": "x"}, want: "MAX_CONNECTION_AGE_GRACE"},
		"two variables":        {env: env{"MAX_CONNECTION_AGE": "30s", "MAX_CONNECTION_AGE_SECONDS": "30"}, want: "both set"},
		"bad flag":             {args: []string{"--max-connection-age=30"}, want: `--max-connection-age: "30" is not a duration`},
		"flag twice":           {args: []string{"--max-connection-age=30s", "--max-connection-age=30s"}, want: "given twice"},
		"other spelling twice": {args: []string{"-max-connection-age", "30s", "--max-connection-age=1m"}, want: "given twice"},
		"switch twice":         {args: []string{"--short-connection-age", "--short-connection-age"}, want: "given twice"},
		"switch and flag":      {args: []string{"--short-connection-age", "--max-connection-age=1m"}, want: "both set"},
		"list and flag":        {args: []string{"--grpc_channel_arguments=grpc.max_connection_age_ms=1", "--max-connection-age=1m"}, want: "both set"},
		"list with a unit":     {args: []string{"--grpc_channel_arguments=grpc.max_connection_age_ms=1s"}, want: `"1s" is not a whole number`},
		"list with no value":   {args: []string{"--grpc_channel_arguments=a=1,b"}, want: `"b" is not key=value`},
		"list's key twice":     {args: []string{"--grpc_channel_arguments=a=1,a=1"}, want: "a is given twice"},
		"unknown flag":         {args: []string{"--max-age=1m"}, want: "not defined"},
		"stray argument":       {args: []string{"30s"}, want: `unexpected argument "30s"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(c.env, c.args...)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v; want %q", err, c.want)
			}
		})
	}
}

func TestCrashOnAge(t *testing.T) {
	cfg := Config{Listen: "127.0.0.1:0", Metrics: "127.0.0.1:0", CrashOnAge: true, Age: Age{Max: time.Second, Source: "X"}}
	if _, err := New(cfg, io.Discard); err == nil || !strings.Contains(err.Error(), "set by X") {
		t.Fatalf("got %v", err)
	}
}
