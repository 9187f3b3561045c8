/* The words that the programs share with pkg/node/datapath: map keys and values, and events. Ports are in host order; addresses are
 * in network order, IPv4 as ::ffff:a.b.c.d. */
#pragma once

#include "kernel.h"

union addr {
	__u8 b[16];
	__be32 w[4];
	__u64 q[2];
};

/* pkg/verdict */
enum direction { EGRESS, INGRESS, DIRECTIONS };
enum family { NETWORK, MESH, NETWORK_AUDIT, MESH_AUDIT, FAMILIES };
enum action { ALLOW, DENY, PASS };
enum entity { ALL = 1, WORLD = 2, PODS = 4, HOST = 8, REMOTE_NODE = 16, KUBE_API_SERVER = 32 };
enum because { BY_RULE, NO_POLICY, ISOLATION, UNKNOWN, EXEMPT };
enum class { OF_IDENTITY, OF_NAMESPACE, OF_ENTITIES, OF_RANGE, OF_WORLD_RANGE };

/* pkg/node/datapath */
enum kind { FLOW_NEW = 1, FLOW_CLOSED, FLOW_DENIED, FLOW_AUDITED };
enum hook { FROM_POD = 1, TO_POD, FORWARD, LOCAL_IN, LOCAL_OUT };
enum reason {
	INVALID_SOURCE_MAC = 130,
	INVALID_SOURCE_IP = 132,
	POLICY_DENIED = 133,
	INVALID_PACKET = 134,
	UNSUPPORTED_L3 = 139,
	NOT_CONFIGURED = 165,
	FRAGMENT_UNKNOWN = 175,
	FORBIDDEN_ICMPV6 = 176,
	POLICY_DENY = 181,
};

struct address {
	__u32 identity;
	__u32 namespace;
	__u32 entities;
	__u32 ifindex; /* of a pod of this node */
};

struct part {
	__u8 isolated;
	__u8 classes; /* bits */
	__u8 any;     /* protocol 0 is in use */
	__u8 known;   /* zero: nobody has written it, and nothing passes */
	__u32 lengths; /* bits */
};

struct set {
	struct part parts[DIRECTIONS][FAMILIES];
};

struct rule_key {
	__u32 set;
	__u32 number; /* of the class */
	__u8 class;
	__u8 place; /* direction << 4 | family */
	__u8 protocol;
	__u8 bits;
	__u16 port;
	__u16 pad;
};

struct value {
	__u32 admin_rank, admin_rule;
	__u32 base_rank, base_rule;
	__u32 deny, allow; /* rules are numbered from 1 */
	__u8 admin_action, base_action;
	__u16 pad;
};

struct range_key {
	__u32 length; /* 64 more than that of the prefix of address */
	__u32 set;
	__u8 direction;
	__u8 six;
	__u8 world;
	__u8 pad;
	__u8 address[16];
};

struct endpoint {
	union addr addresses[4]; /* zero: none */
	__u8 mac[6];
	__u8 router[6];
	__u32 bridge;
	__u32 identity;
	__u32 pad;
};

/* A flow has one entry for both ways. */
struct flow_key {
	union addr low, high;
	__u16 low_port, high_port;
	__u8 protocol;
	__u8 apart; /* ICMP that is no echo */
	__u16 pad;
};

enum flow_flag { BY_HIGH = 1, AUDITED = 2, LOW_ENDED = 4, HIGH_ENDED = 8, CLOSED = 16, LOW_HOST = 32, HIGH_HOST = 64 };

struct flow {
	__u32 epoch; /* that it was judged in */
	__u32 seen;  /* in ticks of the kernel, to about a second */
	__u32 flags;
};

/* What the program check is asked: the first packet of a flow. */
struct question {
	union addr src, dst;
	__u16 sport, dport;
	__u8 protocol;
	__u8 host; /* enum side */
	__u16 pad;
};

struct fragment_key {
	union addr src, dst;
	__u32 id;
	__u32 protocol;
};

struct fragment {
	__u16 sport, dport;
};

enum state_flag { AUDIT = 1 };

struct state {
	__u32 epoch;
	__u32 flags;
	__u32 hz; /* the kernel's ticks a second, which are cheaper to read than a clock */
	__u32 pad;
};

struct said {
	__u32 set, rule;
	__u8 judged, allowed, family, because;
};

struct event {
	__u64 since; /* CLOCK_MONOTONIC, ns */
	union addr src, dst;
	__u32 src_identity, dst_identity;
	__u32 ifindex;
	__u32 length;
	struct said said[DIRECTIONS];
	__u16 sport, dport;
	__u8 protocol, tcp_flags, kind, reason;
	__u8 hook, direction, reply, established;
	__u32 pad;
};

struct drop_key {
	__u32 subject, peer;
	__u32 set, rule;
	__u8 direction, family, because, reason;
	__u8 audited;
	__u8 pad[3];
};

struct drop {
	__u64 packets, bytes;
};

enum counter { EVENTS_LOST, UNCOUNTED_PACKETS, UNCOUNTED_BYTES, COUNTERS };
