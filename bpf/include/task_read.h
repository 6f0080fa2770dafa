/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
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

/* Of the first user namespace. */
static __always_inline u32 FLAVOUR(uid_of)(struct task_struct *t)
{
	return READ(t, cred, uid.val);
}

/* Init of a PID namespace other than the first. SIGNAL_UNKILLABLE would not do: a fatal signal has already replaced
 * signal->flags when signal_generate runs. */
static __always_inline bool FLAVOUR(is_ns_init)(struct task_struct *t)
{
	struct pid *pid = READ(t, group_leader, thread_pid);
	u32 level = READ(pid, level);
	u32 nr = 0;

	if (!level)
		return false;
	read_upid(pid, level, &nr, 0);
	return nr == 1;
}

static __always_inline u32 FLAVOUR(pidns_of)(struct task_struct *t)
{
	struct pid *pid = READ(t, group_leader, thread_pid);
	u32 nr = 0, inum = 0;

	read_upid(pid, READ(pid, level), &nr, &inum);
	return inum;
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
	struct task_struct *parent = READ(t, real_parent), *leader = READ(t, group_leader);
	struct pid *pid = READ(leader, thread_pid);
	u32 level = READ(pid, level);
	u64 entered, init;

	ref->start_ns = READ(leader, start_boottime);
	ref->cgroup = FLAVOUR(cgroup_of)(t);
	ref->parent_start_ns = READ(parent, group_leader, start_boottime);
	ref->parent_cgroup = FLAVOUR(cgroup_of)(parent);
	ref->tgid = READ(t, tgid);
	ref->tid = READ(t, pid);
	ref->uid = FLAVOUR(uid_of)(t);
	ref->parent_tgid = READ(parent, tgid);
	COPY_COMM(ref->comm, leader); /* a thread's name says nothing about the program */
	if (level) {
		read_upid(pid, level, &ref->nspid, &ref->pidns);
	} else { /* a constant index needs no helper */
		ref->nspid = READ(pid, numbers[0].nr);
		ref->pidns = READ(pid, numbers[0].ns, ns.inum);
	}
	entered = nonzero(ref->parent_cgroup ^ ref->cgroup);
	init = nonzero(level) & ~nonzero(ref->nspid ^ 1);
	return F_CGROUP_ENTERED * (u32)entered | F_NS_INIT * (u32)init | F_CONTAINER_INIT * (u32)(init & entered) |
	       F_PARENT_OUTSIDE * (u32)(((u64)FLAVOUR(level_of)(parent) - level) >> 63);
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
	u64 bit = 1ULL << ((signo - 1) & 63);
	u64 state = bpf_core_field_exists(t->__state) ? READ(t, __state) : READ(old, state);
	struct signal_struct *signal = READ(t, signal);
	u32 group = READ(signal, flags), flags = READ(t, flags);
	u64 dead = nonzero(READ(signal, live.counter)) ^ 1; /* the leader may have left while threads go on */

	return flag_if(F_BLOCKED, READ(t, blocked.sig[0]) & bit) |
	       flag_if(F_REAL_BLOCKED, READ(t, real_blocked.sig[0]) & bit) |
	       flag_if(F_PENDING, (READ(t, pending.signal.sig[0]) | READ(signal, shared_pending.signal.sig[0])) & bit) |
	       flag_if(F_PTRACED, READ(t, ptrace)) | flag_if(F_STOPPED, group & SIGNAL_STOP_STOPPED) |
	       flag_if(F_LEAVING, dead) | flag_if(F_EXITING, (group & SIGNAL_GROUP_EXIT) | dead) |
	       flag_if(F_FROZEN, (READ(t, jobctl) & JOBCTL_TRAP_FREEZE) | (state & TASK_FROZEN) | (flags & PF_FROZEN));
}
