package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"unicode/utf8"
)

// text aligns cells for eyes.
func text(cells [][]string) string {
	widths := make([]int, len(cells[0]))
	for _, line := range cells {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var out strings.Builder
	for _, line := range cells {
		var l strings.Builder
		for i, cell := range line {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == 0 || i == len(line)-1 {
				l.WriteString(cell + pad + "  ")
			} else {
				l.WriteString(pad + cell + "  ")
			}
		}
		out.WriteString(strings.TrimRight(l.String(), " ") + "\n")
	}
	return out.String()
}

func markdown(cells [][]string) string {
	var out strings.Builder
	for i, line := range cells {
		out.WriteString("| " + strings.Join(line, " | ") + " |\n")
		if i == 0 {
			out.WriteString("|" + strings.Repeat("---|", len(line)) + "\n")
		}
	}
	return out.String()
}

// remarks are what the table does not show and its reader must know.
func remarks(r Run) []string {
	var out []string
	if r.IstiodFailed != "" {
		first, _, _ := strings.Cut(r.IstiodFailed, "\n")
		out = append(out, "istiod was not measured to the end in a run: "+first)
	}
	for _, s := range []struct {
		name string
		Figures
	}{{"istiod", r.Istiod}, {"Fairlead", r.Fairlead}, {"the floor", r.Floor}} {
		for _, kind := range changeKinds() {
			if c := s.Changes[kind]; c.Missed > 0 {
				out = append(out, fmt.Sprintf("%s: %d receipts of %s did not come within %v, and are in no figure", s.name, c.Missed, kind, changeTimeout))
			}
		}
	}
	var counts []string
	for _, kind := range changeKinds() {
		if i, f := r.Istiod.Changes[kind].Count, r.Fairlead.Changes[kind].Count; i > 0 && i != f {
			counts = append(counts, fmt.Sprintf("%s %d (Fairlead %d)", kind, i, f))
		}
	}
	if len(counts) > 0 {
		out = append(out, "istiod's slow kinds were bounded by time; changes made: "+strings.Join(counts, ", "))
	}
	return out
}

func (r *Report) render(cells func([][]string) string) string {
	var out strings.Builder
	out.WriteString(r.Conditions.String() + "\n")
	if r.Median.ofMesh() {
		out.WriteString("\n" + cells(table(r.Median, r.Conditions)))
	}
	if c := r.Median.CSR; c != nil {
		out.WriteString("\n" + cells(csrTable(c)))
		if c.Herd != nil {
			out.WriteString("\n" + cells(herdTable(c.Herd)))
		}
	}
	for _, s := range remarks(r.Median) {
		out.WriteString("\n- " + s)
	}
	if r.Pods != nil {
		fmt.Fprintf(&out, "\n\nWith a Pod behind each endpoint (%d Pods on %d Nodes), one run:\n\n", r.Conditions.Services*perService, r.Conditions.Services*perService/podsPerNode)
		out.WriteString(cells(measuredOnly(table(*r.Pods, Conditions{}))))
	}
	return strings.TrimRight(out.String(), "\n") + "\n"
}

// ofMesh says whether a mesh was measured.
func (r Run) ofMesh() bool { return len(r.Fairlead.Changes)+len(r.Istiod.Changes) > 0 }

// measuredOnly leaves out the lines without a figure, and the promises, which are for the mesh without Pods.
func measuredOnly(cells [][]string) [][]string {
	var out [][]string
	for _, line := range cells {
		if line[1] != "" || line[2] != "" {
			out = append(out, line[:4])
		}
	}
	return out
}

const (
	docBegin = "<!-- bench: begin -->\n"
	docEnd   = "<!-- bench: end -->\n"
)

// writeDocs puts the report between the markers of a page.
func (r *Report) writeDocs(path string) error {
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	head, rest, ok := bytes.Cut(page, []byte(docBegin))
	_, tail, ok2 := bytes.Cut(rest, []byte(docEnd))
	if !ok || !ok2 {
		return fmt.Errorf("%s: the markers %q and %q are not there", path, docBegin, docEnd)
	}
	out := string(head) + docBegin + r.render(markdown) + docEnd + string(tail)
	return os.WriteFile(path, []byte(out), 0o644)
}
