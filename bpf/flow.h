/* Flows: one answer for all packets of a connection, both ways, until policy changes. */
#pragma once

#include "judge.h"

/* In seconds. A TCP connection has no limit of its own: what comes after it without a SYN opens nothing. */
enum { DATAGRAMS_IDLE = 120, ICMP_IDLE = 30, CLOSED_IDLE = 60 };
enum { EPHEMERAL = 32768 }; /* where Linux begins to take ports for who connects */

static __always_inline __u32 clock(void)
{
	return bpf_jiffies64();
}

/* key makes the key of a packet's flow, and tells whether its sender is the high side. */
static __always_inline __u32 key(struct flow_key *k, const struct packet *p)
{
	__u16 sport = p->sport, dport = p->dport;
	__u32 high;

	k->protocol = p->protocol;
	k->apart = 0;
	k->pad = 0;
	if (p->echo) {
		dport = sport;
	} else if (p->icmp) {
		k->apart = 1;
		sport = dport;
	}
	if (p->src.q[0] != p->dst.q[0])
		high = p->src.q[0] > p->dst.q[0];
	else if (p->src.q[1] != p->dst.q[1])
		high = p->src.q[1] > p->dst.q[1];
	else
		high = sport > dport;
	k->low = high ? p->dst : p->src;
	k->high = high ? p->src : p->dst;
	k->low_port = high ? dport : sport;
	k->high_port = high ? sport : dport;
	return high;
}

static __always_inline int live(const struct flow *f, const struct packet *p, __u32 now, __u32 hz)
{
	__u32 idle = now - f->seen;

	if (f->flags & CLOSED)
		return idle <= CLOSED_IDLE * hz;
	if (p->protocol == TCP)
		return 1;
	return idle <= (p->icmp ? ICMP_IDLE : DATAGRAMS_IDLE) * hz;
}

/* starter tells whether the high side has started a flow that is not known. Only a connection's first packets say so; of others it
 * is guessed by who has a port that is taken at random. They open nothing: who has no such connection answers with a reset. */
static __always_inline __u32 starter(const struct packet *p, __u32 high)
{
	int source, destination;

	if (p->protocol != TCP && p->protocol != SCTP)
		return high;
	if (p->opens)
		return p->opens == OPENS ? high : !high;
	source = p->sport >= EPHEMERAL;
	destination = p->dport >= EPHEMERAL;
	return destination && !source ? !high : high;
}

/* anew judges a packet whose flow, if it is known, has no answer of this epoch. The packet is put back as it was. What is known before
 * judging is written down at once, for want of stack. */
__noinline int anew(struct packet *p, struct flow_key *k, struct flow *old, __u32 high, __u32 now)
{
	__u32 zero = 0, by;
	struct answer a = {};
	struct flow f = {};
	struct state *s;

	if (!p || !k)
		return DROPS;
	s = bpf_map_lookup_elem(&state, &zero);
	if (!s)
		return DROPS;
	high &= 1;
	f.epoch = s->epoch; /* before anything is looked up: what changes from here on is of the next */
	f.seen = now;
	if (old && live(old, p, now, s->hz)) {
		by = p->opens == OPENS ? high : !!(old->flags & BY_HIGH);
		a.fresh = p->opens == OPENS && (by != !!(old->flags & BY_HIGH) || old->flags & CLOSED);
		a.established = p->opens != OPENS && !(old->flags & CLOSED);
		if (p->opens != OPENS)
			f.flags = old->flags & (LOW_ENDED | HIGH_ENDED | CLOSED);
	} else {
		by = starter(p, high);
		a.fresh = 1;
	}
	a.reply = by != high;
	if (by)
		f.flags |= BY_HIGH;
	if (p->host)
		f.flags |= (p->host == SOURCE) == high ? HIGH_HOST : LOW_HOST;

	if (a.reply)
		turn(p);
	judge(p, &a, s->flags & AUDIT);
	if (a.reply)
		turn(p);
	switch (a.verdict) {
	case NOT_OURS:
		return NOT_OURS;
	case DROPS:
		tell(p, &a, FLOW_DENIED);
		return DROPS;
	case PASSES_AUDITED:
		f.flags |= AUDITED;
	}
	bpf_map_update_elem(&flows, k, &f, BPF_ANY);
	if (a.fresh)
		tell(p, &a, f.flags & AUDITED ? FLOW_AUDITED : FLOW_NEW);
	return a.verdict;
}

/* end takes note of a FIN, a RST and their like. */
__noinline int end(struct packet *p, struct flow_key *k, __u32 high)
{
	struct address *known;
	struct answer a = {};
	__u32 now, before;
	struct flow *f;

	if (!p || !k)
		return 0;
	f = bpf_map_lookup_elem(&flows, k);
	if (!f)
		return 0;
	now = p->ends == RESETS ? LOW_ENDED | HIGH_ENDED : high ? HIGH_ENDED : LOW_ENDED;
	before = __sync_fetch_and_or(&f->flags, now);
	if (((before | now) & (LOW_ENDED | HIGH_ENDED)) != (LOW_ENDED | HIGH_ENDED))
		return 0;
	before = __sync_fetch_and_or(&f->flags, CLOSED);
	if (before & CLOSED)
		return 0;
	a.reply = !!(before & BY_HIGH) != !!high;
	a.established = 1;
	known = bpf_map_lookup_elem(&addresses, a.reply ? &p->dst : &p->src);
	if (known)
		a.src_identity = known->identity;
	known = bpf_map_lookup_elem(&addresses, a.reply ? &p->src : &p->dst);
	if (known)
		a.dst_identity = known->identity;
	tell(p, &a, FLOW_CLOSED);
	return 0;
}

/* of_flow tells whether a packet passes: by its flow's answer, else judged. */
__noinline int of_flow(struct packet *p)
{
	__u32 zero = 0, now = clock(), high;
	struct state *s = bpf_map_lookup_elem(&state, &zero);
	struct flow_key k;
	struct flow *f;
	int v = PASSES;

	if (!p || !s)
		return DROPS;
	high = key(&k, p);
	f = bpf_map_lookup_elem(&flows, &k);
	/* Who opens is judged, unless it pings on. */
	if (f && f->epoch == s->epoch && live(f, p, now, s->hz) && (p->opens != OPENS || (p->icmp && high == !!(f->flags & BY_HIGH)))) {
		if (now - f->seen > s->hz) /* not on each packet: the line is shared by all processors */
			f->seen = now;
	} else if (f && p->ends == RESETS && !(f->flags & CLOSED)) {
		/* What ends a flow that has been allowed may, once: when a permission is withdrawn, both sides are to know. */
	} else {
		v = f ? anew(p, &k, f, high, now) : anew(p, &k, NULL, high, now);
	}
	if (p->ends && (v == PASSES || v == PASSES_AUDITED))
		end(p, &k, high);
	return v;
}
