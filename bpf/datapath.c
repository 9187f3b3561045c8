//go:build ignore

/* The programs. See README.md. */
#include "flow.h"
#include "spoof.h"

char LICENSE[] SEC("license") = "GPL";

/* They have types of their own in Go by this. */
const struct event *unused_event __attribute__((unused));
const struct question *unused_question __attribute__((unused));

/* related puts the packet inside an ICMP error, which the receiver of the error has sent, in the error's place when it is one of a flow
 * that is known: then the error passes if the flow does. */
static __noinline void related(const struct bpf_dynptr *d, struct packet *p)
{
	struct packet in = { .six = p->six, .hook = p->hook, .length = p->length };
	__u32 zero = 0, high;
	struct flow_key k;
	struct state *s;
	struct flow *f;

	if (parse(d, p->inner, &in, 1) || !same(&in.src, &p->dst))
		return;
	high = key(&k, &in);
	f = bpf_map_lookup_elem(&flows, &k);
	s = bpf_map_lookup_elem(&state, &zero);
	if (!f || !s || !live(f, &in, clock(), s->hz))
		return;
	if (f->flags & (LOW_HOST | HIGH_HOST))
		in.host = !!(f->flags & HIGH_HOST) == high ? SOURCE : DESTINATION;
	in.opens = 0;
	in.error = 0;
	*p = in;
}

/* enter judges a packet that has been parsed. */
static __always_inline int enter(void *skb, struct packet *p)
{
	struct bpf_dynptr d;

	if (p->error) {
		bpf_dynptr_from_skb(skb, 0, &d);
		related(&d, p);
	}
	return of_flow(p);
}

static __always_inline int a_pod(const union addr *a)
{
	struct address *known = bpf_map_lookup_elem(&addresses, a);

	return known && known->ifindex;
}

struct ethernet {
	__u16 type;
	__u8 from_pod, to_router, to_all;
};

/* frame parses what is on a link: the header of it, and IP when it is that. */
static __always_inline __u32 frame(struct __sk_buff *skb, struct endpoint *e, struct ethernet *eth, struct packet *p)
{
	struct bpf_dynptr d;
	__u8 *h = (__u8 *)(long)skb->data, *end = (__u8 *)(long)skb->data_end;

	if (h + 14 > end)
		return INVALID_PACKET;
	eth->type = be16(h + 12);
	eth->from_pod = same_mac(h + 6, e->mac);
	eth->to_router = same_mac(h, e->router);
	eth->to_all = h[0] & 1; /* multicast, broadcast */
	if (eth->type == ETH_P_ARP)
		return 0;
	if (skb->vlan_present || (eth->type != ETH_P_IP && eth->type != ETH_P_IPV6))
		return UNSUPPORTED_L3;
	p->six = eth->type == ETH_P_IPV6;
	if (p->six) {
		if (h + 14 + QUICK_V6 <= end && quick(h + 14, p, 1))
			return 0;
	} else {
		if (h + 14 + QUICK_V4 <= end && quick(h + 14, p, 0))
			return 0;
	}
	bpf_dynptr_from_skb(skb, 0, &d);
	return parse(&d, 14, p, 0);
}

/* tcx, on the host's side of a pod's veth: what the pod sends. What goes to the router is judged by netfilter, after DNAT. */
SEC("tcx/ingress")
int from_pod(struct __sk_buff *skb)
{
	struct packet p = { .hook = FROM_POD, .ifindex = skb->ifindex, .length = skb->len - 14 };
	struct endpoint *e = bpf_map_lookup_elem(&endpoints, &p.ifindex);
	struct ethernet eth = {};
	__u32 reason;

	if (!e) {
		refuse(&p, 0, NOT_CONFIGURED);
		return TCX_DROP;
	}
	reason = frame(skb, e, &eth, &p);
	if (reason)
		goto refuse;
	reason = INVALID_SOURCE_MAC;
	if (!eth.from_pod)
		goto refuse;
	if (eth.type == ETH_P_ARP) {
		reason = spoofs_arp(skb, e);
		if (reason)
			goto refuse;
		return TCX_NEXT;
	}
	if (p.neighbour) {
		reason = spoofs_neighbour(skb, e, &p);
		if (reason)
			goto refuse;
		return TCX_NEXT;
	}
	reason = INVALID_SOURCE_IP;
	if (!own(e, &p.src))
		goto refuse;
	if (eth.to_router)
		return TCX_NEXT;
	return enter(skb, &p) == DROPS ? TCX_DROP : TCX_NEXT;
refuse:
	refuse(&p, e->identity, reason);
	return TCX_DROP;
}

static __always_inline int to_all(struct __sk_buff *skb)
{
	__u8 *h = (__u8 *)(long)skb->data, *end = (__u8 *)(long)skb->data_end;

	return h + 1 > end || h[0] & 1;
}

/* tcx, on the host's side of a pod's veth: what the pod is sent. Only what another port of its bridge has brought is not judged yet:
 * what another pod has sent to this one was judged there, and what the host has routed or sent, by netfilter. */
