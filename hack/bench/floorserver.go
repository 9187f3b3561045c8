package main

import (
	"encoding/gob"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"

	"google.golang.org/grpc"

	"fairlead.io/fairlead/pkg/push"
)

// script is what the floor says: a recorded conversation to each stream, and one more response whenever it is told to.
type script struct {
	Cold []message
	Push []byte
	Mark string // what a client looks for in Push
}

func (s *script) save(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(gob.NewEncoder(f).Encode(s), f.Close())
}

// floorServer is the least that a gRPC server written in Go must do: it sends bytes that were encoded before. It is the bench's
// own program, started again as "floor SCRIPT XDS HTTP", so that it is measured as a process like the others.
type floorServer struct {
	script  script
	mu      sync.Mutex
	streams map[chan []byte]struct{}
}

func serveFloor(args []string) error {
	if len(args) != 3 {
		return errors.New("use: floor SCRIPT XDS-ADDRESS HTTP-ADDRESS")
	}
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	s := &floorServer{streams: map[chan []byte]struct{}{}}
	err = gob.NewDecoder(f).Decode(&s.script)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("read %s: %w", args[0], err)
	}
	xds, err := net.Listen("tcp", args[1])
	if err != nil {
		return err
	}
	g := grpc.NewServer(append(push.ServerOptions(), grpc.ForceServerCodecV2(bytesCodec{}))...)
	g.RegisterService(deltaStream(s.stream), s)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /push", func(http.ResponseWriter, *http.Request) { s.push() })
	failed := make(chan error, 2)
	go func() { failed <- g.Serve(xds) }()
	go func() { failed <- http.ListenAndServe(args[2], mux) }()
	return <-failed
}

func (s *floorServer) push() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.streams {
		c <- s.script.Push
	}
}

func (s *floorServer) stream(_ any, stream grpc.ServerStream) error {
	pushes, asked := make(chan []byte, 1024), make(chan struct{}, 1024)
	s.mu.Lock()
	s.streams[pushes] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.streams, pushes)
	}()
	go func() {
		defer close(asked)
		var request []byte
		for stream.RecvMsg(&request) == nil {
			if more, err := asks(request); err != nil {
				return
			} else if more {
				asked <- struct{}{}
			}
		}
	}()
	n := 0
	for _, m := range s.script.Cold {
		for ; n < m.Asked; n++ {
			if _, open := <-asked; !open {
				return nil
			}
		}
		if err := stream.SendMsg(m.Bytes); err != nil {
			return err
		}
	}
	for {
		select {
		case _, open := <-asked:
			if !open {
				return nil
			}
		case b := <-pushes:
			if err := stream.SendMsg(b); err != nil {
				return err
			}
		}
	}
}
