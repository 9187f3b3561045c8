package identity_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

// commands are run by processes in pods.
var commands = map[string]func(*bufio.Scanner, []string) error{"serve": serve, "call": call}

// audience is whom tokens are for.
const audience = "web"

// serve answers over mTLS to one identity: with the subject of the token that the caller sends, or why it is none. SVIDs come
// from an X509Source, what verifies others from a BundleSource. Arguments: the Workload API, the socket, the caller's ID.
func serve(in *bufio.Scanner, args []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	api := workloadapi.WithClientOptions(workloadapi.WithAddr("unix://" + args[0]))
	svids, err := workloadapi.NewX509Source(ctx, api)
	if err != nil {
		return err
	}
	defer svids.Close()
	bundles, err := workloadapi.NewBundleSource(ctx, api)
	if err != nil {
		return err
	}
	defer bundles.Close()
	caller, err := spiffeid.FromString(args[2])
	if err != nil {
		return err
	}
	l, err := net.Listen("unix", args[1])
	if err != nil {
		return err
	}
	l = tls.NewListener(l, tlsconfig.MTLSServerConfig(svids, bundles, tlsconfig.AuthorizeID(caller)))
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go answer(c, bundles)
		}
	}()
	fmt.Println("listening")
	in.Scan()
	return l.Close()
}

func answer(c net.Conn, bundles *workloadapi.BundleSource) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	token, err := bufio.NewReaderSize(c, 16<<10).ReadString('\n')
	if err != nil {
		return // the caller says why
	}
	svid, err := jwtsvid.ParseAndValidate(strings.TrimSpace(token), bundles, []string{audience})
	if err != nil {
		fmt.Fprintln(c, "refused:", err)
		return
	}
	fmt.Fprintln(c, svid.ID)
}

// caller calls over mTLS in a loop, each time by a new connection and with one of the tokens that it has had so far.
type caller struct {
	svids  *workloadapi.X509Source
	tokens *workloadapi.JWTSource
	socket string
	server spiffeid.ID
	self   spiffeid.ID

	mu   sync.Mutex // guards what follows
	held []string
	n    int
	err  error
}

// call runs a caller until its input ends. A line "token" has it get one more token, and "calls" tells how many calls there were
// after it has made some more. Arguments: the Workload API, the socket, the server's ID.
func call(in *bufio.Scanner, args []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	api := workloadapi.WithClientOptions(workloadapi.WithAddr("unix://" + args[0]))
	c := &caller{socket: args[1]}
	var err error
	if c.svids, err = workloadapi.NewX509Source(ctx, api); err != nil {
		return err
	}
	defer c.svids.Close()
	if c.tokens, err = workloadapi.NewJWTSource(ctx, api); err != nil {
		return err
	}
	defer c.tokens.Close()
	if c.server, err = spiffeid.FromString(args[2]); err != nil {
		return err
	}
	svid, err := c.svids.GetX509SVID()
	if err != nil {
		return err
	}
	c.self = svid.ID
	if _, err := c.token(); err != nil {
		return err
	}
	go c.loop()
	fmt.Println("calling")
	for in.Scan() {
		var line string
		var err error
		switch in.Text() {
		case "token":
			line, err = c.token()
		case "calls":
			line, err = c.more()
		default:
			return nil
		}
		if err != nil {
			return err
		}
		fmt.Println(line)
	}
	return nil
}

// token gets a token that nobody has had before, has the source validate it, and keeps it.
func (c *caller) token() (string, error) {
	c.mu.Lock()
	round := len(c.held)
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	svid, err := c.tokens.FetchJWTSVID(ctx, jwtsvid.Params{Audience: audience, ExtraAudiences: []string{fmt.Sprint("round-", round)}})
	if err != nil {
		return "", fmt.Errorf("fetch token %d: %w", round, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = append(c.held, svid.Marshal())
	return svid.Marshal(), nil
}

// more waits for as many calls as there are tokens, so that each is used in the state that there is now.
func (c *caller) more() (string, error) {
	c.mu.Lock()
	until := c.n + 2*len(c.held) + 2
	c.mu.Unlock()
	for {
		c.mu.Lock()
		n, err := c.n, c.err
		c.mu.Unlock()
		if err != nil || n >= until {
			return fmt.Sprint(n), err
		}
		time.Sleep(time.Millisecond)
	}
}

func (c *caller) loop() {
	for {
		c.mu.Lock()
		token := c.held[c.n%len(c.held)]
		c.mu.Unlock()
		err := c.ask(token)
		c.mu.Lock()
		if c.n++; err != nil {
			c.err = fmt.Errorf("call %d at %s: %w", c.n, time.Now().Format(time.TimeOnly), err)
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		time.Sleep(5 * time.Millisecond)
	}
}

// ask shows a token, which both sides validate.
func (c *caller) ask(token string) error {
	if _, err := jwtsvid.ParseAndValidate(token, c.tokens, []string{audience}); err != nil {
		return fmt.Errorf("by the JWTSource: %w", err)
	}
	raw, err := net.Dial("unix", c.socket)
	if err != nil {
		return err
	}
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(patience))
	conn := tls.Client(raw, tlsconfig.MTLSClientConfig(c.svids, c.svids, tlsconfig.AuthorizeID(c.server)))
	if _, err := io.WriteString(conn, token+"\n"); err != nil {
		return err
	}
	got, err := io.ReadAll(conn)
	if want := c.self.String() + "\n"; err != nil || string(got) != want {
		return errors.Join(fmt.Errorf("answered %q, want %q", got, want), err)
	}
	return nil
}
