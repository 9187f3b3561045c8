package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fairlead.io/fairlead/api/observe/observer"
	"fairlead.io/fairlead/pkg/observe/show"
)

// defaultLast is how many flows are shown when nothing says how many.
const defaultLast = 20

func observeCommand() *cobra.Command {
	f := observeFlags{format: string(show.Table)}
	cmd := &cobra.Command{
		Use:   "observe",
		Short: "Show connections as they are allowed and denied, and by which policy",
		Long: "Asks the server for the flows of all nodes, or the agent of a node for its own. A flow is the first packet of a connection,\n" +
			"its end, or a packet that was dropped. Without --last, --since or --follow the newest 20 are shown.\n\n" +
			"--namespace, --pod, --label, --identity, --workload and --ip are about either side, all of them about the same one; the same\n" +
			"with from- and to- in front are about who began, or was called. --port is about either side too. Values are alternatives\n" +
			"where a flag is repeated.\n\n" +
			"On the machine itself (--server without --token) everything is seen. By the TLS port of a server, with a ServiceAccount token (--token), only flows of\n" +
			"namespaces in which the account may list flows.fairlead.io; of the other side of such a flow just namespace and address.",
		Example: "  fairlead observe --verdict DROPPED --follow\n" +
			"  fairlead observe --namespace shop --port 5432 --since 10m -o compact\n" +
			"  fairlead observe --from-pod web/client --to-label app=db --last 5 -o json\n" +
			"  fairlead observe --server 10.0.0.7:15012 --token token --trust-bundle roots.pem --namespace shop\n" +
			"  fairlead observe --server unix:/run/fairlead/flows/hubble.sock    # on a node: its own flows",
		Args: cobra.NoArgs,
	}
	f.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		req, err := f.request(time.Now())
		if err != nil {
			return err
		}
		if f.follow && !cmd.Flags().Changed("output") {
			f.format = string(show.Compact) // a table is printed when it is whole
		}
		return f.observe(cmd.Context(), req, cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	return cmd
}

// observe prints what an observer answers. Being ended while it follows is how it ends.
func (f *observeFlags) observe(ctx context.Context, req *observer.GetFlowsRequest, out, notes io.Writer) error {
	conn, done, err := f.to.dial()
	if err != nil {
		return err
	}
	defer done()
	stream, err := observer.NewObserverClient(conn).GetFlows(ctx, req)
	if err != nil {
		return f.to.explain(err)
	}
	var zone *time.Location
	if f.utc {
		zone = time.UTC
	}
	p := show.New(show.Format(f.format), out, notes, zone)
	for {
		m, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF), f.follow && ctx.Err() != nil:
			return p.Close()
		case err != nil:
			return errors.Join(f.to.explain(err), p.Close())
		}
		if err := p.Print(m); err != nil {
			return err
		}
		if req.GetFollow() && f.format == string(show.Table) {
			if err := p.Close(); err != nil {
				return err
			}
		}
	}
}

// explain says what to do about an answer that is an error.
func (t *observeTarget) explain(err error) error {
	s := status.Convert(err)
	switch s.Code() {
	case codes.InvalidArgument, codes.PermissionDenied:
		return errors.New(s.Message())
	case codes.Unavailable:
		return fmt.Errorf("observe flows at %s: %s; name a server or the socket of a node's agent with --server", t.server, s.Message())
	case codes.Unimplemented:
		return fmt.Errorf("observe flows at %s: no flows are served there; see --server", t.server)
	}
	return fmt.Errorf("observe flows at %s: %s: %s", t.server, strings.ToLower(s.Code().String()), s.Message())
}
