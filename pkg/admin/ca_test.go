package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"fairlead.io/fairlead/pkg/ca/rotate"
)

// commands notes what it is told.
type commands struct {
	told []string
	err  error
}

func (c *commands) say(what string, without []string) error {
	c.told = append(c.told, fmt.Sprintf("%s %v", what, without))
	return c.err
}

func (c *commands) Status() rotate.Status {
	return rotate.Status{TrustDomain: "cluster.local", Stage: "Stable", Signing: "abc"}
}
func (c *commands) Rotate(_ context.Context, w []string) error { return c.say("rotate", w) }
func (c *commands) Pause(context.Context) error                { return c.say("pause", nil) }
func (c *commands) Resume(_ context.Context, w []string) error { return c.say("resume", w) }
func (c *commands) Abort(context.Context) error                { return c.say("abort", nil) }

func TestCA(t *testing.T) {
	r := newRig(t)
	if code, body := r.get(t, "/api/ca"); code != http.StatusNotFound || !strings.Contains(body, "--ca") {
		t.Errorf("without an authority: %d %s", code, body)
	}
	ca := &commands{}
	r.cfg.CA = ca
	if code, body := r.get(t, "/api/ca"); code != http.StatusOK || !strings.Contains(body, `"signing": "abc"`) {
		t.Errorf("status: %d %s", code, body)
	}
	jsonType := "application/json; charset=utf-8"
	for _, test := range []struct {
		method, path, kind, body string
		origin                   string
		code                     int
		told                     string
	}{
		{"POST", "rotate", jsonType, `{"without":["n1","n2"]}`, "", 200, "rotate [n1 n2]"},
		{"POST", "rotate", jsonType, "", "", 200, "rotate []"},
		{"POST", "resume", jsonType, `{"without":["n1"]}`, "", 200, "resume [n1]"},
		{"POST", "pause", jsonType, "{}", "", 200, "pause []"},
		{"POST", "abort", jsonType, "{}", "", 200, "abort []"},
		{"POST", "abort", jsonType, `{"without":["n1"]}`, "", 400, ""},
		{"POST", "rotate", jsonType, `{"with":1}`, "", 400, ""},
		{"POST", "rotate", jsonType, strings.Repeat(" ", maxCommand+1) + "{}", "", 400, ""},
		{"POST", "explode", jsonType, "{}", "", 404, ""},
		{"GET", "rotate", jsonType, "{}", "", 405, ""},
		{"POST", "rotate", "", "{}", "", 415, ""},
		// What a page in a browser can send without asking first.
		{"POST", "rotate", "text/plain", "{}", "", 415, ""},
		{"POST", "rotate", "application/x-www-form-urlencoded", "without=n1", "", 415, ""},
		{"POST", "rotate", "multipart/form-data; boundary=x", "{}", "", 415, ""},
		{"POST", "rotate", jsonType, "{}", "http://evil.test", 403, ""},
	} {
		ca.told = nil
		req := httptest.NewRequest(test.method, "http://127.0.0.1/api/ca/"+test.path, strings.NewReader(test.body))
		if test.kind != "" {
			req.Header.Set("Content-Type", test.kind)
		}
		if test.origin != "" {
			req.Header.Set("Origin", test.origin)
		}
		w := httptest.NewRecorder()
		r.Handler().ServeHTTP(w, req)
		var want []string
		if test.told != "" {
			want = []string{test.told}
		}
		if w.Code != test.code || !slices.Equal(ca.told, want) {
			t.Errorf("%+v: %d %s, told %q", test, w.Code, w.Body, ca.told)
		}
	}
	server := httptest.NewServer(r.Handler())
	defer server.Close()
	client := NewClient(strings.TrimPrefix(server.URL, "http://"))
	if s, err := client.CACommand(t.Context(), "resume", CACommand{Without: []string{"n1"}}); err != nil || s.Signing != "abc" {
		t.Errorf("client: %+v, %v", s, err)
	}
	ca.err = errors.New("resume: the rotation is not paused")
	if _, err := client.CACommand(t.Context(), "resume", CACommand{}); err == nil || err.Error() != ca.err.Error() {
		t.Errorf("client: %v, want %v", err, ca.err)
	}
}
