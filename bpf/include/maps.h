/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The state that lives in the kernel. Sizes are defaults; the loader may set others before the load. */
#ifndef SIGTRACE_MAPS_H
#define SIGTRACE_MAPS_H

/* Alone in .rodata, so that the loader can write it as one struct. */
const volatile struct config config = {};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} lives SEC(".maps");

/* Every signal by (cgroup, signo, result): one element for each possible CPU, sized at load, read through mmap. */
struct slots {
	struct slot slot[SLOTS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct slots);
} slots SEC(".maps");

/* The signals that found their slot taken, and every exit by (cgroup, wait status). */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct count_key);
	__type(value, u64);
} counts SEC(".maps");

/* Processes between EXIT and FREE. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct process_key);
	__type(value, struct zombie);
} zombies SEC(".maps");

/* Who exited last, for when `zombies` is full: it tells two last threads apart as well. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct process_key);
	__type(value, u32);
} exited SEC(".maps");

/* Whose latest exec was told, by task_struct.self_exec_id: for the spare program (process.bpf.h), which comes right after. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct process_key);
	__type(value, u64);
} execs SEC(".maps");

/* A cgroup that was made from inside a container → the cgroup of whoever made it, or whose that is charged to: what it
 * may tell and the keys it counts by are its payer's. Whoever can make cgroups could give himself any number of budgets. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, u64);
	__type(value, u64);
} payers SEC(".maps");

/* A cgroup's budgets for records (GCRA: the theoretical arrival time of the next record). */
struct limit {
	u64 tat_ns[BUDGETS];
	u64 mark_ns;   /* of the next mark in `stopping` */
	u64 delegated; /* whether a user made it who is not root */
};

/* Entries of the next table that cgroups may have which users other than root made: a delegated cgroup is enough to make
 * any number, in any depth. Together, for one user can be 65,536 (subuid(5)). */
#define DELEGATED_MAX 4096

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, u64);
	__type(value, struct limit);
} limits SEC(".maps");

/* What is stopping, until when (ns): each delivery and exit there is told. A PID namespace by its inode number, so that
 * all sub-cgroups count; where the main process is no init, its cgroup (CGROUP_KEY). Namespaces' numbers are used again,
 * the lowest first; cgroups' marks go with the cgroup; what is over user space takes out now and then. */
#define CGROUP_KEY (1ULL << 63)

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, u64);
} stopping SEC(".maps");

/* Cgroups that were removed, and when (ns). User space takes them out once a second: a record in a ring could be
 * limited away, and then the cgroup's counters would never be given back. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, u64);
	__type(value, u64);
} gone SEC(".maps");

/* Main processes that are no init (host or shared PID namespace), as user space knows them. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct process_key);
	__type(value, u32);
} watched SEC(".maps");

/* What user space learns as it goes on. */
struct gate {
	u64 asks;     /* stop signals that some container declares, bit (signo - 1), beside those that ask anyway */
	u32 watching; /* whether `watched` has any: the one look that nodes without such containers pay for */
	u32 owned;    /* every cgroup that there is has its entry in `limits` or `payers` */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct gate);
} gates SEC(".maps");

/* Processes that user space named: the tree of `trace -- CMD`, the one of `trace --pid`. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct process_key);
	__type(value, u32);
} followed SEC(".maps");

/* Cgroups that the user did not ask for, as user space finds out (config.filtered). */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, u64);
	__type(value, u32);
} unwanted SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LEDGER_SIZE);
	__type(key, u32);
	__type(value, u64);
} ledger SEC(".maps");

/* Programs know nothing of it: what one agent leaves to the next where all of this is pinned (sources/pins.py). */
struct about {
	u8 digest[32];
	u64 since_ns;
	u64 until_ns;
	u64 lost[8];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct about);
} about SEC(".maps");

/* Likewise: where cgroups are. A successor could not find those that are gone, with what was above them. */
#define NO_PREALLOC 1 /* BPF_F_NO_PREALLOC, include/uapi/linux/bpf.h */

struct place {
	char path[384];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, u64);
	__type(value, struct place);
} places SEC(".maps");

/* What one CPU remembers between records. */
struct local {
	u64 woken_ns; /* when this CPU last woke the reader */
	/* The limiter's last refusal of a signal: the same sender, target and signal in the same jiffy need no second
	 * look, and no clock. Written by signal_generate alone, with interrupts off. */
	u64 jiffy;
	u64 target;
	u64 current;
	u32 signal;
	u32 budget;
	u64 refused[BUDGETS];
	struct event draft;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct local);
} locals SEC(".maps");

static __always_inline bool is_watching(void)
{
	u32 zero = 0;
	struct gate *gate = bpf_map_lookup_elem(&gates, &zero);

	return gate && gate->watching;
}

/* Whoever is in neither table is a cgroup that is gone, and of which a zombie is left; or one of so many that a container has
 * made that its entry found no room. They share one budget, and are counted by nobody's name. */
static __always_inline bool is_stranger(u64 cgroup)
{
	u32 zero = 0;
	struct gate *gate = bpf_map_lookup_elem(&gates, &zero);

	return gate && gate->owned && !bpf_map_lookup_elem(&limits, &cgroup);
}

static __always_inline u64 declared_stop_signals(void)
{
	u32 zero = 0;
	struct gate *gate = bpf_map_lookup_elem(&gates, &zero);

	return gate ? gate->asks : 0;
}

/* Signals and exits there are nobody's business; execs are told: a container may begin there. */
static __always_inline bool is_unwanted(u64 cgroup)
{
	return config.filtered && bpf_map_lookup_elem(&unwanted, &cgroup);
}

static __always_inline u64 payer_of(u64 cgroup)
{
	u64 *payer = bpf_map_lookup_elem(&payers, &cgroup);

	return payer ? *payer : cgroup;
}

static __always_inline void enter(u32 cause)
{
	u64 *n = bpf_map_lookup_elem(&ledger, &cause);

	if (n)
		__sync_fetch_and_add(n, 1); /* programs on one CPU can nest */
}

#endif
