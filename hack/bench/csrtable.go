package main

import (
	"fmt"
	"strings"
)

// promisedHerd is the size that the promises of a herd are for.
const promisedHerd = 2000

// csrRow is one figure of how CSRs are answered.
type csrRow struct {
	what, unit string
	of         func(Signing) float64
	more       bool    // is better
	alone      bool    // is not of the servers, and not compared
	atMost     float64 // for Fairlead, in each way; 0 promises nothing
}

func csrRows() []csrRow {
	open := fmt.Sprintf("%d/s asked, ", csrRate)
	return []csrRow{
		{what: fmt.Sprintf("%d callers, certificates a second", csrCallers), of: func(s Signing) float64 { return s.PerSecond }, more: true},
		{what: "CPU a certificate", unit: "µs", of: func(s Signing) float64 { return s.CPU }, atMost: 250},
		{what: "of a signature and a verification meanwhile", unit: "µs", of: func(s Signing) float64 { return s.Signature }, alone: true},
		{what: "CPU in such pairs", unit: "×", of: func(s Signing) float64 { return s.CPU / s.Signature }},
		{what: "CPU of the API server", unit: "µs", of: func(s Signing) float64 { return s.APICPU }},
		{what: "CPU of the callers", unit: "µs", of: func(s Signing) float64 { return s.ClientCPU }},
		{what: open + "p50", unit: "ms", of: func(s Signing) float64 { return s.P50 }},
		{what: open + "p99", unit: "ms", of: func(s Signing) float64 { return s.P99 }, atMost: 10},
		{what: open + "last", unit: "ms", of: func(s Signing) float64 { return s.Last }},
		{what: open + "failed", of: func(s Signing) float64 { return float64(s.Failed) }},
	}
}

// csrTable is how CSRs are answered, as cells; the first line is the heading.
func csrTable(c *CSR) [][]string {
	out := [][]string{{
		"", "istiod", "istiod unlimited", "Fairlead, Istio's API", "ratio to unlimited", "SignX509", fmt.Sprintf("SignX509, %d a call", podsOfNode), "goal", "verdict",
	}}
	for _, row := range csrRows() {
		cell := func(s *Signing) string {
			switch {
			case s == nil:
				return ""
			case row.unit == "×":
				return fmt.Sprintf("%.2f×", row.of(*s))
			case row.unit == "":
				return fmt.Sprintf("%.0f", row.of(*s))
			}
			return number(row.of(*s), row.unit)
		}
		line := []string{row.what, cell(c.Istiod), cell(c.Unlimited), cell(c.ByIstio), row.ratio(c), cell(c.Single), cell(c.Batch), "", ""}
		if row.atMost > 0 {
			line[7], line[8] = "≤ "+number(row.atMost, row.unit), row.verdict(c)
		}
		out = append(out, line)
	}
	return out
}

// ratio compares the same clients with both servers.
func (r csrRow) ratio(c *CSR) string {
	if r.alone || c.Unlimited == nil || c.ByIstio == nil {
		return ""
	}
	i, f := r.of(*c.Unlimited), r.of(*c.ByIstio)
	if r.more {
		i, f = f, i
	}
	if f <= 0 || i <= 0 {
		return ""
	}
	return fmt.Sprintf("%.3g×", i/f)
}

func (r csrRow) verdict(c *CSR) string {
	var broken []string
	for _, s := range []struct {
		name string
		of   *Signing
	}{{"Istio's API", c.ByIstio}, {"SignX509", c.Single}, {fmt.Sprintf("%d a call", podsOfNode), c.Batch}} {
		switch {
		case s.of == nil:
			return "not measured"
		case r.of(*s.of) > r.atMost:
			broken = append(broken, s.name)
		case s.of.Failed > 0:
			broken = append(broken, fmt.Sprintf("%d failed by %s", s.of.Failed, s.name))
		}
	}
	if len(broken) > 0 {
		return "MISSED: " + strings.Join(broken, ", ")
	}
	return "kept"
}

