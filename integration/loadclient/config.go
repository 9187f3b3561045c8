package loadclient

import (
	"errors"
	"fmt"
	"math"
	"net"
	"strings"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// Config is what a fleet is made of. Addresses is required.
type Config struct {
	// Addresses are control planes: "127.0.0.1:15010" or "unix:/path". Client i begins with number i modulo their count, and
	// goes on to the next one whenever a stream ends.
	Addresses []string
	// N is the number of clients; default 1.
	N int
	// Node gives the identity of client i, which must not change; default EnvoyNode.
	Node func(i int) *core.Node
	// SotW makes the clients speak state-of-the-world ADS instead of delta. It has no virtual host discovery, as in Envoy.
	SotW bool
	// Credentials secure the connections; default plaintext.
	Credentials credentials.TransportCredentials
	// Window is how many bytes the server may send before the client reads, 65,536 at least; default 1 MiB. Envoy's own
	// default is 16 MiB.
	Window int
	// Backoff and MaxBackoff bound the random pause before a new stream as Envoy's do: the n-th one after the last response
	// lasts up to Backoff·2ⁿ, at most MaxBackoff. Defaults 500 ms and 30 s.
	Backoff, MaxBackoff time.Duration
	// FetchTimeout is how long a resource that was asked for may take before the client goes on without it (Envoy,
	// initial_fetch_timeout); default 15 s.
	FetchTimeout time.Duration
	// Behave gives what client i does from the start; see Client.Behave.
	Behave func(i int) Behaviour
	// OnUpdate sees every resource and every removal in the order of their arrival. It runs in the client's goroutine and
	// must not call methods of the client.
	OnUpdate func(*Client, *Update)
}

// check completes the configuration; the error names everything that is wrong.
func (c *Config) check() error {
	var errs []error
	if len(c.Addresses) == 0 {
		errs = append(errs, errors.New("no address is given"))
	}
	for _, a := range c.Addresses {
		if _, _, err := net.SplitHostPort(a); err != nil && !strings.HasPrefix(a, "unix:") {
			errs = append(errs, fmt.Errorf("address %q is neither host:port nor unix:/path", a))
		}
	}
	if c.N < 0 {
		errs = append(errs, fmt.Errorf("%d clients cannot be", c.N))
	}
	if c.Window != 0 && (c.Window < 65536 || c.Window > math.MaxInt32) {
		errs = append(errs, fmt.Errorf("window of %d bytes: not between 65536 and %d: gRPC ignores a smaller one", c.Window, math.MaxInt32))
	}
	def(&c.N, 1)
	def(&c.Window, 1<<20)
	def(&c.Backoff, 500*time.Millisecond)
	def(&c.MaxBackoff, 30*time.Second)
	def(&c.FetchTimeout, 15*time.Second)
	if c.Node == nil {
		c.Node = EnvoyNode
	}
	if c.Credentials == nil {
		c.Credentials = insecure.NewCredentials()
	}
	if c.Behave == nil {
		c.Behave = func(int) Behaviour { return Behaviour{} }
	}
	return errors.Join(errs...)
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}
