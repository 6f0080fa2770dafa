/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Counting: exact, and apart from telling. */
#ifndef SIGTRACE_COUNT_H
#define SIGTRACE_COUNT_H

static __always_inline void count(u64 cgroup, u32 what)
{
	struct count_key key = { .cgroup_lo = cgroup, .cgroup_hi = cgroup >> 32, .what = what };
	u64 one = 1;
	u64 *n = bpf_map_lookup_elem(&counts, &key);

	if (!n) {
		if (!bpf_map_update_elem(&counts, &key, &one, BPF_NOEXIST))
			return;
		/* Full, or another CPU was first (its own slot is zero there, ours too). */
		n = bpf_map_lookup_elem(&counts, &key);
		if (!n) {
			enter(what & COUNT_SIGNAL ? LEDGER_COUNTS_FULL_SIGNAL : LEDGER_COUNTS_FULL_EXIT);
			return;
		}
	}
	/* Per CPU, and a program that interrupts another on the same CPU is either another key's or, since v6.1
	 * (commit 05b24ff9b2cf, "bpf: Prevent bpf program recursion for raw tracepoint probes"), counted by the
	 * kernel as a recursion miss. */
	*n += 1;
}

#endif
