package server

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// ShortAge is what the bare switch --short-connection-age stands for.
const ShortAge = 30 * time.Second

// Age is a connection age and where it was set.
type Age struct {
	Max    time.Duration
	Grace  time.Duration
	Source string
}

// String is what the replies and the start line say: "none" means that
// connections live for ever.
func (a Age) String() string { return orNone(a.Max) }

func orNone(d time.Duration) string {
	if d == 0 {
		return "none"
	}
	return d.String()
}

// setting is one way to give a duration, if it was used.
type setting struct {
	name  string
	value string
	parse func(string) (time.Duration, error)
}

// envSettings are the variables that name sets: itself as a Go duration, and
// with a suffix for the whole units that other servers want. An empty value
// counts as absent.
func envSettings(name string, env func(string) string) []setting {
	var used []setting
	for _, s := range []setting{
		{name: name, parse: goDuration},
		{name: name + "_SECONDS", parse: whole(time.Second)},
		{name: name + "_MILLISECONDS", parse: whole(time.Millisecond)},
	} {
		if s.value = env(s.name); s.value != "" {
			used = append(used, s)
		}
	}
	return used
}

// Keys of the list that a server takes in one flag. Others are accepted and
// ignored, as long as they are well formed.
const (
	listAge   = "grpc.max_connection_age_ms"
	listGrace = "grpc.max_connection_age_grace_ms"
)

// listSettings reads key=value,key=value. A key that is there twice is an error:
// which one counts would be left open.
func listSettings(flag, list string) (map[string][]setting, error) {
	listed := map[string][]setting{}
	if list == "" {
		return listed, nil
	}
	for _, entry := range strings.Split(list, ",") {
		key, value, ok := strings.Cut(entry, "=")
		if !ok {
			return nil, fmt.Errorf("%s: %q is not key=value", flag, entry)
		}
		if len(listed[key]) > 0 {
			return nil, fmt.Errorf("%s: %s is given twice", flag, key)
		}
		listed[key] = []setting{{flag, value, whole(time.Millisecond)}}
	}
	return listed, nil
}

// one parses the only setting given. Several would leave open which counts, so
// that is an error, and so is a value that does not parse: a server that
// silently took either for "no age" would hide the mistake under test.
func one(settings []setting) (time.Duration, string, error) {
	if len(settings) == 0 {
		return 0, "none", nil
	}
	if len(settings) > 1 {
		var names []string
		for _, s := range settings {
			names = append(names, s.name)
		}
		return 0, "", fmt.Errorf("%s are both set: set one of them", strings.Join(names, " and "))
	}
	s := settings[0]
	d, err := s.parse(s.value)
	if err != nil {
		return 0, "", fmt.Errorf("%s: %w", s.name, err)
	}
	return d, s.name, nil
}

func goDuration(value string) (time.Duration, error) {
	d, err := time.ParseDuration(value)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration such as 30s or 1m30s", value)
	}
	if d < 0 {
		return 0, fmt.Errorf("%q is negative", value)
	}
	return d, nil
}

func whole(unit time.Duration) func(string) (time.Duration, error) {
	return func(value string) (time.Duration, error) {
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%q is not a whole number", value)
		}
		if n < 0 || n > math.MaxInt64/int64(unit) {
			return 0, fmt.Errorf("%q is out of range", value)
		}
		return time.Duration(n) * unit, nil
	}
}
