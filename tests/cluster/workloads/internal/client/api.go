package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const serviceAccountDir = "/var/run/secrets/kubernetes.io/serviceaccount"

// Get asks the API server for each path as the pod's ServiceAccount and
// writes an event for each. An answer of any status is no error.
func Get(ctx context.Context, args []string, out, usage io.Writer) error {
	var paths []string
	fs := flag.NewFlagSet("client get", flag.ContinueOnError)
	fs.SetOutput(usage)
	fs.Func("path", "API `path`, such as /api/v1/pods; may be repeated", func(p string) error {
		if !strings.HasPrefix(p, "/") {
			return errors.New("must begin with /")
		}
		paths = append(paths, p)
		return nil
	})
	server := fs.String("server", inClusterServer(), "`URL` of the API server")
	dir := fs.String("service-account", serviceAccountDir, "`directory` with token and ca.crt")
	timeout := fs.Duration("timeout", 10*time.Second, "for each request")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if len(paths) == 0 || fs.NArg() > 0 {
		return errors.New("get: give --path=/…, and nothing but flags")
	}
	api, err := newAPI(*server, *dir, *timeout)
	if err != nil {
		return err
	}
	events := NewEvents(out)
	var failed error
	for _, path := range paths {
		code, err := api.get(ctx, path)
		failed = errors.Join(failed, err)
		line := struct {
			head
			Path   string `json:"path"`
			Status int    `json:"status"`
			Error  string `json:"error,omitempty"`
		}{at(time.Now(), "api"), path, code, ""}
		if err != nil {
			line.Error = truncate(err.Error(), maxMessage)
		}
		events.write(line)
	}
	return failed
}

func inClusterServer() string {
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return "https://kubernetes.default.svc"
	}
	return "https://" + net.JoinHostPort(host, port)
}

type api struct {
	server, token string
	http          *http.Client
}

func newAPI(server, dir string, timeout time.Duration) (*api, error) {
	token, err := os.ReadFile(filepath.Join(dir, "token"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%s has no certificate", filepath.Join(dir, "ca.crt"))
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	return &api{server, strings.TrimSpace(string(token)), &http.Client{Transport: transport, Timeout: timeout}}, nil
}

// get is done once the status is there: a watch would never end.
func (a *api) get(ctx context.Context, path string) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.server+path, nil)
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", "Bearer "+a.token)
	response, err := a.http.Do(request)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, response.Body.Close()
}
