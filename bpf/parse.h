/* From bytes to a packet. */
#pragma once

#include "packet.h"

/* RFC 792, 4443, 4861, 2710, 3810. */
enum { ECHO_REPLY = 0, UNREACHABLE = 3, QUENCH = 4, ECHO = 8, EXCEEDED = 11, PARAMETER = 12 };
enum { LAST_ERROR_V6 = 4, ECHO_V6 = 128, ECHO_REPLY_V6 = 129, LISTENER_QUERY = 130, LISTENER_DONE = 132, ROUTER_SOLICIT = 133,
       ROUTER_ADVERT = 134, NEIGHBOUR_SOLICIT = 135, NEIGHBOUR_ADVERT = 136, REDIRECT_V6 = 137, LISTENER_REPORT_V2 = 143 };
/* RFC 9260 */
enum { SCTP_INIT = 1, SCTP_INIT_ACK = 2, SCTP_ABORT = 6, SCTP_SHUTDOWN_COMPLETE = 14 };
enum { EXTENSIONS = 6 }; /* more headers than that in one packet are refused */

/* Loads need not be aligned, on any machine that Linux compiles programs for. */
static __always_inline __u16 be16(const __u8 *b)
{
	return bpf_ntohs(*(const __be16 *)b);
}

static __always_inline __u32 be32(const __u8 *b)
{
	return bpf_ntohl(*(const __be32 *)b);
}

static __always_inline void copy4(union addr *a, const __u8 *b)
{
	a->q[0] = 0;
	a->w[2] = bpf_htonl(0xffff);
	a->w[3] = *(const __be32 *)b;
}

static __always_inline void copy16(union addr *a, const __u8 *b)
{
	a->q[0] = *(const __u64 *)b;
	a->q[1] = *(const __u64 *)(b + 8);
}

/* typed reads what an ICMP type means. */
static __always_inline void typed(struct packet *p, __u32 at)
{
	__u8 type = p->dport >> 8;

	p->icmp = 1;
	if (p->six) {
		p->echo = type == ECHO_V6 || type == ECHO_REPLY_V6;
		p->error = type && type <= LAST_ERROR_V6;
		p->neighbour = (type >= LISTENER_QUERY && type <= REDIRECT_V6) || type == LISTENER_REPORT_V2;
	} else {
		p->echo = type == ECHO || type == ECHO_REPLY;
		p->error = type == UNREACHABLE || type == QUENCH || type == EXCEEDED || type == PARAMETER;
	}
	if (p->error)
		p->inner = at + 8;
	else if (type != ECHO_REPLY_V6 && (type != ECHO_REPLY || p->six))
		p->opens = OPENS;
}

/* transport reads the header after that of IP. Of the packet in an ICMP error there are only 8 bytes. */
static __always_inline int transport(const struct bpf_dynptr *d, __u32 at, struct packet *p, int inner)
{
	__u8 buffer[16], *h;

	switch (p->protocol) {
	case TCP:
	case SCTP:
		if (inner)
			break;
		h = bpf_dynptr_slice(d, at, buffer, 16);
		if (!h)
			return INVALID_PACKET;
		p->sport = be16(h);
		p->dport = be16(h + 2);
		if (p->protocol == TCP) {
			p->tcp_flags = h[13];
			if (h[13] & SYN)
				p->opens = h[13] & ACK ? ANSWERS : OPENS;
			p->ends = h[13] & RST ? RESETS : h[13] & FIN ? ENDS : 0;
		} else {
			p->opens = h[12] == SCTP_INIT ? OPENS : h[12] == SCTP_INIT_ACK ? ANSWERS : 0;
			p->ends = h[12] == SCTP_ABORT || h[12] == SCTP_SHUTDOWN_COMPLETE ? RESETS : 0;
		}
		return 0;
	case UDP:
		break;
	case ICMP:
	case ICMPV6:
		if ((p->protocol == ICMPV6) != p->six)
			return 0;
		h = bpf_dynptr_slice(d, at, buffer, 8);
		if (!h)
			return INVALID_PACKET;
		p->dport = be16(h);
		typed(p, at);
		if (p->echo)
			p->sport = be16(h + 4);
		return 0;
	default:
		return 0;
	}
	h = bpf_dynptr_slice(d, at, buffer, 8);
	if (!h)
		return INVALID_PACKET;
	p->sport = be16(h);
	p->dport = be16(h + 2);
	return 0;
}

