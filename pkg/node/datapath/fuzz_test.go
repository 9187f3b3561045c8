package datapath

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"fairlead.io/fairlead/bpf"
	"fairlead.io/fairlead/pkg/verdict"
)

// FuzzEvent has any bytes be an event or an error.
func FuzzEvent(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, eventSize-1))
	f.Add(bytes.Repeat([]byte{0xff}, eventSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		e := Event{SourcePort: 1}
		if err := e.decode(b); err != nil {
			if len(b) >= eventSize {
				t.Errorf("%d bytes: %v", len(b), err)
			}
			return
		}
		if !e.Source.IsValid() || e.Source.Is4In6() || e.Direction > verdict.Ingress {
			t.Errorf("%x is %+v", b, e)
		}
	})
}

// TestEventSize has the reader and the programs mean the same.
func TestEventSize(t *testing.T) {
	if n := binary.Size(bpf.DatapathEvent{}); n != eventSize {
		t.Errorf("an event has %d bytes, not %d", n, eventSize)
	}
}

// FuzzRange has a range come back as it was put, and other bytes be an error at most.
func FuzzRange(f *testing.F) {
	f.Add(uint32(1), uint8(0), false, []byte{10, 0, 0, 0}, 8)
	f.Add(uint32(1), uint8(1), true, bytes.Repeat([]byte{0xfd}, 16), 128)
	f.Add(uint32(1), uint8(1), true, make([]byte, 16), 0)
	f.Fuzz(func(t *testing.T, set uint32, direction uint8, world bool, addr []byte, bits int) {
		a, ok := netip.AddrFromSlice(addr)
		k := RangeKey{Set: set, Direction: verdict.Direction(direction & 1), World: world, Prefix: netip.PrefixFrom(a, bits).Masked()}
		raw, err := k.encode()
		if !ok || !k.Prefix.IsValid() || a.Is4In6() {
			if err == nil {
				t.Errorf("%+v is encoded", k)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodeRangeKey(raw); err != nil || got != k {
			t.Errorf("%+v comes back as %+v: %v", k, got, err)
		}
		raw.Length, raw.Six = uint32(bits), direction
		if got, err := decodeRangeKey(raw); err == nil && !got.Prefix.IsValid() {
			t.Errorf("%+v is %+v", raw, got)
		}
	})
}

// FuzzRule has a rule come back as it was put.
func FuzzRule(f *testing.F) {
	f.Add(uint32(1), uint32(2), uint8(3), uint8(1), uint8(2), uint8(6), uint8(16), uint16(80), uint32(1), uint32(2), uint8(1))
	f.Fuzz(func(t *testing.T, set, number uint32, class, direction, family, protocol, bits uint8, port uint16, a, b uint32, action uint8) {
		r := Rule{
			RuleKey{set, number, Class(class), verdict.Direction(direction & 1), verdict.Family(family & 3), verdict.PortKey{Protocol: protocol, Bits: bits, Port: port}},
			verdict.Value{Admin: verdict.Ranked{Rank: a, Rule: b, Action: verdict.Action(action)}, Base: verdict.Ranked{Rank: b, Rule: a, Action: verdict.Action(action)}, Deny: a, Allow: b},
		}
		if got := (Rule{decodeRuleKey(r.encode()), decodeValue(encodeValue(r.Value))}); got != r {
			t.Errorf("%+v comes back as %+v", r, got)
		}
	})
}
