package ledger

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
)

// clock is a time that a test moves.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func entry(id string, c *clock, life time.Duration) Entry {
	return Entry{Identity: id, Serial: "0" + id, NotBefore: c.now, NotAfter: c.now.Add(life), Authority: "g1"}
}

func TestOnlyWhatIsValid(t *testing.T) {
	c := &clock{time.Unix(1_700_000_000, 0)}
	l := New(0, c.Now)
	l.Add(entry("b", c, time.Hour))
	l.Add(entry("a", c, 2*time.Hour))
	l.Add(entry("b", c, time.Minute))
	list := l.List()
	if len(list) != 3 || list[0].Identity != "a" || list[1].NotAfter.After(list[2].NotAfter) {
		t.Errorf("%+v", list)
	}
	c.now = c.now.Add(time.Hour)
	if list := l.List(); len(list) != 1 || list[0].Identity != "a" {
		t.Errorf("after an hour: %+v", list)
	}
}

func TestLimit(t *testing.T) {
	c := &clock{time.Unix(1_700_000_000, 0)}
	l := New(100, c.Now)
	for i := range 1000 {
		l.Add(entry(fmt.Sprint(i), c, time.Hour))
		if n := len(l.entries); n > 100 {
			t.Fatalf("%d entries", n)
		}
	}
	list := l.List()
	if len(list)+int(l.dropped) != 1000 || len(list) < 80 { //nolint:gosec // few
		t.Errorf("%d entries, %d dropped", len(list), l.dropped)
	}
	for _, e := range list {
		if e.Identity == "0" {
			t.Error("the oldest is there")
		}
	}
	c.now = c.now.Add(2 * time.Hour)
	for i := range 99 {
		l.Add(entry(fmt.Sprint(i), c, time.Hour))
	}
	if n := len(l.List()); n != 99 {
		t.Errorf("%d entries after the old ones had ended; want the 99 of now", n)
	}
}

func TestMetricsAndPage(t *testing.T) {
	c := &clock{time.Unix(1_700_000_000, 0)}
	l := New(0, c.Now)
	l.Add(entry("a", c, 30*time.Second))
	l.Add(entry("b", c, 2*time.Hour))
	c.now = c.now.Add(10 * time.Second)
	want := `# HELP fairlead_ca_ledger_dropped_total Valid certificates that the ledger had no room for.
# TYPE fairlead_ca_ledger_dropped_total counter
fairlead_ca_ledger_dropped_total 0
`
	if err := testutil.CollectAndCompare(l, strings.NewReader(want), "fairlead_ca_ledger_dropped_total"); err != nil {
		t.Error(err)
	}
	text, err := testutil.CollectAndFormat(l, expfmt.TypeTextPlain, "fairlead_ca_certificate_expiry_seconds")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{`_bucket{le="60"} 1`, `_bucket{le="3600"} 1`, `_bucket{le="10800"} 2`, "_count 2", "_sum 7210"} {
		if !strings.Contains(string(text), line) {
			t.Errorf("%q is missing in\n%s", line, text)
		}
	}
	w := httptest.NewRecorder()
	l.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/api/certificates?identity=b", nil))
	var p Page
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || len(p.Certificates) != 1 || p.Certificates[0].Serial != "0b" {
		t.Errorf("%v: %s", err, w.Body)
	}
}

func BenchmarkAdd(b *testing.B) {
	c := &clock{time.Now()}
	l := New(40_000, c.Now)
	e := entry("a", c, time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		l.Add(e)
	}
}
