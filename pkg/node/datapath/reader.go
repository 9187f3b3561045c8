package datapath

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/cilium/ebpf/ringbuf"

	"fairlead.io/fairlead/bpf"
	"fairlead.io/fairlead/pkg/verdict"
)

// EventReader reads events.
type EventReader struct {
	ring *ringbuf.Reader
	row  ringbuf.Record
}

// Events is the ring buffer. One reader at a time.
func (d *Datapath) Events() (*EventReader, error) {
	ring, err := ringbuf.NewReader(d.maps.Events)
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	return &EventReader{ring: ring}, nil
}

// Read waits for an event. It fails with os.ErrClosed after Close.
func (r *EventReader) Read(e *Event) error {
	if err := r.ring.ReadInto(&r.row); err != nil {
		return fmt.Errorf("read event: %w", err)
	}
	return e.decode(r.row.RawSample)
}

// Close ends Read.
func (r *EventReader) Close() error { return r.ring.Close() }

// eventSize is that of struct event.
const eventSize = 96

func (e *Event) decode(b []byte) error {
	var raw bpf.DatapathEvent
	if len(b) < eventSize {
		return fmt.Errorf("decode event: %d bytes of %d", len(b), eventSize)
	}
	if _, err := binary.Decode(b[:eventSize], binary.NativeEndian, &raw); err != nil {
		return fmt.Errorf("decode event: %w", err)
	}
	*e = Event{
		Since: time.Duration(raw.Since), Kind: EventKind(raw.Kind), Hook: Hook(raw.Hook),
		Source: netip.AddrFrom16(raw.Src.B).Unmap(), Destination: netip.AddrFrom16(raw.Dst.B).Unmap(),
		SourceIdentity: raw.SrcIdentity, DestinationIdentity: raw.DstIdentity,
		Protocol: raw.Protocol, SourcePort: raw.Sport, DestinationPort: raw.Dport, TCPFlags: raw.TcpFlags,
		Reply: raw.Reply != 0, Established: raw.Established != 0, Direction: verdict.Direction(raw.Direction & 1),
		Reason: Reason(raw.Reason), Interface: raw.Ifindex, Length: raw.Length,
	}
	for i := range raw.Said {
		s := &raw.Said[i]
		e.Said[i] = Said{
			Judged: s.Judged != 0, Allowed: s.Allowed != 0, Family: verdict.Family(s.Family), Because: Because(s.Because), Set: s.Set, Rule: s.Rule,
		}
	}
	return nil
}
