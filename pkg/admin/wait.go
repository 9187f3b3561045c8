package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"fairlead.io/fairlead/pkg/barrier"
)

// maxWait bounds how long a request may wait.
const maxWait = 24 * time.Hour

// wait answers with one barrier.Answer a line: how it stands whenever that has changed, and at last how it has ended.
func (s *Server) wait(w http.ResponseWriter, r *http.Request) {
	q, timeout, err := query(r.URL.Query())
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc, flush := json.NewEncoder(w), http.NewResponseController(w)
	tell := func(a barrier.Answer) {
		_ = enc.Encode(a) // when the client has gone, ctx ends
		_ = flush.Flush()
	}
	_ = enc.Encode(s.cfg.Barrier.Wait(ctx, q, tell))
}

// query reads what is waited for.
func query(v url.Values) (q barrier.Query, timeout time.Duration, err error) {
	q = barrier.Query{Group: v.Get("group"), Kind: v.Get("kind"), Namespace: v.Get("namespace"), Name: v.Get("name"), UID: v.Get("uid")}
	if q.Kind == "" || q.Name == "" {
		return q, 0, errors.New("kind and name are required")
	}
	if g := v.Get("generation"); g != "" && g != "latest" {
		if q.Generation, err = strconv.ParseInt(g, 10, 64); err != nil || q.Generation < 1 {
			return q, 0, fmt.Errorf("generation %q is neither a number from 1 nor latest", g)
		}
	}
	if timeout = time.Minute; v.Get("timeout") != "" {
		if timeout, err = time.ParseDuration(v.Get("timeout")); err != nil || timeout <= 0 || timeout > maxWait {
			return q, 0, fmt.Errorf("timeout %q is not a duration up to %s, such as 60s", v.Get("timeout"), maxWait)
		}
	}
	return q, timeout, nil
}

// Wait blocks until the server's answer is final. tell, which may be nil, is called with those before.
func (c *Client) Wait(ctx context.Context, q barrier.Query, timeout time.Duration, tell func(barrier.Answer)) (last barrier.Answer, err error) {
	v := url.Values{"kind": {q.Kind}, "name": {q.Name}, "timeout": {timeout.String()}}
	for key, value := range map[string]string{"group": q.Group, "namespace": q.Namespace, "uid": q.UID} {
		if value != "" {
			v.Set(key, value)
		}
	}
	if q.Generation > 0 {
		v.Set("generation", strconv.FormatInt(q.Generation, 10))
	}
	// The server ends the wait in time; one that has died without a word must not keep us.
	ctx, cancel := context.WithTimeout(ctx, timeout+10*time.Second)
	defer cancel()
	body, err := c.open(ctx, "/api/wait?"+v.Encode(), &http.Client{Transport: c.http.Transport})
	if err != nil {
		return last, err
	}
	defer body.Close()
	dec := json.NewDecoder(bufio.NewReader(body))
	for {
		var a barrier.Answer
		switch err := dec.Decode(&a); {
		case errors.Is(err, io.EOF) && last.Outcome == "", errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF) && last.Outcome == barrier.Waiting:
			return last, errors.New("the server has gone while it was asked; run this again")
		case errors.Is(err, io.EOF):
			return last, nil
		case err != nil:
			return last, fmt.Errorf("read the server's answer: %w", err)
		}
		if last = a; tell != nil && a.Outcome == barrier.Waiting {
			tell(a)
		}
	}
}
