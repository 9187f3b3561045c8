// Command bench runs Fairlead and the real istiod on this machine, one after the other, each against a real kube-apiserver with
// the same synthetic mesh and the same number of delta ADS clients, and compares what both need from a written object to its
// receipt. Run it in the root of the checkout; `make bench` does.
//
// It stands outside the line source → table → resolve → {translate, verdict} → snapshot → push → {Envoy, shim}: everything
// that it measures is a process of its own, except for the clients.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	size, clients, runs, changes int
	herd                         int
	budget, load                 time.Duration
	servers, parts               []string
	pods                         bool
	profile, out, docs           string
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "floor" {
		fail(serveFloor(os.Args[2:]))
		return
	}
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	fail(err)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = run(ctx, o)
	stop()
	fail(err)
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	var o options
	var servers, parts string
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.IntVar(&o.size, "size", promisedServices, "services, of 10 endpoints each")
	fs.IntVar(&o.clients, "clients", promisedClients, "delta ADS streams")
	fs.IntVar(&o.runs, "runs", 3, "how often everything is measured; the table has the medians")
	fs.IntVar(&o.changes, "changes", 30, "changes of each kind in a run")
	fs.DurationVar(&o.budget, "budget", 45*time.Second, "no change of a kind begins after so long (but three are made)")
	fs.StringVar(&servers, "servers", "fairlead,istiod", "what to measure")
	fs.StringVar(&parts, "parts", "mesh,csr", "what to measure of them: mesh is what it takes to configure clients, csr to certify them")
	fs.DurationVar(&o.load, "load", 5*time.Second, "how long certificates are asked for in each way; 0 leaves that to a herd alone")
	fs.IntVar(&o.herd, "herd", promisedHerd, "nodes that ask for certificates at once")
	fs.BoolVar(&o.pods, "pods", false, "measure once more with a Pod behind each endpoint")
	fs.StringVar(&o.profile, "profile", "", "folder for CPU profiles of Fairlead; its figures are worse for it")
	fs.StringVar(&o.out, "out", "", "JSON file of the figures; default bench.json beside the cached tools")
	fs.StringVar(&o.docs, "write-docs", "", "page whose table is replaced, docs/performance.md")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	o.servers, o.parts = strings.Split(servers, ","), strings.Split(parts, ",")
	var errs []error
	for _, s := range o.parts {
		if s != "mesh" && s != "csr" {
			errs = append(errs, fmt.Errorf("-parts: %q is neither mesh nor csr", s))
		}
	}
	for _, s := range o.servers {
		if s != "fairlead" && s != "istiod" {
			errs = append(errs, fmt.Errorf("-servers: %q is neither fairlead nor istiod", s))
		}
	}
	for name, v := range map[string][2]int{"size": {o.size, 20}, "clients": {o.clients, 1}, "runs": {o.runs, 1}, "changes": {o.changes, 1}, "herd": {o.herd, 1}} {
		if v[0] < v[1] {
			errs = append(errs, fmt.Errorf("-%s: %d is less than %d", name, v[0], v[1]))
		}
	}
	if o.size > 12500 {
		errs = append(errs, fmt.Errorf("-size: %d services need more addresses than the synthetic mesh has; 12500 at most", o.size))
	}
	if _, err := os.Stat("hack/bench"); err != nil {
		errs = append(errs, errors.New("run this in the root of the checkout"))
	}
	return o, errors.Join(errs...)
}

func (o options) has(server string) bool { return slices.Contains(o.servers, server) }

// run measures, prints and writes.
func run(ctx context.Context, o options) (err error) {
	begin := time.Now()
	dir, err := os.MkdirTemp("", "fairlead-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	p, err := prepare(ctx, o, dir)
	if err != nil {
		return err
	}
	report := &Report{Conditions: conditions(o, p.istiodVersion)}
	for i := range o.runs {
		progress("run %d of %d", i+1, o.runs)
		r, err := p.measure(ctx, o)
		if err != nil {
			return err
		}
		report.Runs = append(report.Runs, r)
	}
	report.Median = medianRun(report.Runs)
	if o.pods {
		var failed error
		if report.Pods, failed = p.measurePods(ctx, o); failed != nil {
			// What the runs before have measured is not lost for it; the exit code tells.
			progress("Pods were not measured: %v", failed)
			defer func() { err = errors.Join(failed, err) }()
		}
	}
	progress("measured in %.0f s", time.Since(begin).Seconds())
	fmt.Print("\n" + report.render(text))
	return report.write(o, p.cache)
}

// write leaves the figures as JSON, and in the page when that was asked for.
func (r *Report) write(o options, cache string) error {
	path := o.out
	if path == "" {
		path = filepath.Join(filepath.Dir(cache), "bench.json")
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, append(data, '\n'), 0o644); err != nil {
		return err
	}
	progress("figures are in %s", path)
	if o.docs == "" {
		return nil
	}
	return r.writeDocs(o.docs)
}

var started = time.Now()

// progress tells what is going on, and when.
func progress(format string, args ...any) {
	fmt.Printf("[%4.0f s] %s\n", time.Since(started).Seconds(), fmt.Sprintf(format, args...))
}
