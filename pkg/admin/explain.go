package admin

import (
	"context"
	"net/http"
	"net/url"

	"fairlead.io/fairlead/pkg/explain"
)

// explain answers what L3/L4 policy makes of a connection: ?from=pod/a/b&to=pod/c/d:80&protocol=tcp.
func (s *Server) explain(w http.ResponseWriter, r *http.Request) {
	v := r.URL.Query()
	q, err := explain.ParseQuery(v.Get("from"), v.Get("to"), v.Get("protocol"))
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	latest := s.cfg.Source.Latest()
	if latest == nil {
		fail(w, http.StatusServiceUnavailable, "the first snapshot is being computed; try again")
		return
	}
	a, err := explain.Explain(latest, q)
	if err != nil {
		fail(w, http.StatusNotFound, err.Error())
		return
	}
	answer(w, a)
}

// Explain asks what L3/L4 policy makes of a connection; see explain.ParseQuery.
func (c *Client) Explain(ctx context.Context, from, to, protocol string) (explain.Answer, error) {
	v := url.Values{"from": {from}, "to": {to}, "protocol": {protocol}}
	return get[explain.Answer](ctx, c, "/api/explain?"+v.Encode())
}