/* fragment gives later fragments the ports of the first. */
static __always_inline int fragment(struct packet *p, __u32 id, int first)
{
	struct fragment_key k = { .src = p->src, .dst = p->dst, .id = id, .protocol = p->protocol };
	struct fragment f = { p->sport, p->dport }, *known;

	if (first) {
		bpf_map_update_elem(&fragments, &k, &f, BPF_ANY);
		return 0;
	}
	known = bpf_map_lookup_elem(&fragments, &k);
	if (!known)
		return FRAGMENT_UNKNOWN;
	p->sport = known->sport;
	p->dport = known->dport;
	if (p->protocol == (p->six ? ICMPV6 : ICMP)) {
		typed(p, 0);
		p->error = 0; /* what is in it cannot be seen here */
	}
	return 0;
}

/* extensions walks over the extension headers of IPv6. It gives where the next header is, and its protocol in p; 0 is an error. */
static __always_inline __u32 extensions(const struct bpf_dynptr *d, __u32 at, struct packet *p, __u32 *frag, __u32 *id)
{
	__u8 buffer[8], *h, next = p->protocol;

	for (int i = 0; i <= EXTENSIONS; i++) {
		if (next != HOP_BY_HOP && next != ROUTING && next != DEST_OPTS && next != FRAGMENT && next != AH) {
			p->protocol = next;
			return at;
		}
		h = bpf_dynptr_slice(d, at, buffer, 8);
		if (!h || (next == ROUTING && h[3])) /* it would go on to where policy has not looked */
			return 0;
		if (next == FRAGMENT) {
			*frag = be16(h + 2);
			*id = be32(h + 4);
			at += 8;
		} else {
			at += next == AH ? ((__u32)h[1] + 2) * 4 : ((__u32)h[1] + 1) * 8;
		}
		next = h[0];
		if (*frag & 0xfff8) { /* not the first: what follows is payload */
			p->protocol = next;
			return at;
		}
	}
	return 0;
}

enum { QUICK_V4 = 20 + 14, QUICK_V6 = 40 + 14 }; /* as far as the flags of TCP */

/* quick is parse for what nearly all packets are: TCP and UDP without options, extensions or fragments, whose first bytes lie together.
 * It tells whether it is one. */
static __always_inline int quick(const __u8 *h, struct packet *p, const int six)
{
	const __u8 *t;

	if (six) {
		if (h[0] >> 4 != 6)
			return 0;
		p->protocol = h[6];
		t = h + 40;
	} else {
		if (h[0] != 0x45 || ((h[6] & 0x3f) | h[7]))
			return 0;
		p->protocol = h[9];
		t = h + 20;
	}
	if (p->protocol == TCP) {
		p->tcp_flags = t[13];
		if (t[13] & (SYN | RST | FIN)) {
			if (t[13] & SYN)
				p->opens = t[13] & ACK ? ANSWERS : OPENS;
			p->ends = t[13] & RST ? RESETS : t[13] & FIN ? ENDS : 0;
		}
	} else if (p->protocol != UDP) {
		return 0;
	}
	p->sport = be16(t);
	p->dport = be16(t + 2);
	if (six) {
		copy16(&p->src, h + 8);
		copy16(&p->dst, h + 24);
	} else {
		copy4(&p->src, h + 12);
		copy4(&p->dst, h + 16);
	}
	return 1;
}

/* parse fills in addresses, ports and what the packet is, or gives a reason to drop it. p->six is known. */
static __noinline int parse(const struct bpf_dynptr *d, __u32 at, struct packet *p, int inner)
{
	__u8 buffer[40], *h;
	__u32 id = 0, frag = 0, later, reason;

	if (p->six) {
		h = bpf_dynptr_slice(d, at, buffer, 40);
		if (!h || h[0] >> 4 != 6)
			return INVALID_PACKET;
		p->protocol = h[6];
		copy16(&p->src, h + 8);
		copy16(&p->dst, h + 24);
		at = extensions(d, at + 40, p, &frag, &id);
		if (!at)
			return INVALID_PACKET;
		later = frag & 0xfff8;
		frag &= 0xfff9;
	} else {
		h = bpf_dynptr_slice(d, at, buffer, 20);
		if (!h || h[0] >> 4 != 4 || (h[0] & 15) < 5)
			return INVALID_PACKET;
		p->protocol = h[9];
		copy4(&p->src, h + 12);
		copy4(&p->dst, h + 16);
		frag = be16(h + 6) & 0x3fff;
		later = frag & 0x1fff;
		id = be16(h + 4);
		at += (h[0] & 15) * 4;
	}
	if (later)
		return inner ? INVALID_PACKET : fragment(p, id, 0);
	reason = transport(d, at, p, inner);
	if (!reason && frag && !inner)
		fragment(p, id, 1);
	return reason;
}
