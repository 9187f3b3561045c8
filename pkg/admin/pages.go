package admin

import (
	"net/http"
	"slices"
	"strings"

	"fairlead.io/fairlead/pkg/barrier"
	"fairlead.io/fairlead/pkg/push"
	"fairlead.io/fairlead/pkg/report"
	"fairlead.io/fairlead/pkg/table"
)

const index = `fairlead admin
/healthz                     the process answers
/readyz                      the source is read and nodes are served
/metrics                     Prometheus
/api/version                 of this build
/api/clients                 connected Envoys: versions, acknowledgements, rejections
/api/config/NODE/KIND        what a node has; KIND is clusters, listeners, routes, endpoints, secrets or scopes
/api/status                  conditions of every object, problems of files
/api/wait?kind=K&name=N      until the object is acknowledged: one JSON a line; namespace, group, uid, generation, timeout
/api/explain?from=A&to=B     what L3/L4 policy makes of a connection: pod/ns/name, node/name or an address, B with :port; protocol
/debug/tables                rows, dependencies and time of every table
/debug/why?table=T&key=K     what a row read and why it was last made
/debug/dump?table=T          rows of a table
/debug/pprof/                profiles
`

func (s *Server) index(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(index)) }

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) }

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	if s.draining.Load() {
		fail(w, http.StatusServiceUnavailable, "shutting down")
		return
	}
	if err := s.cfg.Ready(); err != nil {
		fail(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	_, _ = w.Write([]byte("ready\n"))
}

// Version is the answer of /api/version.
type Version struct {
	Version string `json:"version"`
}

func (s *Server) version(w http.ResponseWriter, _ *http.Request) { answer(w, Version{s.cfg.Version}) }

// Clients is the answer of /api/clients.
type Clients struct {
	Clients []push.ClientInfo `json:"clients"`
	// Absent are the nodes that are connected to no replica, or are not up to date again, and so do not count.
	Absent []barrier.Absent `json:"absent"`
}

func (s *Server) clients(w http.ResponseWriter, _ *http.Request) {
	list := s.cfg.Clients()
	if list == nil {
		list = []push.ClientInfo{}
	}
	absent := s.cfg.Barrier.Absent()
	if absent == nil {
		absent = []barrier.Absent{}
	}
	answer(w, Clients{list, absent})
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	page := s.cfg.Status()
	if page.Objects == nil {
		page.Objects = []report.Object{}
	}
	answer(w, page)
}

// Tables is the answer of /debug/tables.
type Tables struct {
	Passes   table.PassStat    `json:"passes"`
	Waiting  int               `json:"waiting"` // writes that no pass has taken yet
	Seq      uint64            `json:"seq"`     // of the latest snapshot
	Position uint64            `json:"position"`
	Tables   []table.TableStat `json:"tables"`
}

func (s *Server) tables(w http.ResponseWriter, _ *http.Request) {
	snap := s.cfg.Engine.Snapshot()
	answer(w, Tables{s.cfg.Engine.PassStats(), s.cfg.Engine.Waiting(), snap.Seq, snap.Position, s.cfg.Engine.Stats()})
}

func (s *Server) why(w http.ResponseWriter, r *http.Request) {
	name, key := r.URL.Query().Get("table"), r.URL.Query().Get("key")
	info, ok := s.cfg.Engine.Why(name, key)
	if !ok {
		if !slices.Contains(s.names(), name) {
			fail(w, http.StatusNotFound, "no table is called "+name+"; there are: "+strings.Join(s.names(), ", "))
			return
		}
		fail(w, http.StatusNotFound, "table "+name+" has never been asked for "+key+"; see /debug/dump?table="+name+" for its keys (a source table has no reads)")
		return
	}
	answer(w, info)
}

func (s *Server) names() []string {
	var names []string
	for _, t := range s.cfg.Engine.Stats() {
		names = append(names, t.Name)
	}
	return names
}

func (s *Server) dump(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("table")
	rows, ok := s.cfg.Engine.Dump(name)
	if !ok {
		fail(w, http.StatusNotFound, "no table is called "+name+"; there are: "+strings.Join(s.names(), ", "))
		return
	}
	type row struct {
		Key   string `json:"key"`
		Value any    `json:"value"`
	}
	out := make([]row, len(rows))
	for i, v := range rows {
		out[i] = row{v.Key, Plain(v.Value)}
	}
	answer(w, out)
}
