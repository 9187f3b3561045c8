package sctp

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// Chunk types of RFC 9260, section 3.2.
const (
	data             = 0
	initiate         = 1
	initiateAck      = 2
	sack             = 3
	heartbeat        = 4
	heartbeatAck     = 5
	abort            = 6
	shutdown         = 7
	shutdownAck      = 8
	cookieEcho       = 10
	cookieAck        = 11
	shutdownComplete = 14
)

const (
	wholeMessage = 3 // flags of a DATA chunk: the first and the last fragment
	cookieParam  = 7 // parameter of INIT ACK
	window       = 1 << 16
	headerSize   = 12
)

// chunk is one chunk of a packet, without its length and padding.
type chunk struct {
	kind, flags byte
	value       []byte
}

// packet is an SCTP packet: the common header of section 3.1, and chunks.
type packet struct {
	from, to uint16 // ports
	tag      uint32
	chunks   []chunk
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (p packet) marshal() []byte {
	b := make([]byte, headerSize)
	binary.BigEndian.PutUint16(b, p.from)
	binary.BigEndian.PutUint16(b[2:], p.to)
	binary.BigEndian.PutUint32(b[4:], p.tag)
	for _, c := range p.chunks {
		b = append(b, c.kind, c.flags)
		b = binary.BigEndian.AppendUint16(b, uint16(4+len(c.value)))
		b = append(b, c.value...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, castagnoli))
	return b
}

var errMalformed = errors.New("sctp: malformed packet")

// parse checks the checksum: a translator of addresses must have kept it right.
func parse(b []byte) (p packet, err error) {
	if len(b) < headerSize {
		return p, errMalformed
	}
	sum := binary.LittleEndian.Uint32(b[8:])
	whole := append([]byte(nil), b...)
	copy(whole[8:12], []byte{0, 0, 0, 0})
	if crc32.Checksum(whole, castagnoli) != sum {
		return p, errMalformed
	}
	p = packet{from: binary.BigEndian.Uint16(b), to: binary.BigEndian.Uint16(b[2:]), tag: binary.BigEndian.Uint32(b[4:])}
	for rest := whole[headerSize:]; len(rest) >= 4; {
		size := int(binary.BigEndian.Uint16(rest[2:]))
		if size < 4 || size > len(rest) {
			return p, errMalformed
		}
		p.chunks = append(p.chunks, chunk{kind: rest[0], flags: rest[1], value: rest[4:size]})
		rest = rest[min(len(rest), (size+3)&^3):]
	}
	return p, nil
}

// introduction is the value of INIT and INIT ACK, with the cookie of the latter.
type introduction struct {
	tag, tsn uint32
	cookie   []byte
}

func (i introduction) marshal() []byte {
	b := binary.BigEndian.AppendUint32(nil, i.tag)
	b = binary.BigEndian.AppendUint32(b, window)
	b = append(b, 0, 1, 0, 1) // one stream each way
	b = binary.BigEndian.AppendUint32(b, i.tsn)
	if i.cookie != nil {
		b = append(b, 0, cookieParam)
		b = binary.BigEndian.AppendUint16(b, uint16(4+len(i.cookie)))
		b = append(b, i.cookie...)
	}
	return b
}

func parseIntroduction(b []byte) (i introduction, err error) {
	if len(b) < 16 {
		return i, errMalformed
	}
	i = introduction{tag: binary.BigEndian.Uint32(b), tsn: binary.BigEndian.Uint32(b[12:])}
	for rest := b[16:]; len(rest) >= 4; {
		size := int(binary.BigEndian.Uint16(rest[2:]))
		if size < 4 || size > len(rest) {
			return i, errMalformed
		}
		if rest[0] == 0 && rest[1] == cookieParam {
			i.cookie = rest[4:size]
		}
		rest = rest[min(len(rest), (size+3)&^3):]
	}
	return i, nil
}

// acknowledgement is the value of SACK without gaps, and the beginning of it that of SHUTDOWN.
func acknowledgement(tsn uint32) []byte {
	b := binary.BigEndian.AppendUint32(nil, tsn)
	b = binary.BigEndian.AppendUint32(b, window)
	return append(b, 0, 0, 0, 0)
}
