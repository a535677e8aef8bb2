package server

import (
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

func TestSecureMetricsAskForTheToken(t *testing.T) {
	directory := t.TempDir()
	certificate, err := selfSigned()
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]}),
		"tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		"token":   []byte("right\n"),
	} {
		if err := os.WriteFile(filepath.Join(directory, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	server, err := secureServer(directory, http.HandlerFunc(honestPage))
	if err != nil {
		t.Fatal(err)
	}
	for header, want := range map[string]int{
		"":             http.StatusUnauthorized,
		"Bearer wrong": http.StatusUnauthorized,
		"right":        http.StatusUnauthorized,
		"Bearer right": http.StatusOK,
	} {
		request := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		request.Header.Set("Authorization", header)
		recorder := httptest.NewRecorder()
		server.Handler.ServeHTTP(recorder, request)
		if recorder.Code != want {
			t.Errorf("%q: %d, want %d", header, recorder.Code, want)
		}
	}
	if _, err := secureServer(t.TempDir(), http.HandlerFunc(honestPage)); err == nil {
		t.Error("a directory without a certificate is taken")
	}
}