SEC("tcx/egress")
int to_pod(struct __sk_buff *skb)
{
	struct packet p = { .hook = TO_POD, .ifindex = skb->ifindex, .length = skb->len - 14 };
	struct endpoint *e = bpf_map_lookup_elem(&endpoints, &p.ifindex);
	__u32 from = skb->ingress_ifindex, sibling = 0, reason;
	struct ethernet eth = {};
	struct sk_buff *k;

	if (!e) {
		refuse(&p, 0, NOT_CONFIGURED);
		return TCX_DROP;
	}
	if (!from || !e->bridge || from == e->bridge)
		return TCX_NEXT;
	if (bpf_map_lookup_elem(&endpoints, &from)) {
		sibling = 1;
		if (!to_all(skb))
			return TCX_NEXT;
	}
	k = bpf_cast_to_kern_ctx(skb);
	if (k->_skb_refdst) /* it has a route */
		return TCX_NEXT;
	reason = frame(skb, e, &eth, &p);
	if (reason)
		goto refuse;
	if (eth.type == ETH_P_ARP || p.neighbour)
		return TCX_NEXT;
	reason = INVALID_SOURCE_IP;
	if (!sibling && a_pod(&p.src)) /* of this node: it does not come from there */
		goto refuse;
	if (eth.to_all)
		return receive(&p, e->identity) == DROPS ? TCX_DROP : TCX_NEXT;
	return enter(skb, &p) == DROPS ? TCX_DROP : TCX_NEXT;
refuse:
	refuse(&p, 0, reason);
	return TCX_DROP;
}

enum { NFPROTO_IPV6 = 10, LOOPBACK = 1 };

static __always_inline int loopback(const union addr *a)
{
	if (a->q[0])
		return 0;
	return a->w[2] == bpf_htonl(0xffff) ? a->b[12] == 127 : !a->w[2] && a->w[3] == bpf_htonl(1);
}

/* hooked judges what the host routes, receives or sends. */
static __always_inline int hooked(struct bpf_nf_ctx *ctx, __u32 hook)
{
	struct sk_buff *skb = ctx->skb;
	struct packet p = { .hook = hook, .length = skb->len };
	struct bpf_dynptr d;
	__u32 reason;
	__u8 *h;

	p.six = ctx->state->pf == NFPROTO_IPV6;
	p.host = hook == LOCAL_OUT ? SOURCE : hook == LOCAL_IN ? DESTINATION : NEITHER;
	p.ifindex = hook == LOCAL_OUT ? ctx->state->out->ifindex : ctx->state->in->ifindex;
	if (hook == LOCAL_IN && p.ifindex == LOOPBACK) /* the host to itself */
		return NF_ACCEPT;
	bpf_dynptr_from_skb((struct __sk_buff *)skb, 0, &d);
	if (p.six) {
		h = bpf_dynptr_slice(&d, 0, NULL, QUICK_V6);
		reason = h && quick(h, &p, 1) ? 0 : parse(&d, 0, &p, 0);
	} else {
		h = bpf_dynptr_slice(&d, 0, NULL, QUICK_V4);
		reason = h && quick(h, &p, 0) ? 0 : parse(&d, 0, &p, 0);
	}
	if (reason) {
		if (!a_pod(&p.src) && !a_pod(&p.dst))
			return NF_ACCEPT;
		refuse(&p, 0, reason);
		return NF_DROP;
	}
	if (p.neighbour && hook != FORWARD)
		return NF_ACCEPT;
	/* Where it was to go out does not count: DNAT may have changed it since. */
	if (hook == LOCAL_OUT && loopback(&p.dst))
		return NF_ACCEPT;
	return enter(skb, &p) == DROPS ? NF_DROP : NF_ACCEPT;
}

SEC("netfilter")
int forward(struct bpf_nf_ctx *ctx)
{
	return hooked(ctx, FORWARD);
}

SEC("netfilter")
int local_in(struct bpf_nf_ctx *ctx)
{
	return hooked(ctx, LOCAL_IN);
}

SEC("netfilter")
int local_out(struct bpf_nf_ctx *ctx)
{
	return hooked(ctx, LOCAL_OUT);
}

/* Run by pkg/node/datapath on questions, behind 14 bytes that count for nothing: what would be said of a flow's first packet? */
SEC("tcx/ingress")
int check(struct __sk_buff *skb)
{
	__u8 *h = (__u8 *)(long)skb->data, *end = (__u8 *)(long)skb->data_end;
	struct question *q = (struct question *)(h + 14);
	struct answer a = {};
	struct packet p = {};
	struct state *s;
	__u32 zero = 0;

	s = bpf_map_lookup_elem(&state, &zero);
	if (!s || (__u8 *)(q + 1) > end)
		return DROPS;
	copy16(&p.src, q->src.b);
	copy16(&p.dst, q->dst.b);
	p.sport = q->sport;
	p.dport = q->dport;
	p.protocol = q->protocol;
	p.host = q->host;
	judge(&p, &a, s->flags & AUDIT);
	return a.verdict;
}
