package transport

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"fairlead.io/fairlead/pkg/ca"
	"fairlead.io/fairlead/pkg/ca/authn"
)

// What a method belongs to, by its beginning.
const (
	xdsService     = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
	barrierService = "/fairlead.barrier.v1.Barrier/"
	flowsService   = "/fairlead.observe.v1.Flows/"
	// observerService is for callers who are not of the mesh: it finds out by itself who they are, and says Known.
	observerService = "/observer.Observer/"
)

// authorityCall tells whether a method is one of the certificate authority's.
func authorityCall(method string) bool {
	return strings.HasPrefix(method, "/fairlead.ca.v1.") || strings.HasPrefix(method, "/istio.v1.auth.")
}

// proof is what has been found about the caller of a call to the authority.
type proof struct {
	caller *ca.Caller
	err    error
}

type proofKey struct{}

// Authenticator tells the authority what has been found about a caller, so that it is not found out twice.
func (t *Transport) Authenticator() authn.Authenticator { return proven{} }

type proven struct{}

// Authenticate implements authn.Authenticator.
func (proven) Authenticate(ctx context.Context) (*ca.Caller, error) {
	switch p, _ := ctx.Value(proofKey{}).(proof); {
	case p.err != nil:
		return nil, p.err
	case p.caller != nil:
		return p.caller, nil
	}
	return nil, status.Error(codes.Unauthenticated, "the call did not come by the TLS port")
}

// sessions are the streams that are open.
type sessions struct {
	mu   sync.Mutex // guards what follows
	open map[*session]struct{}
	of   map[string]int // streams by holder
}

// session is one stream and its credential.
type session struct {
	ctx    context.Context
	caller *ca.Caller
	holder string
	end    context.CancelCauseFunc
	conn   *conn // nil in a test without a gate
}

var (
	errExpires = errors.New("the credential ends: connect again with the renewed one")
	errRevoked = errors.New("the credential is not valid any more: connect again with another one")
)

// intercept lets a stream through when its caller is known and may call the method, and ends it with the credential.
func (t *Transport) intercept(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if strings.HasPrefix(info.FullMethod, observerService) {
		if err := t.cfg.Ready(); err != nil {
			return status.Error(codes.Unavailable, "this replica does not serve yet: "+err.Error())
		}
		return handler(srv, ss)
	}
	caller, err := t.admitCall(ss.Context(), info.FullMethod)
	if authorityCall(info.FullMethod) && status.Code(err) != codes.Unavailable {
		// The authority refuses by itself, and writes down whom: it is told what is known.
		return handler(srv, &stream{ss, context.WithValue(ss.Context(), proofKey{}, proof{caller, err})})
	}
	if err != nil {
		return err
	}
	s, err := t.begin(ss.Context(), caller)
	if err != nil {
		return err
	}
	defer t.finish(s)
	if caller.Method != ca.MTLS || s.conn == nil { // else the connection ends with the certificate
		timer := time.AfterFunc(t.remaining(caller.Expires), func() { t.cut(s, errExpires) })
		defer timer.Stop()
	}
	err = handler(srv, &stream{ss, s.ctx})
	switch cause := context.Cause(s.ctx); {
	case errors.Is(cause, errExpires):
		t.metrics.ended.WithLabelValues("expires").Inc()
		return status.Error(codes.Unavailable, errExpires.Error())
	case errors.Is(cause, errRevoked):
		t.metrics.ended.WithLabelValues("revoked").Inc()
		return status.Error(codes.Unavailable, errRevoked.Error())
	}
	return err
}

// admitCall proves who calls, and that the method is theirs.
func (t *Transport) admitCall(ctx context.Context, method string) (*ca.Caller, error) {
	if c := connOf(ctx); c != nil && c.closing.Load() {
		return nil, status.Error(codes.Unavailable, errExpires.Error())
	}
	if !strings.HasPrefix(method, barrierService) {
		if err := t.cfg.Ready(); err != nil { // nobody is known yet, and would be taken for gone
			return nil, status.Error(codes.Unavailable, "this replica does not serve yet: "+err.Error())
		}
	}
	caller, err := t.cfg.Authn.Authenticate(ctx)
	if err != nil {
		if c := connOf(ctx); c != nil && c.end.Load() != nil && status.Code(err) == codes.Unauthenticated {
			t.close(c) // its certificate is the same for every call: another one needs another connection
		}
		return nil, err
	}
	if caller == nil || caller.Method == ca.Local {
		return nil, status.Error(codes.Unauthenticated, "nobody is let in without a credential")
	}
	if c := connOf(ctx); c != nil {
		c.known()
	}
	if !allowed(caller.Kind, method) {
		t.metrics.denied.WithLabelValues("method").Inc()
		return nil, status.Errorf(codes.PermissionDenied, "%s is not for the identity of a %s", strings.TrimPrefix(method, "/"), caller.Kind)
	}
	return caller, nil
}

// allowed is who may call what. The authority decides for itself what it signs for whom.
func allowed(kind ca.Kind, method string) bool {
	switch {
	case strings.HasPrefix(method, xdsService):
		return kind == ca.Node || kind == ca.Workload
	case strings.HasPrefix(method, barrierService), method == flowsService+"Gather":
		return kind == ca.Replica
	case strings.HasPrefix(method, flowsService):
		return kind == ca.Node
	}
	return true
}

