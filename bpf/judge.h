/* What policy says of the first packet of a flow. pkg/verdict has the same in Go: Combine, and Judge, by which this is tested. */
#pragma once

#include "event.h"

static __always_inline __u32 lower_rule(__u32 a, __u32 b)
{
	return !a || (b && b < a) ? b : a;
}

static __always_inline void merge(struct value *v, const struct value *o)
{
	if (o->admin_rank && (!v->admin_rank || o->admin_rank < v->admin_rank)) {
		v->admin_rank = o->admin_rank;
		v->admin_rule = o->admin_rule;
		v->admin_action = o->admin_action;
	}
	if (o->base_rank && (!v->base_rank || o->base_rank < v->base_rank)) {
		v->base_rank = o->base_rank;
		v->base_rule = o->base_rule;
		v->base_action = o->base_action;
	}
	v->deny = lower_rule(v->deny, o->deny);
	v->allow = lower_rule(v->allow, o->allow);
}

/* look merges into v what the entries of one peer class say of a port: the longest prefix of its own protocol, else protocol 0. */
__noinline int look(struct rule_key *k, __u32 protocol, __u32 port, struct part *part, struct value *v)
{
	struct value *o = NULL;
	__u32 lengths;

	if (!k || !part || !v)
		return 0;
	lengths = part->lengths;
	k->protocol = protocol;
	if (lengths & 1 << 16) {
		k->bits = 16;
		k->port = port;
		o = bpf_map_lookup_elem(&rules, k);
	}
	if (!o && (lengths & 0xfffe)) {
		for (int n = 15; n > 0; n--) {
			if (!(lengths & 1 << n))
				continue;
			k->bits = n;
			k->port = port & (0xffff << (16 - n));
			o = bpf_map_lookup_elem(&rules, k);
			if (o)
				break;
		}
	}
	k->bits = 0;
	k->port = 0;
	if (!o && (lengths & 1))
		o = bpf_map_lookup_elem(&rules, k);
	if (!o && part->any) {
		k->protocol = 0;
		o = bpf_map_lookup_elem(&rules, k);
	}
	if (o)
		merge(v, o);
	return 0;
}

/* range gives the number of the smallest range of a set that an address is in, or 0. */
__noinline int range(__u32 set, __u32 direction, __u32 world, union addr *a)
{
	struct range_key k = { .length = 64 + 128, .set = set, .direction = direction, .world = world };
	__u32 *number;

	if (!a)
		return 0;
	__builtin_memcpy(k.address, a, sizeof(k.address));
	k.six = !(a->q[0] == 0 && a->w[2] == bpf_htonl(0xffff));
	number = bpf_map_lookup_elem(&ranges, &k);
	return number ? *number : 0;
}

/* find merges what all classes of a remote say, in one direction and family. */
static __always_inline void find(struct value *v, struct rule_key *k, struct packet *p, struct address *remote, union addr *at,
				 struct part *part, __u32 direction)
{
	__u32 protocol = p->protocol, port = p->dport, world = remote->entities & WORLD && part->classes & 1 << OF_WORLD_RANGE;

	if (part->classes & 1 << OF_IDENTITY && remote->identity) {
		k->class = OF_IDENTITY;
		k->number = remote->identity;
		look(k, protocol, port, part, v);
	}
	if (part->classes & 1 << OF_NAMESPACE && remote->namespace) {
		k->class = OF_NAMESPACE;
		k->number = remote->namespace;
		look(k, protocol, port, part, v);
	}
	if (part->classes & 1 << OF_ENTITIES) {
		k->class = OF_ENTITIES;
		k->number = remote->entities;
		look(k, protocol, port, part, v);
	}
	if (world || part->classes & 1 << OF_RANGE) {
		k->class = world ? OF_WORLD_RANGE : OF_RANGE;
		k->number = range(k->set, direction, world, at);
		if (k->number)
			look(k, protocol, port, part, v);
	}
}

/* combine decides by a merged value: whether it is allowed, why, and by which rule, in one word for want of stack. */
#define ALLOWED (1u << 31)
#define BECAUSE(x) ((__u32)(x) << 28)

static __always_inline __u32 combine(const struct value *v, int isolated)
{
	if (v->admin_rank && v->admin_action != PASS)
		return (v->admin_rule - 1) | (v->admin_action == ALLOW ? ALLOWED : 0);
	if (v->deny)
		return v->deny - 1;
	if (v->allow)
		return (v->allow - 1) | ALLOWED;
	if (isolated)
		return BECAUSE(ISOLATION);
	if (v->base_rank && v->base_action != PASS)
		return (v->base_rule - 1) | (v->base_action == ALLOW ? ALLOWED : 0);
	return BECAUSE(NO_POLICY) | ALLOWED;
}

static __always_inline void note(struct said *out, __u32 family, __u32 c)
{
	out->rule = c & (BECAUSE(1) - 1);
	out->because = (c >> 28) & 7;
	out->allowed = c >> 31;
	out->family = family;
}

