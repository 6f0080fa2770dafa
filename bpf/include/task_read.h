/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Included twice by task.h, with another READ each time; no guard on purpose. */

/* The cgroup's kernfs id in the hierarchy where containers live. A v1 controller's index moves with the kernel's
 * configuration: libbpf writes the running kernel's enumerator into the instruction. */
static __always_inline u64 FLAVOUR(cgroup_of)(struct task_struct *t)
{
	if (config.hierarchy == HIERARCHY_PIDS)
		return READ(t, cgroups, subsys[bpf_core_enum_value(enum cgroup_subsys_id, pids_cgrp_id)], cgroup, kn,
			    id);
	if (config.hierarchy == HIERARCHY_MEMORY)
		return READ(t, cgroups, subsys[bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id)], cgroup, kn,
			    id);
	return READ(t, cgroups, dfl_cgrp, kn, id);
}

static __always_inline u32 FLAVOUR(level_of)(struct task_struct *t)
{
	return READ(t, group_leader, thread_pid, level);
}

/* Init of a PID namespace other than the first. SIGNAL_UNKILLABLE would not do: a fatal signal has already replaced
 * signal->flags when signal_generate runs. */
static __always_inline bool FLAVOUR(is_ns_init)(struct task_struct *t)
{
	u32 level = FLAVOUR(level_of)(t);
	u32 nr = 0;

	if (!level)
		return false;
	read_upid(READ(t, group_leader, thread_pid), level, &nr, 0);
	return nr == 1;
}

/* Its last thread, perhaps not its leader, is on its way out: what the kernel now kills is torn down with it. */
static __always_inline bool FLAVOUR(is_dying_init)(struct task_struct *t)
{
	return READ(t, signal, live.counter) == 0 && FLAVOUR(is_ns_init)(t);
}

static __always_inline void FLAVOUR(key_of)(struct task_struct *t, struct process_key *key)
{
	key->start_ns = READ(t, group_leader, start_boottime);
	key->tgid = READ(t, tgid);
	key->zero = 0;
}

/* Fills `ref`; returns F_NS_INIT, F_CONTAINER_INIT, F_PARENT_OUTSIDE and F_CGROUP_ENTERED as they apply. */
static __always_inline u32 FLAVOUR(fill_task)(struct task_struct *t, struct task_ref *ref)
{
	struct task_struct *parent = READ(t, real_parent);
	u32 level = FLAVOUR(level_of)(t);
	u32 flags = 0;

	ref->start_ns = READ(t, group_leader, start_boottime);
	ref->cgroup = FLAVOUR(cgroup_of)(t);
	ref->parent_start_ns = READ(parent, group_leader, start_boottime);
	ref->parent_cgroup = FLAVOUR(cgroup_of)(parent);
	ref->tgid = READ(t, tgid);
	ref->tid = READ(t, pid);
	ref->uid = READ(t, cred, uid.val);
	ref->parent_tgid = READ(parent, tgid);
	COPY_COMM(ref->comm, t);
	read_upid(READ(t, group_leader, thread_pid), level, &ref->nspid, &ref->pidns);
	if (FLAVOUR(level_of)(parent) < level)
		flags |= F_PARENT_OUTSIDE;
	if (ref->parent_cgroup != ref->cgroup)
		flags |= F_CGROUP_ENTERED;
	if (level && ref->nspid == 1) {
		flags |= F_NS_INIT;
		if (flags & F_CGROUP_ENTERED)
			flags |= F_CONTAINER_INIT;
	}
	return flags;
}

/* The comms of the ancestors, nearest first, COMM_LEN bytes each, as far as the first process; returns the bytes. */
static __always_inline u32 FLAVOUR(ancestry_of)(struct task_struct *t, char *text)
{
	struct task_struct *parent;
	u32 i;

#pragma unroll
	for (i = 0; i < ANCESTORS; i++) {
		parent = READ(t, real_parent);
		if (!READ(parent, tgid))
			break;
		COPY_COMM(text + i * COMM_LEN, parent);
		t = parent;
	}
	return i * COMM_LEN;
}

/* How a signal meets the process. After a fatal signal_generate F_EXITING is that signal's own doing. */
static __always_inline u32 FLAVOUR(signal_flags)(struct task_struct *t, u32 signo)
{
	struct task_struct___before_5_14 *old = (void *)t;
	u64 bit = 1ULL << (signo - 1);
	u64 state = bpf_core_field_exists(t->__state) ? READ(t, __state) : READ(old, state);
	u32 flags = 0;

	if (READ(t, blocked.sig[0]) & bit)
		flags |= F_BLOCKED;
	if (READ(t, real_blocked.sig[0]) & bit)
		flags |= F_REAL_BLOCKED;
	if ((READ(t, pending.signal.sig[0]) | READ(t, signal, shared_pending.signal.sig[0])) & bit)
		flags |= F_PENDING;
	if (READ(t, ptrace))
		flags |= F_PTRACED;
	if (READ(t, signal, flags) & SIGNAL_STOP_STOPPED)
		flags |= F_STOPPED;
	if (READ(t, signal, flags) & SIGNAL_GROUP_EXIT || READ(t, flags) & PF_EXITING)
		flags |= F_EXITING;
	if (READ(t, jobctl) & JOBCTL_TRAP_FREEZE || state & TASK_FROZEN || READ(t, flags) & PF_FROZEN)
		flags |= F_FROZEN;
	return flags;
}

/* (void (*)(int)) of the signal: HANDLER_DEFAULT, HANDLER_IGNORE or HANDLER_FUNCTION. */
static __always_inline u8 FLAVOUR(disposition_of)(struct task_struct *t, u32 signo)
{
	u64 handler = 0;

	bpf_probe_read_kernel(&handler, sizeof(handler),
			      (void *)READ(t, sighand) + bpf_core_field_offset(struct sighand_struct, action) +
				      ((signo - 1) & 63) * bpf_core_type_size(struct k_sigaction) +
				      bpf_core_field_offset(struct k_sigaction, sa.sa_handler));
	return handler > HANDLER_IGNORE ? HANDLER_FUNCTION : handler;
}
