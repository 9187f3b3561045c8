// Command probe is what a test runs in pods: a server that says who it is, and a client without a shell.
//
//	probe serve [:PORT]      answers every path with "<hostname> <its address> <peer's address>"; default :8080
//	probe get URL [SECONDS]  prints the body of a 200; asks again until the seconds (default 0) are over
//	probe connect IP:PORT TIME  prints what comes of one TCP connection within that time: open, refused or timeout
//	probe keep ±IP:PORT…     connects by TCP all the time: + must be answered, - must not; prints what came of it
//	probe resolve NAME       prints the addresses of NAME, one a line
//	probe echo :PORT         sends every UDP datagram back
//	probe watch IP:PORT      sends one a millisecond to an echo until its input ends, and prints when answers begin and end
//
// and, with an SVID of the SPIFFE Workload API at SOCKET:
//
//	probe svid SOCKET SECONDS         prints the SPIFFE ID, serial number and end of it; waits for it until the seconds are over
//	probe tls-serve SOCKET :PORT [ID…]  answers over mTLS with the caller's SPIFFE ID, which must be one of those that are given
//	probe tls-get SOCKET URL SECONDS  prints the server's SPIFFE ID and its answer
//	probe tls-load SOCKET URL ID      calls a server that has this SPIFFE ID until its input ends, and prints what came of it
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		log.Fatal("usage: probe serve [:PORT] | get URL [SECONDS] | connect IP:PORT TIME | echo :PORT | watch IP:PORT | keep ±IP:PORT… | resolve NAME | svid … | tls-serve … | tls-get … | tls-load …")
	}
	argument := func(i int, otherwise string) string {
		if len(os.Args) > i {
			return os.Args[i]
		}
		return otherwise
	}
	var err error
	switch os.Args[1] {
	case "serve":
		err = serve(argument(2, ":8080"))
	case "get":
		err = get(argument(2, ""), argument(3, "0"))
	case "echo":
		err = echo(argument(2, ""))
	case "watch":
		err = watch(argument(2, ""))
	case "keep":
		err = keep(os.Args[2:])
	case "connect":
		err = connect(argument(2, ""), argument(3, "1s"))
	case "resolve":
		err = resolve(argument(2, ""))
	case "svid", "tls-serve", "tls-get", "tls-load":
		err = identity(os.Args[1:])
	default:
		err = fmt.Errorf("unknown command %q", os.Args[1])
	}
	if err != nil {
		log.Fatal(err)
	}
}

func serve(address string) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	server := &http.Server{Addr: address, ReadHeaderTimeout: 10 * time.Second}
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, host, r.Context().Value(http.LocalAddrContextKey), r.RemoteAddr)
	})
	return server.ListenAndServe()
}

func get(url, seconds string) error {
	patience, err := strconv.Atoi(seconds)
	if err != nil {
		return err
	}
	deadline := time.Now().Add(time.Duration(patience) * time.Second)
	for {
		body, err := once(url)
		if err == nil {
			fmt.Print(body)
			return nil
		}
		if !time.Now().Before(deadline) {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func once(url string) (string, error) {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	return read(res)
}

func read(res *http.Response) (string, error) {
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("get %s: %s", res.Request.URL, res.Status)
	}
	return string(body), err
}

func resolve(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(ctx, name)
	for _, a := range addresses {
		fmt.Println(a)
	}
	return err
}
