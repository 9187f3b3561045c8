/* A packet as the programs see it, whatever its headers were. */
#pragma once

#include "maps.h"

enum protocol { ICMP = 1, TCP = 6, UDP = 17, ROUTING = 43, FRAGMENT = 44, AH = 51, ICMPV6 = 58, DEST_OPTS = 60, SCTP = 132 };
enum { HOP_BY_HOP = 0, NO_NEXT = 59 };
enum { FIN = 1, SYN = 2, RST = 4, ACK = 16 };
enum opens { OPENS = 1, ANSWERS }; /* the first packet of a connection; the second */
enum ends { ENDS = 1, RESETS };    /* one way; both */
enum side { NEITHER, SOURCE, DESTINATION };

struct packet {
	union addr src, dst;
	/* Of ICMP, dport is type<<8|code, and sport the id of an echo. */
	__u16 sport, dport;
	__u8 protocol, tcp_flags;
	__u8 opens, ends;
	__u8 hook;
	__u8 host;      /* which side is this node itself */
	__u8 six;
	__u8 icmp;
	__u8 echo;      /* ICMP with an id */
	__u8 pad;
	__u8 error;     /* an ICMP error; inner is where the packet in it begins */
	__u8 neighbour; /* ICMPv6 that never leaves the link: neighbour discovery, multicast listeners */
	__u16 inner;
	__u32 ifindex;
	__u32 length; /* bytes from the IP header on */
};

static __always_inline int same(const union addr *a, const union addr *b)
{
	return a->q[0] == b->q[0] && a->q[1] == b->q[1];
}

/* turn makes the answer of a packet, as far as policy looks at it. */
static __always_inline void turn(struct packet *p)
{
	union addr a = p->src;
	__u16 port = p->sport;

	p->src = p->dst;
	p->dst = a;
	if (p->host)
		p->host = p->host == SOURCE ? DESTINATION : SOURCE;
	if (p->icmp) {
		if (p->echo)
			p->dport ^= p->six ? 1 << 8 : 8 << 8; /* 128 and 129, 8 and 0 */
		return;
	}
	p->sport = p->dport;
	p->dport = port;
}
