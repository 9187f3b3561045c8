/* What a pod may not pretend. */
#pragma once

#include "parse.h"

static __always_inline int same_mac(const __u8 *a, const __u8 *b)
{
	const __u16 *x = (const __u16 *)a, *y = (const __u16 *)b;

	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2];
}

__noinline int own(struct endpoint *e, union addr *a)
{
	if (!e || !a)
		return 0;
	for (int i = 0; i < 4; i++)
		if (same(&e->addresses[i], a))
			return a->q[0] || a->q[1];
	return 0;
}

static __always_inline int unspecified(const union addr *a)
{
	return !a->q[0] && !a->q[1];
}

static __always_inline int link_local(const union addr *a)
{
	return a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80;
}

/* spoofs_arp: who speaks of an address that is not the pod's. RFC 826; a probe (RFC 5227) says nothing of its sender. */
static __noinline int spoofs_arp(struct __sk_buff *skb, struct endpoint *e)
{
	__u8 buffer[28], *h;
	struct bpf_dynptr d;
	union addr a;

	bpf_dynptr_from_skb(skb, 0, &d);
	h = bpf_dynptr_slice(&d, 14, buffer, 28);
	if (!h || be16(h) != 1 || be16(h + 2) != ETH_P_IP || h[4] != 6 || h[5] != 4)
		return INVALID_PACKET;
	if (!same_mac(h + 8, e->mac))
		return INVALID_SOURCE_MAC;
	copy4(&a, h + 14);
	return own(e, &a) || !a.w[3] ? 0 : INVALID_SOURCE_IP;
}

/* spoofs_neighbour: RFC 4861 and multicast listeners, which speak from addresses of the link too. */
static __noinline int spoofs_neighbour(struct __sk_buff *skb, struct endpoint *e, struct packet *p)
{
	__u8 type = p->dport >> 8, buffer[16], *h;
	struct bpf_dynptr d;
	union addr target;

	if (!own(e, &p->src) && !link_local(&p->src) && !unspecified(&p->src))
		return INVALID_SOURCE_IP;
	if (type == ROUTER_ADVERT || type == REDIRECT_V6)
		return FORBIDDEN_ICMPV6;
	if (type != NEIGHBOUR_ADVERT)
		return 0;
	bpf_dynptr_from_skb(skb, 0, &d);
	h = bpf_dynptr_slice(&d, 14 + 40 + 8, buffer, 16);
	if (!h)
		return INVALID_PACKET;
	copy16(&target, h);
	return own(e, &target) || link_local(&target) ? 0 : FORBIDDEN_ICMPV6;
}