// herdTable is the herd, as cells.
func herdTable(h *Herd) [][]string {
	verdict := func(kept bool) string {
		switch {
		case h.Nodes != promisedHerd:
			return "not judged"
		case kept:
			return "kept"
		}
		return "MISSED"
	}
	return [][]string{
		{fmt.Sprintf("%d nodes of %d pods at once", h.Nodes, h.Pods), "Fairlead", "goal", "verdict"},
		{"failed in 30 s", fmt.Sprint(h.Failed), "0", verdict(h.Failed == 0)},
		{"put off", fmt.Sprint(h.PutOff), "", ""},
		{"node has everything, p50", number(h.P50, "ms"), "", ""},
		{"node has everything, p99", number(h.P99, "ms"), "", ""},
		{"last node", number(h.Last, "ms"), "", ""},
		{"CPU", number(h.CPU, "s"), "", ""},
		{"peak memory, before", number(h.ReadyMB, "MB"), "", ""},
		{"peak memory", number(h.PeakMB, "MB"), "≤ 600 MB", verdict(h.PeakMB <= 600)},
	}
}

// medianCSR takes every value's own median; nil when nothing was measured.
func medianCSR(runs []Run) *CSR {
	var all []*CSR
	for _, r := range runs {
		if r.CSR != nil {
			all = append(all, r.CSR)
		}
	}
	if len(all) == 0 {
		return nil
	}
	pick := func(of func(*CSR) *Signing) *Signing { return medianOf(all, of, medianSigning) }
	return &CSR{
		Istiod: pick(func(c *CSR) *Signing { return c.Istiod }), Unlimited: pick(func(c *CSR) *Signing { return c.Unlimited }),
		ByIstio: pick(func(c *CSR) *Signing { return c.ByIstio }), Single: pick(func(c *CSR) *Signing { return c.Single }),
		Batch: pick(func(c *CSR) *Signing { return c.Batch }), Herd: medianOf(all, func(c *CSR) *Herd { return c.Herd }, medianHerd),
	}
}

// medianOf leaves out the runs that did not measure something.
func medianOf[T any](runs []*CSR, of func(*CSR) *T, mid func([]T) T) *T {
	var values []T
	for _, r := range runs {
		if v := of(r); v != nil {
			values = append(values, *v)
		}
	}
	if len(values) == 0 {
		return nil
	}
	m := mid(values)
	return &m
}

// medianSigning adds up the counts.
func medianSigning(all []Signing) Signing {
	mid := func(of func(Signing) float64) float64 { return median(all, of) }
	out := Signing{
		PerSecond: mid(func(s Signing) float64 { return s.PerSecond }), CPU: mid(func(s Signing) float64 { return s.CPU }),
		APICPU: mid(func(s Signing) float64 { return s.APICPU }), ClientCPU: mid(func(s Signing) float64 { return s.ClientCPU }),
		Signature: mid(func(s Signing) float64 { return s.Signature }), Asked: all[0].Asked, P50: mid(func(s Signing) float64 { return s.P50 }), P99: mid(func(s Signing) float64 { return s.P99 }),
		Last: mid(func(s Signing) float64 { return s.Last }),
	}
	for _, s := range all {
		out.Count, out.Failed = out.Count+s.Count, out.Failed+s.Failed
	}
	return out
}

// medianHerd adds up the counts.
func medianHerd(all []Herd) Herd {
	mid := func(of func(Herd) float64) float64 { return median(all, of) }
	out := Herd{
		Nodes: all[0].Nodes, Pods: all[0].Pods, CPU: mid(func(h Herd) float64 { return h.CPU }),
		P50: mid(func(h Herd) float64 { return h.P50 }), P99: mid(func(h Herd) float64 { return h.P99 }), Last: mid(func(h Herd) float64 { return h.Last }),
		ReadyMB: mid(func(h Herd) float64 { return h.ReadyMB }), PeakMB: mid(func(h Herd) float64 { return h.PeakMB }),
	}
	for _, h := range all {
		out.Failed, out.PutOff = out.Failed+h.Failed, out.PutOff+h.PutOff
	}
	return out
}
