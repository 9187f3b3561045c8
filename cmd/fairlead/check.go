package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"fairlead.io/fairlead/pkg/bootstrap"
	"fairlead.io/fairlead/pkg/check"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/process"
	"fairlead.io/fairlead/pkg/report"
	"fairlead.io/fairlead/pkg/server"
	"fairlead.io/fairlead/pkg/source/files"
	"fairlead.io/fairlead/pkg/source/schema"
	"fairlead.io/fairlead/pkg/table"
)

// checked is the JSON of `fairlead check`.
type checked struct {
	Errors   int `json:"errors"`
	Warnings int `json:"warnings"`
	Objects  int `json:"objects"`
	// Envoy tells which Envoy looked at the generated resources, or why none did.
	Envoy    string           `json:"envoy"`
	Findings []report.Finding `json:"findings"`
}

func checkCommand(env environment) *cobra.Command {
	var out output
	var paths []string
	var envoy string
	var mesh meshFlags
	cmd := &cobra.Command{
		Use:   "check -f PATH...",
		Short: "Say what is wrong with manifests, by file and line; nothing is contacted or changed",
		Long: "Reads files, folders and - (stdin) as `fairlead serve` would, and prints every fault and warning with what to do. The\n" +
			"generated configuration is shown to a real Envoy when there is one; it opens no port. The exit code is 1 when there\n" +
			"is an error, and 0 when there are only warnings.",
		Example: "  fairlead check -f manifests/\n" +
			"  kubectl get vs,dr,svc -A -o yaml | fairlead check -f - --envoy off -o json",
		Args: cobra.ArbitraryArgs,
	}
	out.add(cmd)
	cmd.Flags().StringArrayVarP(&paths, "filename", "f", nil, "file, folder or - for stdin; may be repeated")
	cmd.Flags().StringVar(&envoy, "envoy", "auto", "path of an Envoy to try the result on; auto finds one, off uses none")
	mesh.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		paths = append(paths, args...) // `-f a.yaml b.yaml`, as a shell expands a pattern
		if len(paths) == 0 {
			return errors.New("nothing to check: name files or folders, as in `fairlead check -f manifests/`")
		}
		cfg, err := mesh.config(true)
		if err != nil {
			return err
		}
		result, err := checkPaths(cmd.Context(), env, server.Config{Mesh: cfg}, envoy, paths)
		if err != nil {
			return err
		}
		if err := out.print(env.out, result, func(w io.Writer) error { return findingTable(w, result) }); err != nil {
			return err
		}
		if result.Errors > 0 {
			return errSilent
		}
		return nil
	}
	return cmd
}

// checkPaths runs the whole line over the files once.
func checkPaths(ctx context.Context, env environment, cfg server.Config, envoy string, paths []string) (*checked, error) {
	read := files.Load(files.Config{Schemas: schema.New()}, env.in, paths...)
	flow := server.NewFlow(cfg.Mesh, table.Options{})
	flow.Engine.Apply(flow.Resolved.Inputs.Batch(read.Updates, 1))
	var statuses []*model.ObjectStatus
	flow.EachStatus(func(s *model.ObjectStatus) { statuses = append(statuses, s) })

	result := &checked{Objects: len(read.Updates), Findings: []report.Finding{}}
	var refused map[model.Ref][]report.Rejection
	path, why, err := envoyFor(env, envoy)
	if err != nil {
		return nil, err
	}
	result.Envoy = why
	if path != "" {
		ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("no end after a minute; try --envoy off"))
		defer cancel()
		if refused, err = check.Envoy(ctx, path, flow.Source.Latest()); err != nil {
			return nil, err
		}
	}
	page := check.Page(read, statuses, refused)
	for _, f := range check.Findings(&page, read.Notes) {
		result.Findings = append(result.Findings, f)
		switch f.Severity {
		case report.Error:
			result.Errors++
		case report.Warning:
			result.Warnings++
		}
	}
	return result, nil
}

// envoyFor finds the Envoy that --envoy means; path is empty for none, and why says so.
func envoyFor(env environment, flag string) (path, why string, err error) {
	switch flag {
	case "off":
		return "", "not asked (--envoy off)", nil
	case "auto":
		if path, err = findEnvoy(env); err != nil {
			return "", "not asked: " + err.Error(), nil
		}
		return path, path, nil
	}
	if path, err = process.Find("", flag, flag); err != nil {
		return "", "", fmt.Errorf("--envoy %s: no such program; use auto or off", flag)
	}
	return path, path, nil
}

// findEnvoy looks where hack/tools/install.sh puts it, then in PATH.
func findEnvoy(env environment) (string, error) {
	dir, err := process.CacheDir(env.getenv)
	if err != nil {
		return "", err
	}
	return process.Find(dir, "envoy-"+bootstrap.EnvoyVersion, "envoy")
}

// findingTable prints the findings grouped by file.
func findingTable(w io.Writer, c *checked) error {
	for i := 0; i < len(c.Findings); {
		file := c.Findings[i].File
		if i > 0 {
			fmt.Fprintln(w)
		}
		if file == "" {
			file = "(no file)"
		}
		fmt.Fprintln(w, file)
		for ; i < len(c.Findings) && (c.Findings[i].File == file || c.Findings[i].File == ""); i++ {
			printFinding(w, &c.Findings[i])
		}
	}
	if len(c.Findings) > 0 {
		fmt.Fprintln(w)
	}
	_, err := fmt.Fprintf(w, "%d objects: %s, %s (envoy: %s)\n", c.Objects, counted(c.Errors, "error"), counted(c.Warnings, "warning"), c.Envoy)
	return err
}

// printFinding writes one finding on two lines: where, and what.
func printFinding(w io.Writer, f *report.Finding) {
	where := strconv.Itoa(f.Line)
	if f.Line == 0 {
		where = "-"
	}
	fmt.Fprintf(w, "  %4s  %-7s  %s", where, f.Severity, f.Object)
	if f.Path != "" {
		fmt.Fprintf(w, "  %s", f.Path)
	}
	fmt.Fprintf(w, "\n        %s\n", f.Message)
}

func counted(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return strconv.Itoa(n) + " " + word + "s"
}