// begin counts a stream.
func (t *Transport) begin(ctx context.Context, caller *ca.Caller) (*session, error) {
	holder, limit := caller.ID.String(), t.cfg.Calls
	if caller.Kind == ca.Node {
		holder, limit = "node "+caller.Node.Name, t.cfg.Streams
	}
	t.sessions.mu.Lock()
	defer t.sessions.mu.Unlock()
	if t.sessions.of[holder] >= limit {
		t.metrics.denied.WithLabelValues("streams").Inc()
		return nil, status.Errorf(codes.ResourceExhausted, "there are %d streams of this identity already", limit)
	}
	ctx, end := context.WithCancelCause(authn.With(ctx, caller))
	s := &session{ctx: ctx, caller: caller, holder: holder, end: end, conn: connOf(ctx)}
	t.sessions.of[holder]++
	t.sessions.open[s] = struct{}{}
	return s, nil
}

// expire ends a connection, and the streams on it, with its certificate. A client would open its next stream on the same
// connection, with the certificate of the handshake, for as long as the connection is there.
func (t *Transport) expire(c *conn, why error) {
	t.sessions.mu.Lock()
	for s := range t.sessions.open {
		if s.conn == c && s.caller.Method == ca.MTLS {
			s.end(why)
		}
	}
	t.sessions.mu.Unlock()
	t.close(c)
}

// close closes a connection when the answers under way have gone out.
func (t *Transport) close(c *conn) {
	if c.closing.CompareAndSwap(false, true) {
		time.AfterFunc(lastWords, func() { _ = c.Close() })
	}
}

// lastWords is how long the end of a stream may take to its client.
const lastWords = 100 * time.Millisecond

// cut ends a stream. One whose client does not read would stay in the middle of a message, so its connection is closed then.
func (t *Transport) cut(s *session, why error) {
	s.end(why)
	time.AfterFunc(linger, func() {
		t.sessions.mu.Lock()
		_, open := t.sessions.open[s]
		t.sessions.mu.Unlock()
		if open && s.conn != nil {
			_ = s.conn.Close()
		}
	})
}

// linger is how long a stream may take to end.
const linger = 5 * time.Second

// Known says that it is known who makes a call, so that its connection is not closed as a stranger's.
func Known(ctx context.Context) {
	if c := connOf(ctx); c != nil {
		c.known()
	}
}

// connOf is the connection of a call.
func connOf(ctx context.Context) *conn {
	if p, ok := peer.FromContext(ctx); ok {
		if a, ok := p.Addr.(address); ok {
			return a.conn
		}
	}
	return nil
}

func (t *Transport) finish(s *session) {
	s.end(nil)
	t.sessions.mu.Lock()
	defer t.sessions.mu.Unlock()
	delete(t.sessions.open, s)
	if t.sessions.of[s.holder]--; t.sessions.of[s.holder] == 0 {
		delete(t.sessions.of, s.holder)
	}
}

// remaining is how long a stream or a connection may last: a little less than its credential, and not as long for all that began together.
func (t *Transport) remaining(until time.Time) time.Duration {
	left := until.Sub(t.cfg.Now())
	margin := min(left/6, 5*time.Minute)
	if margin <= 0 {
		return max(left, 0)
	}
	return left - margin/4 - rand.N(margin*3/4+1)
}

// review ends the streams whose credentials do not count any more.
func (t *Transport) review() {
	t.sessions.mu.Lock()
	list := make([]*session, 0, len(t.sessions.open))
	for s := range t.sessions.open {
		list = append(list, s)
	}
	t.sessions.mu.Unlock()
	for _, s := range list {
		if !t.stands(s) {
			t.cfg.Log.Info("ended a stream with its credential", "identity", s.caller.ID.String(), "node", s.caller.Node.Name)
			t.cut(s, errRevoked)
			if s.caller.Method == ca.MTLS && s.conn != nil {
				t.expire(s.conn, errRevoked)
			}
		}
	}
}

// stands tells whether a credential still counts. A certificate is verified again: its root may be gone. A token was proved
// once, and its cached proof may have to be fetched again, so only what it is bound to is looked at.
func (t *Transport) stands(s *session) bool {
	c := s.caller
	if c.Method == ca.MTLS {
		_, err := t.cfg.Authn.Authenticate(s.ctx)
		switch status.Code(err) {
		case codes.Unauthenticated, codes.PermissionDenied:
			return false
		}
		return true
	}
	if c.Pod != nil {
		p, ok := t.cfg.Directory.Pod(c.Pod.Namespace, c.Pod.Name)
		if !ok || p.UID != c.Pod.UID {
			return false
		}
	}
	if c.Kind == ca.Node {
		uid, ok := t.cfg.Directory.Node(c.Node.Name)
		return ok && uid == c.Node.UID
	}
	return true
}

// stream is a stream with the caller, and the end of the credential, in its context.
type stream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context implements grpc.ServerStream.
func (s *stream) Context() context.Context { return s.ctx }
