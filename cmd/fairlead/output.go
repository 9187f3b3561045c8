package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// output is the -o flag: how a command prints what it has to say.
type output struct{ format string }

func (o *output) add(cmd *cobra.Command) {
	cmd.Flags().VarP(o, "output", "o", "how to print: table, json or yaml")
}

// String, Set and Type implement pflag.Value: a wrong format is refused before the command does anything.
func (o *output) String() string {
	if o.format == "" {
		return "table"
	}
	return o.format
}

func (o *output) Set(s string) error {
	switch s {
	case "table", "json", "yaml":
		o.format = s
		return nil
	}
	return fmt.Errorf("format %q is none of table, json and yaml", s)
}

func (o *output) Type() string { return "format" }

// print writes v as JSON or YAML, or what table writes.
func (o *output) print(w io.Writer, v any, table func(w io.Writer) error) error {
	switch o.String() {
	case "json":
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	case "yaml":
		data, err := yaml.Marshal(v)
		if err != nil {
			return fmt.Errorf("write yaml: %w", err)
		}
		_, err = w.Write(data)
		return err
	}
	return table(w)
}

// columns prints rows aligned, under a head. A tab or a line break in a cell would move the others, and is a space instead.
func columns(w io.Writer, head []string, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	clean := strings.NewReplacer("\t", " ", "\n", " ", "\r", " ")
	for _, row := range append([][]string{head}, rows...) {
		cells := make([]string, len(row))
		for i, c := range row {
			cells[i] = clean.Replace(c)
		}
		fmt.Fprintln(tw, strings.Join(cells, "\t"))
	}
	return tw.Flush()
}
