// Package randomroute makes routes that nobody would write, for tests of what comes after resolve on the line
// source → table → resolve → {translate, verdict} → snapshot → push → {Envoy, shim} → ACK/NACK: translate must not write for
// any of them what Envoy refuses.
package randomroute

import (
	"math"
	"reflect"
	"strings"
	"time"

	"fairlead.io/fairlead/pkg/model"
)

// Source gives numbers from 0 to n-1: a random generator, or the bytes of a fuzzer.
type Source interface{ IntN(n int) int }

// Bytes is a Source that uses up a fuzzer's input, then gives zeros.
type Bytes []byte

// IntN implements Source.
func (b *Bytes) IntN(n int) int {
	if len(*b) == 0 {
		return 0
	}
	c := (*b)[0]
	*b = (*b)[1:]
	return int(c) % n
}

// Route makes one route with exactly one action.
func Route(s Source) model.Route {
	var r model.Route
	fill(s, reflect.ValueOf(&r).Elem())
	r.Forward, r.Redirect, r.Direct = nil, nil, nil
	switch s.IntN(4) {
	case 0:
		r.Redirect = &model.Redirect{}
		fill(s, reflect.ValueOf(r.Redirect).Elem())
		r.Redirect.Code = []int{301, 302, 303, 307, 308, 0, 200}[s.IntN(7)]
	case 1:
		r.Direct = &model.DirectResponse{}
		fill(s, reflect.ValueOf(r.Direct).Elem())
	default: // half of all
		r.Forward = &model.Forward{}
		fill(s, reflect.ValueOf(r.Forward).Elem())
	}
	if r.Fault != nil && r.Fault.AbortHTTP < 200 {
		r.Fault.AbortHTTP += 200
	}
	return r
}

var (
	// usual are drawn most often, so that many routes come through whole.
	usual = []string{
		"/", "/a", "/a/", "/a/b", "x-a", "X-B", "a", "b", "example.com", "GET", "https", "5xx", "websocket", "v1", ".*", "a|b",
		"reset,retriable-status-codes", "100%", "[0-9]+", "(a)(b)", `\1`,
	}
	odd = []string{
		"", "*", "*.x.com", "Host", ":path", ":authority", ":method", "%REQ(x)%", "%", "(", "[a", `\9`, `\`, `\Q`, "a b", "é", "\x00", "\n", "\r",
		"\xff", "^$", "(?i)x", "a{1001}", "(?P<n>x)", "(?<n>x)", `\pL`, `\p{Greek}`, `[[:word:]]`, `\x{10FFFF}`, `\x{e9}`, "(?s:.)", "(?m)^x$",
		"(?U)a+", `\z`, `\A`, `\C`, "a{0,900}", "/a?b", "/a#b", "//", "/a//", "a=b", "a,b", ";", "CONNECT", "connect-udp", "gRPC",
		strings.Repeat("a", 20000), strings.Repeat("(", 2000), "[::1]:80", "x:80", "http://x", "*.*", "a*b", "Connection", "te",
		"content-length", "transfer-encoding", "x-fl-vip", "x-envoy-retry-on",
	}
	names     = []string{"x-a", "X-B", "a", "Host", "x-envoy-retry-on", "Set-Cookie"}
	durations = []time.Duration{0, -1, 1, time.Microsecond, 25 * time.Millisecond, time.Second, time.Hour, math.MaxInt64, math.MinInt64}
	numbers   = []uint64{0, 1, 2, 14, 100, 200, 404, 418, 429, 500, 503, 599, 600, 8080, 65535, 65536, 500_000, 1_000_000, 1_000_001, math.MaxUint32}
)

func text(s Source) string {
	switch s.IntN(100) {
	case 0:
		return odd[s.IntN(len(odd))]
	case 1:
		return usual[s.IntN(len(usual))] + odd[s.IntN(len(odd))]
	}
	return usual[s.IntN(len(usual))]
}

func fill(s Source, v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text(s))
	case reflect.Bool:
		v.SetBool(s.IntN(2) == 1)
	case reflect.Int64:
		v.SetInt(int64(durations[s.IntN(len(durations))]))
	case reflect.Int:
		if v.Type() == reflect.TypeFor[int]() {
			v.SetInt(int64(int32(numbers[s.IntN(len(numbers))])))
			return
		}
		n := 4 // the enumerations have 4 or 5 values
		if s.IntN(20) == 1 {
			n = 6
		}
		v.SetInt(int64(s.IntN(n)))
	case reflect.Uint8:
		v.SetUint(uint64(s.IntN(256)))
	case reflect.Uint16:
		v.SetUint(numbers[s.IntN(len(numbers))] & math.MaxUint16)
	case reflect.Uint32:
		v.SetUint(numbers[s.IntN(len(numbers))])
	case reflect.Pointer:
		if s.IntN(3) == 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(s, v.Elem())
		}
	case reflect.Slice:
		n := min(s.IntN(4), 2)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(s, v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range s.IntN(3) {
			v.SetMapIndex(reflect.ValueOf(text(s)), reflect.ValueOf(text(s)))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name == "Name" && s.IntN(50) != 1 { // of a header, mostly
				v.Field(i).SetString(names[s.IntN(len(names))])
				continue
			}
			fill(s, v.Field(i))
		}
	default:
		panic("fill a " + v.Kind().String())
	}
}
