package admin

import (
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"fairlead.io/fairlead/pkg/push"
)

// collector reads the tables and the clients when Prometheus asks.
type collector struct {
	engine  Engine
	clients func() []push.ClientInfo
	version string
}

// NewCollector gives the metrics of the tables (pass time, queue, sizes) and of each client (versions, how far behind).
func NewCollector(e Engine, clients func() []push.ClientInfo, version string) prometheus.Collector {
	return &collector{e, clients, version}
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("fairlead_"+name, help, labels, nil)
}

var (
	buildInfo     = desc("build_info", "Always 1; the version is a label.", "version")
	passes        = desc("passes_total", "Passes over the tables.")
	passSeconds   = desc("pass_seconds_total", "Time spent in passes.")
	passLast      = desc("pass_last_seconds", "Time of the last pass.")
	interruptions = desc("pass_interruptions_total", "Long passes that gave way to a waiting endpoint change.")
	queueWrites   = desc("queue_writes", "Writes from sources that no pass has taken yet.")
	snapshotSeq   = desc("snapshot_seq", "Number of the latest snapshot.")
	snapshotPos   = desc("snapshot_position", "Watch position of the latest snapshot.")

	tableRows    = desc("table_rows", "Rows of a table.", "table")
	tableDeps    = desc("table_dependencies", "Reads that are recorded for the rows of a table.", "table")
	tableRuns    = desc("table_runs_total", "Rows of a table that were computed.", "table")
	tableSeconds = desc("table_seconds_total", "Time spent in the function of a table.", "table")
	tablePanics  = desc("table_panics_total", "Panics of the function of a table; the row before was kept.", "table")

	clientBehind    = desc("xds_client_behind", "Snapshots that a client is behind the latest.", "node")
	clientResources = desc("xds_client_resources", "Resources that a client has, by type.", "node", "type")
	clientPending   = desc("xds_client_pending", "Names that a client has yet to be told of, by type.", "node", "type")
	clientNacks     = desc("xds_client_nacks_total", "Responses that a client rejected on its present stream, by type.", "node", "type")
)

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		buildInfo, passes, passSeconds, passLast, interruptions, queueWrites, snapshotSeq, snapshotPos, tableRows, tableDeps,
		tableRuns, tableSeconds, tablePanics, clientBehind, clientResources, clientPending, clientNacks,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	p, snap := c.engine.PassStats(), c.engine.Snapshot()
	gauge(buildInfo, 1, c.version)
	count(passes, float64(p.Passes))
	count(passSeconds, p.Total.Seconds())
	gauge(passLast, p.Last.Seconds())
	count(interruptions, float64(p.Interruptions))
	gauge(queueWrites, float64(c.engine.Waiting()))
	gauge(snapshotSeq, float64(snap.Seq))
	gauge(snapshotPos, float64(snap.Position))
	for _, t := range c.engine.Stats() {
		gauge(tableRows, float64(t.Rows), t.Name)
		if t.Kind == "derived" {
			gauge(tableDeps, float64(t.Dependencies), t.Name)
			count(tableRuns, float64(t.Runs), t.Name)
			count(tableSeconds, t.Time.Seconds(), t.Name)
			count(tablePanics, float64(t.Panics), t.Name)
		}
	}
	for node, info := range newest(c.clients()) {
		node = strings.ToValidUTF8(node, "�")
		gauge(clientBehind, float64(info.Latest-min(info.Settled, info.Latest)), node)
		for _, t := range known(info.Types) {
			short := push.ShortType(t.Type)
			gauge(clientResources, float64(t.Resources), node, short)
			gauge(clientPending, float64(t.Pending), node, short)
			count(clientNacks, float64(t.Nacks), node, short)
		}
	}
}

// newest leaves one connection of each node: the last.
func newest(list []push.ClientInfo) map[string]push.ClientInfo {
	out := map[string]push.ClientInfo{}
	for _, c := range list {
		out[c.Node.ID] = c
	}
	return out
}

// known leaves out types that a stranger made up: their names must not become labels.
func known(types []push.TypeInfo) (out []push.TypeInfo) {
	for _, t := range types {
		for _, urls := range Kinds {
			if slices.Contains(urls, t.Type) {
				out = append(out, t)
			}
		}
	}
	return out
}
