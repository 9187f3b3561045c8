package server

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseAddressRefusesWhatLeavesTheMachine(t *testing.T) {
	for _, good := range []string{"127.0.0.1:15010", "127.0.0.2:0", "[::1]:15010", "unix:/run/x.sock"} {
		a, err := ParseAddress(good)
		if err != nil || a.String() != good {
			t.Errorf("ParseAddress(%q) = %v, %v", good, a, err)
		}
	}
	for bad, want := range map[string]string{
		"0.0.0.0:15010":                     "not encrypted: use 127.0.0.1:15010, [::1]:15010 or unix:/path",
		"10.0.0.1:15010":                    "not a loopback IP",
		":15010":                            "not a loopback IP",
		"localhost:15010":                   "not a loopback IP",
		"example.com:15010":                 "not a loopback IP",
		"[::]:15010":                        "not a loopback IP",
		"127.0.0.1":                         "neither host:port nor unix:/path",
		"127.0.0.1:99999":                   "0 to 65535",
		"127.0.0.1:http":                    "0 to 65535",
		"unix:":                             "1 to 107 bytes",
		"unix:/" + strings.Repeat("x", 107): "1 to 107 bytes",
	} {
		if _, err := ParseAddress(bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseAddress(%q): %v, want %q", bad, err, want)
		}
	}
}

func TestListenTakesOverOnlyDeadSockets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first, err := listen("unix:"+path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the socket: %v, %v; others could read the configuration", info.Mode(), err)
	}
	if _, err := listen("unix:"+path, 0o600); err == nil || !strings.Contains(err.Error(), "another process listens there") {
		t.Errorf("a living socket: %v", err)
	}
	first.(*net.UnixListener).SetUnlinkOnClose(false) // what a killed process leaves
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := listen("unix:"+path, 0o600)
	if err != nil {
		t.Fatalf("a dead socket: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listen("unix:"+path, 0o600); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("a file: %v", err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "precious" {
		t.Errorf("the file is now %q, %v", data, err)
	}
}
