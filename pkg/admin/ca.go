package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"

	"fairlead.io/fairlead/pkg/ca/rotate"
)

// CA is what the admin interface asks of the rotation (*rotate.Machine). No answer of it holds a private key.
type CA interface {
	Status() rotate.Status
	Rotate(ctx context.Context, without []string) error
	Pause(ctx context.Context) error
	Resume(ctx context.Context, without []string) error
	Abort(ctx context.Context) error
}

// CACommand is the body of a command: the nodes that are not waited for, of rotate and resume.
type CACommand struct {
	Without []string `json:"without,omitempty"`
}

// maxCommand bounds the body of a command in bytes.
const maxCommand = 1 << 20

const noCA = "this server is no certificate authority: start it with --ca"

func (s *Server) ca(w http.ResponseWriter, _ *http.Request) {
	if s.cfg.CA == nil {
		fail(w, http.StatusNotFound, noCA)
		return
	}
	answer(w, s.cfg.CA.Status())
}

// caCommand changes something, and answers how things stand then. A content type that no form of a web page can have is
// required, beside what onlyLocal refuses.
func (s *Server) caCommand(w http.ResponseWriter, r *http.Request) {
	if s.cfg.CA == nil {
		fail(w, http.StatusNotFound, noCA)
		return
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		fail(w, http.StatusUnsupportedMediaType, "a command needs the header Content-Type: application/json")
		return
	}
	var c CACommand
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxCommand))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil && !errors.Is(err, io.EOF) {
		fail(w, http.StatusBadRequest, "read command: "+err.Error())
		return
	}
	var err error
	switch command := r.PathValue("command"); command {
	case "rotate":
		err = s.cfg.CA.Rotate(r.Context(), c.Without)
	case "resume":
		err = s.cfg.CA.Resume(r.Context(), c.Without)
	case "pause", "abort":
		if len(c.Without) > 0 {
			fail(w, http.StatusBadRequest, command+" takes no nodes")
			return
		}
		if command == "pause" {
			err = s.cfg.CA.Pause(r.Context())
		} else {
			err = s.cfg.CA.Abort(r.Context())
		}
	default:
		fail(w, http.StatusNotFound, "command "+command+" is none of rotate, pause, resume, abort")
		return
	}
	if err != nil {
		fail(w, http.StatusConflict, err.Error())
		return
	}
	answer(w, s.cfg.CA.Status())
}

// CA is how the authorities and a rotation stand.
func (c *Client) CA(ctx context.Context) (rotate.Status, error) {
	return get[rotate.Status](ctx, c, "/api/ca")
}

// CACommand gives a command (rotate, pause, resume or abort), and gets how things stand then.
func (c *Client) CACommand(ctx context.Context, command string, body CACommand) (out rotate.Status, err error) {
	data, err := json.Marshal(body)
	if err != nil {
		return out, fmt.Errorf("ask server: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/api/ca/"+command, bytes.NewReader(data))
	if err != nil {
		return out, fmt.Errorf("ask server: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := c.do(req, c.http)
	if err != nil {
		return out, err
	}
	defer res.Close()
	if err := json.NewDecoder(res).Decode(&out); err != nil {
		return out, fmt.Errorf("read the server's answer to %s: %w", command, err)
	}
	return out, nil
}
