// Package show prints flows for people and for programs. See package filter for where flows come from.
package show

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"fairlead.io/fairlead/api/observe/flow"
	"fairlead.io/fairlead/api/observe/observer"
	"fairlead.io/fairlead/api/observe/relay"
	"fairlead.io/fairlead/pkg/observe/filter"
)

// Format is how flows are printed.
type Format string

// The formats. JSON is an object a line, as of `hubble observe -o json`.
const (
	Table   Format = "table"
	Compact Format = "compact"
	JSON    Format = "json"
)

// Formats are all of them.
func Formats() []Format { return []Format{Table, Compact, JSON} }

// Printer prints the answers of an observer.
type Printer struct {
	format Format
	out    io.Writer
	notes  io.Writer // of what is no flow, where it would disturb
	tabs   *tabwriter.Writer
	zone   *time.Location
	head   bool // has been printed
}

// New gives a Printer; notes is where it says what nodes are there and what was lost. Times are in zone; nil is the local one.
func New(format Format, out, notes io.Writer, zone *time.Location) *Printer {
	if zone == nil {
		zone = time.Local
	}
	return &Printer{format: format, out: out, notes: notes, tabs: tabwriter.NewWriter(out, 0, 0, 2, ' ', 0), zone: zone}
}

// Close prints what waits for its columns to be known.
func (p *Printer) Close() error { return p.tabs.Flush() }

// Print prints an answer.
func (p *Printer) Print(m *observer.GetFlowsResponse) error {
	if p.format == JSON {
		return p.json(m)
	}
	switch {
	case m.GetLostEvents() != nil:
		_, err := fmt.Fprintf(p.notes, "%s: %d events of node %s were lost %s\n",
			p.time(m), m.GetLostEvents().GetNumEventsLost(), clean(m.GetNodeName()), where(m.GetLostEvents().GetSource()))
		return err
	case m.GetNodeStatus() != nil:
		return p.status(m.GetNodeStatus())
	case m.GetFlow() == nil:
		return nil
	case p.format == Compact:
		return p.compact(m)
	}
	return p.row(m)
}

func (p *Printer) json(m *observer.GetFlowsResponse) error {
	raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return fmt.Errorf("print flow: %w", err)
	}
	var line bytes.Buffer // protojson puts spaces where nobody shall rely on them
	if err := json.Compact(&line, raw); err != nil {
		return fmt.Errorf("print flow: %w", err)
	}
	line.WriteByte('\n')
	_, err = p.out.Write(line.Bytes())
	return err
}

// status names the nodes that give no flows: of those that do there is nothing to say.
func (p *Printer) status(s *relay.NodeStatusEvent) error {
	if s.GetStateChange() == relay.NodeState_NODE_CONNECTED {
		return nil
	}
	text := fmt.Sprintf("%s: %s", strings.ToLower(strings.TrimPrefix(s.GetStateChange().String(), "NODE_")), clean(strings.Join(s.GetNodeNames(), ", ")))
	if s.GetMessage() != "" {
		text += ": " + clean(s.GetMessage())
	}
	_, err := fmt.Fprintln(p.notes, text)
	return err
}

func (p *Printer) row(m *observer.GetFlowsResponse) error {
	if !p.head {
		p.head = true
		fmt.Fprintln(p.tabs, "TIME\tNODE\tSOURCE\tDESTINATION\tDIRECTION\tVERDICT\tPOLICY\tSUMMARY")
	}
	f := m.GetFlow()
	source, destination := Ends(f)
	_, err := fmt.Fprintln(p.tabs, strings.Join([]string{
		p.time(m), orDash(clean(m.GetNodeName())), clean(source), clean(destination), strings.ToLower(f.GetTrafficDirection().String()),
		verdict(f), orDash(clean(Policies(f))), orDash(clean(f.GetSummary())),
	}, "\t"))
	return err
}

// compact prints one line: when, between whom, what was decided, by which policies, and what is behind it.
func (p *Printer) compact(m *observer.GetFlowsResponse) error {
	f := m.GetFlow()
	source, destination := Ends(f)
	arrow := "->"
	if f.GetIsReply().GetValue() {
		source, destination, arrow = destination, source, "<-"
	}
	by := Policies(f)
	if by != "" {
		by = " by " + by
	}
	_, err := fmt.Fprintf(p.out, "%s: %s %s %s %s %s%s (%s)\n", p.time(m), clean(source), arrow, clean(destination),
		strings.ToLower(f.GetTrafficDirection().String()), verdict(f), clean(by), clean(f.GetSummary()))
	return err
}

func (p *Printer) time(m *observer.GetFlowsResponse) string {
	if !m.GetTime().IsValid() {
		return "-"
	}
	return m.GetTime().AsTime().In(p.zone).Format("Jan _2 15:04:05.000")
}

// verdict is the verdict, and why something was dropped: "DROPPED POLICY_DENIED".
func verdict(f *flow.Flow) string {
	s := f.GetVerdict().String()
	if r := f.GetDropReasonDesc(); r != flow.DropReason_DROP_REASON_UNKNOWN {
		s += " " + r.String()
	}
	if f.GetEventType().GetType() == 4 && f.GetTraceReason() == flow.TraceReason_ESTABLISHED {
		s += " (closed)"
	}
	return s
}

// Ends are both sides of a flow, with their ports: "shop/db-0:5432", "world 8.8.8.8:53".
func Ends(f *flow.Flow) (source, destination string) {
	s, d, ok := filter.Ports(f)
	if !ok {
		return end(f.GetSource(), f.GetIP().GetSource(), -1), end(f.GetDestination(), f.GetIP().GetDestination(), -1)
	}
	return end(f.GetSource(), f.GetIP().GetSource(), int(s)), end(f.GetDestination(), f.GetIP().GetDestination(), int(d))
}

func end(e *flow.Endpoint, address string, port int) string {
	at := address
	if port >= 0 {
		at = net.JoinHostPort(address, strconv.Itoa(port))
	}
	switch {
	case e.GetPodName() != "":
		at = e.GetNamespace() + "/" + e.GetPodName()
		if port >= 0 {
			at += ":" + strconv.Itoa(port)
		}
		return at
	case e.GetNamespace() != "": // the rest is hidden, or not known any more
		return e.GetNamespace() + " " + at
	}
	for _, l := range e.GetLabels() {
		if kind, ok := strings.CutPrefix(l, "reserved:"); ok {
			return kind + " " + at
		}
	}
	return at
}

// Policies are the rules that have decided: of what passes, those that allow it; of what does not, those that deny it.
func Policies(f *flow.Flow) string {
	if len(f.GetPolicyLog()) > 0 {
		return strings.Join(f.GetPolicyLog(), ", ")
	}
	var names []string
	for _, list := range [][]*flow.Policy{f.GetEgressDeniedBy(), f.GetIngressDeniedBy(), f.GetEgressAllowedBy(), f.GetIngressAllowedBy()} {
		for _, p := range list {
			name := p.GetName()
			if p.GetNamespace() != "" {
				name = p.GetNamespace() + "/" + name
			}
			names = append(names, strings.TrimSpace(p.GetKind()+" "+name))
		}
	}
	return strings.Join(names, ", ")
}

func where(s flow.LostEventSource) string {
	switch s {
	case flow.LostEventSource_PERF_EVENT_RING_BUFFER:
		return "in the kernel: its ring buffer was full"
	case flow.LostEventSource_HUBBLE_RING_BUFFER:
		return "before they could be sent: they came faster than they were read"
	}
	return "on the way"
}

// clean keeps what a terminal would obey out of what others have written.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
