/* Sizes are those of small tests; pkg/node/datapath sets its own. */
#pragma once

#include "words.h"

#define MAP(name, kind, size, flags, k, v)        \
	struct {                                  \
		__uint(type, BPF_MAP_TYPE_##kind); \
		__uint(max_entries, size);        \
		__uint(map_flags, flags);         \
		__type(key, k);                   \
		__type(value, v);                 \
	} name SEC(".maps")

MAP(addresses, HASH, 1024, BPF_F_NO_PREALLOC, union addr, struct address);
MAP(subjects, ARRAY, 1024, 0, __u32, __u32); /* identity → set; 0 is none */
MAP(sets, ARRAY, 1024, 0, __u32, struct set);
MAP(rules, HASH, 1024, BPF_F_NO_PREALLOC, struct rule_key, struct value);
MAP(ranges, LPM_TRIE, 1024, BPF_F_NO_PREALLOC, struct range_key, __u32);
MAP(endpoints, HASH, 1024, BPF_F_NO_PREALLOC, __u32, struct endpoint); /* by the host's side of the veth */
MAP(flows, LRU_HASH, 1024, 0, struct flow_key, struct flow);
MAP(fragments, LRU_HASH, 1024, 0, struct fragment_key, struct fragment);
MAP(state, ARRAY, 1, 0, __u32, struct state);
MAP(drops, PERCPU_HASH, 1024, 0, struct drop_key, struct drop);
MAP(counters, PERCPU_ARRAY, COUNTERS, 0, __u32, __u64);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

static __always_inline void count(__u32 counter, __u64 n)
{
	__u64 *c = bpf_map_lookup_elem(&counters, &counter);

	if (c)
		__sync_fetch_and_add(c, n);
}