/* decide asks the set of one side of a packet about the other side, all families: those of audit only when the others allow. */
__noinline int decide(struct packet *p, struct address *remote, __u32 number, __u32 direction, struct said *out)
{
	struct set *set = bpf_map_lookup_elem(&sets, &number);

	if (!p || !remote || !out)
		return DROPS;
	out->set = number;
	out->judged = 1;
	if (!set || !set->parts[0][0].known) {
		out->because = UNKNOWN;
		return DROPS;
	}
	out->allowed = 1;
	out->because = NO_POLICY;
	direction &= 1;
	for (__u32 f = 0; f < FAMILIES; f++) {
		struct part *part = &set->parts[direction][f];
		struct rule_key k = { .set = number, .place = direction << 4 | f };
		struct value v = {};
		__u32 c;

		if (!part->isolated && !part->classes)
			continue;
		if (part->classes)
			find(&v, &k, p, remote, direction == EGRESS ? &p->dst : &p->src, part, direction);
		c = combine(&v, part->isolated);
		if (!(c & ALLOWED)) {
			note(out, f, c);
			return f < NETWORK_AUDIT ? DROPS : PASSES_AUDITED;
		}
		if (f < NETWORK_AUDIT && out->because == NO_POLICY && !(c & BECAUSE(7))) /* by rule, the first */
			note(out, f, c);
	}
	return PASSES;
}

/* side is what is known of one end of a packet. */
static __always_inline void side(struct address *out, const union addr *a, int host, int source)
{
	struct address *known = bpf_map_lookup_elem(&addresses, a);

	if (known)
		*out = *known;
	else
		out->entities = ALL | WORLD;
	if (host) {
		/* The node itself, by whichever of its addresses; a proxy of the node may borrow that of a pod. */
		if (!(out->entities & PODS))
			out->entities = (out->entities & ~(WORLD | REMOTE_NODE)) | HOST;
	} else if (source && out->entities & HOST) {
		/* Our own address, but not from us: nobody. */
		*out = (struct address){ .entities = ALL };
	}
}

/* answers asks the set of an identity. */
static __always_inline int ask(struct packet *p, struct answer *a, struct address *subject, struct address *remote, __u32 direction, __u32 audit)
{
	__u32 id = subject->identity, *set = bpf_map_lookup_elem(&subjects, &id);
	struct said *s = &a->said[direction];
	int v;

	a->direction = direction;
	if (!set || !*set) {
		s->judged = 1;
		if (direction == INGRESS && remote->entities & HOST) {
			s->allowed = 1;
			s->because = EXEMPT; /* the node's agent probes before anything is known */
			return PASSES;
		}
		s->because = UNKNOWN;
		v = DROPS;
	} else {
		v = decide(p, remote, *set, direction, s);
	}
	if (v != PASSES)
		a->reason = s->because == BY_RULE ? POLICY_DENY : POLICY_DENIED;
	return v == DROPS && audit ? PASSES_AUDITED : v;
}

/* strays tells whether a pod of this node seems to send from where it is not. At tcx this has been seen to by every packet's address. */
static __always_inline int strays(const struct packet *p, const struct address *sender)
{
	__u32 ifindex = sender->ifindex;
	struct endpoint *e;

	if (!ifindex || !p->ifindex || ifindex == p->ifindex || (p->hook != FORWARD && p->hook != LOCAL_IN))
		return 0;
	e = bpf_map_lookup_elem(&endpoints, &ifindex);
	return e && e->bridge != p->ifindex;
}

/* judge asks both sides, as far as they are pods of this node. The packet is one of who started the flow. */
__noinline int judge(struct packet *p, struct answer *a, __u32 audit)
{
	struct address src = {}, dst = {};
	__u32 audited = 0, v;

	if (!p || !a)
		return 0;
	side(&src, &p->src, p->host == SOURCE, 1);
	side(&dst, &p->dst, p->host == DESTINATION, 0);
	a->src_identity = src.identity;
	a->dst_identity = dst.identity;
	a->verdict = NOT_OURS;
	if (!src.ifindex && !dst.ifindex)
		return 0;
	if (strays(p, a->reply ? &dst : &src)) {
		a->verdict = DROPS;
		a->reason = INVALID_SOURCE_IP;
		a->direction = a->reply ? INGRESS : EGRESS;
		return 0;
	}
	a->verdict = PASSES;
	/* A pod that reaches itself by a Service has left itself, and is asked as any other; the conformance suite cyclonus counts that. */
	if (src.ifindex && p->host != SOURCE) {
		v = ask(p, a, &src, &dst, EGRESS, audit);
		if (v == DROPS) {
			a->verdict = DROPS;
			return 0;
		}
		audited = v == PASSES_AUDITED;
	}
	if (dst.ifindex) {
		if (audited) {
			/* What passes by audit is told of the direction that would have denied first. */
			__u32 reason = a->reason;

			v = ask(p, a, &dst, &src, INGRESS, audit);
			if (v != DROPS) {
				a->direction = EGRESS;
				a->reason = reason;
			}
		} else {
			v = ask(p, a, &dst, &src, INGRESS, audit);
			audited = v == PASSES_AUDITED;
		}
		if (v == DROPS) {
			a->verdict = DROPS;
			return 0;
		}
	}
	if (audited)
		a->verdict = PASSES_AUDITED;
	return 0;
}

/* receive asks the set of one pod about a packet that is to all: there is no flow of it. */
__noinline int receive(struct packet *p, __u32 identity)
{
	struct address src = {}, dst = { .identity = identity };
	struct answer a = {};
	struct state *s;
	__u32 zero = 0;

	if (!p)
		return DROPS;
	s = bpf_map_lookup_elem(&state, &zero);
	if (!s)
		return DROPS;
	side(&src, &p->src, 0, 1);
	a.src_identity = src.identity;
	a.dst_identity = identity;
	a.verdict = ask(p, &a, &dst, &src, INGRESS, s->flags & AUDIT);
	if (a.verdict == DROPS)
		tell(p, &a, FLOW_DENIED);
	return a.verdict;
}
