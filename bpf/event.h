/* What is told, and counted. */
#pragma once

#include "packet.h"

/* What judging has come to. */
enum verdict { NOT_OURS, PASSES, PASSES_AUDITED, DROPS };

struct answer {
	struct said said[DIRECTIONS];
	__u32 src_identity, dst_identity; /* of who started the flow, and the other */
	__u8 verdict, reason, direction;
	__u8 reply; /* the packet is not of who started the flow */
	__u8 established;
	__u8 fresh; /* the packet begins a flow */
	__u8 pad[2];
};

/* tally counts a packet that was dropped, or would have been. */
static __always_inline void tally(const struct packet *p, const struct answer *a)
{
	__u32 d = a->direction & 1;
	struct drop one = { 1, p->length }, *old;
	struct drop_key k = { .direction = d, .reason = a->reason, .audited = a->verdict == PASSES_AUDITED };

	k.subject = d == EGRESS ? a->src_identity : a->dst_identity;
	k.peer = d == EGRESS ? a->dst_identity : a->src_identity;
	if (a->said[d].judged) {
		k.family = a->said[d].family;
		k.because = a->said[d].because;
		k.set = a->said[d].set;
		k.rule = a->said[d].rule;
	}
	old = bpf_map_lookup_elem(&drops, &k);
	if (!old) {
		/* Another packet on this CPU may have come between, from a softirq: then the key is there. */
		if (!bpf_map_update_elem(&drops, &k, &one, BPF_NOEXIST))
			return;
		old = bpf_map_lookup_elem(&drops, &k);
	}
	if (old) {
		__sync_fetch_and_add(&old->packets, 1);
		__sync_fetch_and_add(&old->bytes, p->length);
		return;
	}
	count(UNCOUNTED_PACKETS, 1);
	count(UNCOUNTED_BYTES, p->length);
}

/* tell reports a packet, and counts it when it was or would have been dropped. */
__noinline int tell(struct packet *p, struct answer *a, __u32 kind)
{
	struct event *e;

	if (!p || !a)
		return 0;
	if (kind == FLOW_DENIED || kind == FLOW_AUDITED)
		tally(p, a);
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e) {
		count(EVENTS_LOST, 1);
		return 0;
	}
	e->since = bpf_ktime_get_ns();
	e->src = p->src;
	e->dst = p->dst;
	e->src_identity = a->reply ? a->dst_identity : a->src_identity;
	e->dst_identity = a->reply ? a->src_identity : a->dst_identity;
	e->ifindex = p->ifindex;
	e->length = p->length;
	e->said[EGRESS] = a->said[EGRESS];
	e->said[INGRESS] = a->said[INGRESS];
	e->sport = p->sport;
	e->dport = p->dport;
	e->protocol = p->protocol;
	e->tcp_flags = p->tcp_flags;
	e->kind = kind;
	e->reason = kind == FLOW_DENIED ? a->reason : 0;
	e->hook = p->hook;
	e->direction = a->direction;
	e->reply = a->reply;
	e->established = a->established;
	e->pad = 0;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

/* refuse drops a packet that is wrong in itself, whatever policy says; identity is whose it is, when that is known. */
static __noinline int refuse(struct packet *p, __u32 identity, __u32 reason)
{
	struct answer a = { .src_identity = identity, .verdict = DROPS, .reason = reason, .direction = EGRESS };

	tell(p, &a, FLOW_DENIED);
	return DROPS;
}
