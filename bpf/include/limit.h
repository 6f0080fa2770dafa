/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The limiter: GCRA, one per cgroup and budget, asked only for what would become a record. Two CPUs may race on a
 * tat; then one record more passes. What is refused is counted exactly.
 */
#ifndef SIGTRACE_LIMIT_H
#define SIGTRACE_LIMIT_H

/* Who has no entry where each should have one (is_stranger), or found no room for one. Not static: the compiler may take
 * such a thing apart and leave its BTF as it was, which the kernel refuses. */
struct limit strangers;
/* How many entries have the mark `delegated`. */
u64 delegated;

static __always_inline long give_limit(u64 cgroup, bool to_user)
{
	struct limit fresh = { .delegated = to_user };

	return bpf_map_update_elem(&limits, &cgroup, &fresh, BPF_NOEXIST);
}

static __always_inline struct limit *limit_of(u64 cgroup)
{
	struct limit *limit = bpf_map_lookup_elem(&limits, &cgroup);

	if (limit)
		return limit;
	cgroup = payer_of(cgroup);
	limit = bpf_map_lookup_elem(&limits, &cgroup);
	if (limit)
		return limit;
	if (is_stranger(cgroup))
		return &strangers;
	give_limit(cgroup, false);
	limit = bpf_map_lookup_elem(&limits, &cgroup);
	if (limit)
		return limit;
	enter(LEDGER_LIMITS_FULL);
	return &strangers;
}

/* Whether the cgroup is within this budget. Sets *now (ns). */
static __always_inline bool has_budget(u64 cgroup, u32 budget, u64 *now)
{
	u64 interval = config.interval_ns[budget];
	struct limit *limit;
	u64 tat;

	*now = bpf_ktime_get_boot_ns();
	if (!interval)
		return true;
	limit = limit_of(cgroup);
	tat = limit->tat_ns[budget];
	if (tat < *now)
		tat = *now;
	if (tat - *now <= config.burst_ns[budget]) {
		limit->tat_ns[budget] = tat + interval;
		return true;
	}
	return false;
}

/* Whether the cgroup may have one more thing marked in `stopping`: so many in advance, and as many again in the time that a
 * mark lasts. Else a user with 4,096 PID namespaces fills the table, and what stops elsewhere is not marked. */
#define MARKS 256

static __always_inline bool may_mark(u64 cgroup, u64 now)
{
	struct limit *limit = limit_of(cgroup);
	u64 tat = limit->mark_ns < now ? now : limit->mark_ns;

	if (tat - now > config.stopping_ns)
		return false;
	limit->mark_ns = tat + config.stopping_ns / MARKS;
	return true;
}

static __always_inline void mark_stopping(const struct task_ref *main, u32 flags, u64 now, u64 for_ns)
{
	u64 key = flags & F_NS_INIT ? main->pidns : main->cgroup | CGROUP_KEY;
	u64 *marked = bpf_map_lookup_elem(&stopping, &key);
	u64 until = now + for_ns;

	if (marked)
		*marked = until; /* an update would cost four times as much */
	else if (!may_mark(main->cgroup, now))
		enter(LEDGER_LIMITED_MARK);
	else if (bpf_map_update_elem(&stopping, &key, &until, BPF_ANY))
		enter(LEDGER_STOPPING_FULL);
}

/* Whether the cgroup may tell one more. Sets *now (ns); the refusal is in the ledger. */
static __always_inline bool admit(u64 cgroup, u32 budget, u64 *now)
{
	if (has_budget(cgroup, budget, now))
		return true;
	enter(budget == BUDGET_EVENT ? LEDGER_LIMITED_EVENT : LEDGER_LIMITED_LIFE);
	return false;
}

/* A storm's way: whether this CPU refused the same a moment ago. Only refusals of known senders are remembered: a
 * timer that goes off while runc is current must not mute runc. */
static __always_inline bool refused_again(struct local *local, struct task_struct *target, u32 signal)
{
	if (local->target != (u64)target || local->signal != signal || local->current != bpf_get_current_task() ||
	    local->jiffy != bpf_jiffies64())
		return false;
	local->refused[local->budget & (BUDGETS - 1)]++;
	return true;
}

static __always_inline void remember_refusal(struct local *local, struct task_struct *target, u32 signal, u32 budget)
{
	local->jiffy = bpf_jiffies64();
	local->target = (u64)target;
	local->current = bpf_get_current_task();
	local->signal = signal;
	local->budget = budget;
}

#endif
