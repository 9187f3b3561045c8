package ledger

import (
	"encoding/json"
	"net/http"
)

// Page is what the handler answers with.
type Page struct {
	Certificates []Entry `json:"certificates"`
}

// Handler serves a Page as JSON, for GET /api/certificates of the admin interface: names and times, never a key. The query
// identity=… narrows it to one identity.
func (l *Ledger) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page := Page{Certificates: []Entry{}}
		only := r.URL.Query().Get("identity")
		for _, e := range l.List() {
			if only == "" || only == e.Identity {
				page.Certificates = append(page.Certificates, e)
			}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(page) // it is gone who does not read it
	})
}
