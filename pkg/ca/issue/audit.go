package issue

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/grpc/peer"

	"fairlead.io/fairlead/pkg/ca"
)

// record is one decision as it is written down. It holds neither tokens nor requests nor keys.
type record struct {
	method string // "x509", "jwt", "istio"
	peer   string
	caller *ca.Caller // nil while it is not known
	// asked is for whom, in the caller's words; identity is what was decided to be signed.
	asked, identity             string
	serial, authority, audience string
	notAfter                    time.Time
}

func newRecord(ctx context.Context, method string) *record {
	r := &record{method: method}
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		r.peer = p.Addr.String()
	}
	return r
}

// allow writes a decision for the caller down.
func (s *Service) allow(ctx context.Context, r *record) {
	s.cfg.Log.LogAttrs(ctx, slog.LevelInfo, "identity issued", r.group("allowed", nil))
}

// refuse writes a decision against the caller down, and counts it.
func (s *Service) refuse(ctx context.Context, r *record, f *refusal) {
	s.metrics.failures.WithLabelValues(string(f.reason)).Inc()
	if f.written {
		return
	}
	s.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "identity refused", r.group("refused", f))
}

func (r *record) group(decision string, f *refusal) slog.Attr {
	attrs := make([]slog.Attr, 0, 16)
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	add("decision", decision)
	add("method", r.method)
	add("peer", r.peer)
	if c := r.caller; c != nil {
		add("caller", c.ID.String())
		add("kind", string(c.Kind))
		add("proof", string(c.Method))
		if c.Pod != nil {
			add("caller_pod", c.Pod.Namespace+"/"+c.Pod.Name+"/"+c.Pod.UID)
		}
		add("caller_node", c.Node.Name)
	}
	add("asked", r.asked)
	add("identity", r.identity)
	add("audience", r.audience)
	add("serial", r.serial)
	if !r.notAfter.IsZero() {
		attrs = append(attrs, slog.Time("not_after", r.notAfter))
	}
	add("authority", r.authority)
	if f != nil {
		add("reason", string(f.reason))
		add("detail", f.detail)
	}
	return slog.Attr{Key: "audit", Value: slog.GroupValue(attrs...)}
}
