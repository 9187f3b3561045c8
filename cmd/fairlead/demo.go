package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"strconv"

	"github.com/spf13/cobra"

	manifests "fairlead.io/fairlead/config/demo"
	"fairlead.io/fairlead/pkg/demo"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/report"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/server"
	"fairlead.io/fairlead/pkg/source/files"
	"fairlead.io/fairlead/pkg/source/schema"
)

func demoCommand(env environment) *cobra.Command {
	var out output
	var keep bool
	var edits int
	var envoy string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show it at work: real requests through a real Envoy, and edits under load",
		Long: "Starts backends, the server and an Envoy on free loopback ports, sends requests, and prints what was expected and\n" +
			"seen. The exit code is 1 when something was not as expected.",
		Example: "  fairlead demo\n" +
			"  fairlead demo --keep      # and leave it running, to try things by hand",
		Args: cobra.NoArgs,
	}
	out.add(cmd)
	cmd.Flags().BoolVar(&keep, "keep", false, "leave everything running until Ctrl-C, and print what to try")
	cmd.Flags().IntVar(&edits, "edits", 20, "how many times each manifest is edited under load")
	cmd.Flags().StringVar(&envoy, "envoy", "auto", "path of the Envoy to run; auto finds one")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if edits < 1 {
			return errors.New("--edits must be at least 1")
		}
		path, why, err := envoyFor(env, envoy)
		if err != nil {
			return err
		}
		if path == "" {
			return fmt.Errorf("the demo needs an Envoy: %s", why)
		}
		cfg := demo.Config{Envoy: path, Manifests: fs.FS(manifests.Manifests), Start: startDemo, Progress: env.err, Edits: edits}
		var stay func(*demo.Result, demo.Where) error
		show := func(r *demo.Result) error {
			return out.print(env.out, r, func(w io.Writer) error { return demoTable(w, r) })
		}
		if keep {
			stay = func(r *demo.Result, where demo.Where) error {
				if err := show(r); err != nil {
					return err
				}
				fmt.Fprint(env.err, hints(where))
				<-cmd.Context().Done()
				return nil
			}
		}
		result, err := demo.Run(cmd.Context(), cfg, stay)
		if err != nil {
			return err
		}
		if !keep {
			if err := show(result); err != nil {
				return err
			}
		}
		if result.Failed() {
			return errors.New("something was not as expected")
		}
		return nil
	}
	return cmd
}

// demoServer shows the demo a server of this process.
type demoServer struct{ *server.Server }

func (c demoServer) Seq() uint64 {
	if s := c.Flow().Source.Latest(); s != nil {
		return s.Seq()
	}
	return 0
}

func (c demoServer) Acked(ref model.Ref) bool { return c.Push().Status().For(ref).Programmed() }

func (c demoServer) Problems() (out []string) {
	page := c.Status()
	for _, f := range page.Findings() {
		if f.Severity == report.Error {
			out = append(out, fmt.Sprintf("%s:%d: %s: %s", f.File, f.Line, f.Object, f.Message))
		}
	}
	return out
}

// startDemo runs a server on a folder.
func startDemo(ctx context.Context, dir string, outbound int, admin string) (demo.Control, <-chan error, error) {
	mesh := resolve.DefaultConfig()
	mesh.GatewayAddress = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	mesh.HostTable = true
	mesh.Stubs = []resolve.Stub{{Name: "outbound-1", Address: netip.AddrPortFrom(mesh.GatewayAddress, uint16(outbound)), Namespace: "default"}}
	s, err := server.New(server.Config{
		Mesh: mesh, Source: files.New(files.Config{Dir: dir, Schemas: schema.New()}), XDS: "127.0.0.1:0", Admin: admin,
		Version: version, Why: true, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, nil, err
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx); close(done) }()
	return demoServer{s}, done, nil
}

func demoTable(w io.Writer, r *demo.Result) error {
	verdict := func(pass bool) string {
		if pass {
			return "pass"
		}
		return "FAIL"
	}
	var rows [][]string
	for _, x := range r.Rows {
		rows = append(rows, []string{x.What, x.Request, x.Expected, x.Seen, verdict(x.Pass)})
	}
	fmt.Fprintln(w)
	if err := columns(w, []string{"WHAT", "REQUEST", "EXPECTED", "SEEN", ""}, rows); err != nil {
		return err
	}
	rows = nil
	for _, e := range r.Edits {
		failed := strconv.FormatInt(e.Failed, 10)
		if e.Fault != "" {
			failed += " (" + e.Fault + ")"
		}
		rows = append(rows, []string{
			e.What + " x" + strconv.Itoa(e.Count), fmt.Sprintf("%.1f / %.1f ms", e.SeenMedian, e.SeenWorst),
			fmt.Sprintf("%.1f / %.1f ms", e.AckedMedian, e.AckedWorst), strconv.FormatInt(e.Requests, 10), failed, verdict(e.Pass),
		})
	}
	fmt.Fprintln(w)
	return columns(w, []string{"UNDER LOAD (median / worst)", "WRITE TO FIRST NEW RESPONSE", "WRITE TO ACK", "REQUESTS", "FAILED", ""}, rows)
}

// hints are what to try while it runs.
func hints(w demo.Where) string {
	return fmt.Sprintf(`
It is still running. Try, in another terminal:

  curl -i -H 'Host: shop.example.com' http://127.0.0.1:%[1]d/cart/7
  curl -i -H 'Host: shop.example.com' http://127.0.0.1:%[1]d/old/a
  curl -i -H 'Host: reviews.example.com' -H 'x-canary: yes' http://127.0.0.1:%[2]d/
  curl -i -H 'Host: reviews.shop' http://127.0.0.1:%[3]d/
  curl -i -H 'Host: fault.example.com' http://127.0.0.1:%[2]d/abort

  fairlead proxy-status --server %[4]s
  fairlead proxy-config routes demo-node --server %[4]s
  fairlead proxy-config endpoints demo-node --name reviews --server %[4]s
  curl -s --unix-socket %[5]s http://fairlead/metrics | grep fairlead_
  curl -s --unix-socket %[6]s http://envoy/config_dump

Edit the manifests in %[7]s and ask again. Ctrl-C stops everything.
`, w.Web, w.Edge, w.Outbound, w.Admin, w.Admin[len("unix:"):], w.EnvoyAdmin, w.Manifests)
}
