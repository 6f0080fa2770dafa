/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The limiter: GCRA, one per cgroup and budget, asked only for what would become a record. Two CPUs may race on a
 * tat; then one record more passes. What is refused is counted exactly.
 */
#ifndef SIGTRACE_LIMIT_H
#define SIGTRACE_LIMIT_H

/* When the table is full, cgroups share this one. */
static struct limit shared_limit;

static __always_inline struct limit *limit_of(u64 cgroup)
{
	struct limit fresh = {};
	struct limit *limit = bpf_map_lookup_elem(&limits, &cgroup);

	if (limit)
		return limit;
	bpf_map_update_elem(&limits, &cgroup, &fresh, BPF_NOEXIST);
	limit = bpf_map_lookup_elem(&limits, &cgroup);
	if (limit)
		return limit;
	enter(LEDGER_LIMITS_FULL);
	return &shared_limit;
}

/* Whether the cgroup may tell one more. Sets *now (ns) if it may; the refusal is in the ledger. */
static __always_inline bool admit(u64 cgroup, u32 budget, u64 *now)
{
	u64 interval = config.interval_ns[budget];
	u32 zero = 0;
	struct local *local;
	struct limit *limit;
	u64 jiffy, tat;

	if (!interval) {
		*now = bpf_ktime_get_boot_ns();
		return true;
	}
	local = bpf_map_lookup_elem(&locals, &zero);
	if (!local)
		return false;
	jiffy = bpf_jiffies64();
	if (local->refused_jiffy == jiffy && local->refused_cgroup == cgroup && local->refused_budget == budget)
		goto refused_again;
	*now = bpf_ktime_get_boot_ns();
	limit = limit_of(cgroup);
	tat = limit->tat_ns[budget];
	if (tat < *now)
		tat = *now;
	if (tat - *now <= config.burst_ns[budget]) {
		limit->tat_ns[budget] = tat + interval;
		return true;
	}
	local->refused_jiffy = jiffy;
	local->refused_cgroup = cgroup;
	local->refused_budget = budget;
refused_again:
	enter(budget == BUDGET_EVENT ? LEDGER_LIMITED_EVENT : LEDGER_LIMITED_LIFE);
	return false;
}

#endif
