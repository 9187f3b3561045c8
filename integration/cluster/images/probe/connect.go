package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

// connect tries one TCP connection, and prints "open", "timeout" or "refused"; anything else is an error.
func connect(address, patience string) error {
	limit, err := time.ParseDuration(patience)
	if err != nil {
		return err
	}
	conn, err := net.DialTimeout("tcp", address, limit)
	switch {
	case err == nil:
		fmt.Println("open")
		return conn.Close()
	case errors.Is(err, os.ErrDeadlineExceeded), isTimeout(err):
		fmt.Println("timeout")
	case errors.Is(err, syscall.ECONNREFUSED):
		fmt.Println("refused")
	default:
		return err
	}
	return nil
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}
