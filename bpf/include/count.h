/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Counting: exact, and apart from telling.
 *
 * Signals are counted in a table of slots, one a CPU, which costs a fifth of a per-CPU hash; a signal whose slot
 * another key has claimed goes to the hash, and what finds the hash full to an "other" counter in the ledger. A slot
 * needs no atomics: signal_generate runs with interrupts off (under the target's siglock; on PREEMPT_RT the tracepoint
 * itself keeps the CPU), and nothing else in the kernel writes slots. User space frees those of removed cgroups, which nobody counts in any more.
 */
#ifndef SIGTRACE_COUNT_H
#define SIGTRACE_COUNT_H

static __always_inline bool count_if_known(u64 cgroup, u32 what)
{
	struct count_key key = { .cgroup_lo = cgroup, .cgroup_hi = cgroup >> 32, .what = what };
	u64 *n = bpf_map_lookup_elem(&counts, &key);

	if (n)
		*n += 1;
	return n;
}

static __always_inline void count_new(u64 cgroup, u32 what)
{
	struct count_key key = { .cgroup_lo = cgroup, .cgroup_hi = cgroup >> 32, .what = what };
	u64 one = 1;

	/* Else full, or another CPU was first (its own value is in its own slot, ours is zero). */
	if (bpf_map_update_elem(&counts, &key, &one, BPF_NOEXIST) && !count_if_known(cgroup, what))
		enter(what & COUNT_SIGNAL ? LEDGER_COUNTS_FULL_SIGNAL : LEDGER_COUNTS_FULL_EXIT);
}

/* By whose name: 0 is nobody's. */
static __always_inline u64 counted_as(u64 cgroup)
{
	cgroup = payer_of(cgroup);
	return is_stranger(cgroup) ? 0 : cgroup;
}

/* Fibonacci hashing: the product's high bits depend on all of the key's. */
static __always_inline struct slot *slot_of(struct slots *mine, u64 cgroup, u32 what)
{
	return &mine->slot[((u32)cgroup * 0x9e3779b1U + what * 0x85ebca6bU) >> 20];
}

/* The slot is another key's, or nobody's yet. */
static __noinline int count_elsewhere(u64 cgroup, u32 what)
{
	u32 cpu = bpf_get_smp_processor_id();
	struct slots *mine = bpf_map_lookup_elem(&slots, &cpu);
	struct slot *slot;

	if (count_if_known(cgroup, what) || !mine)
		return 0;
	cgroup = counted_as(cgroup);
	slot = slot_of(mine, cgroup, what);
	if (!slot->cgroup && cgroup) {
		slot->what = what;
		slot->count = 1;
		slot->cgroup = cgroup;
	} else if (slot->cgroup == cgroup && slot->what == what) {
		slot->count++;
	} else if (!count_if_known(cgroup, what)) {
		count_new(cgroup, what);
	}
	return 0;
}

static __always_inline void count_signal(u64 cgroup, u32 signo, u32 result)
{
	u32 what = COUNT_SIGNAL | (signo & 0xff) << 8 | (result & 0xff);
	u32 cpu = bpf_get_smp_processor_id();
	struct slots *mine = bpf_map_lookup_elem(&slots, &cpu);
	struct slot *slot;

	if (!mine) {
		enter(LEDGER_COUNTS_FULL_SIGNAL); /* cannot be: one element for each possible CPU */
		return;
	}
	slot = slot_of(mine, cgroup, what);
	if (slot->cgroup == cgroup && slot->what == what)
		slot->count++;
	else
		count_elsewhere(cgroup, what);
}

static __always_inline void count_exit(u64 cgroup, u32 wait_status)
{
	u32 what = COUNT_EXIT | wait_status;

	if (count_if_known(cgroup, what))
		return;
	cgroup = counted_as(cgroup);
	if (!count_if_known(cgroup, what))
		count_new(cgroup, what);
}

#endif
