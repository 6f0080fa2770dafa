/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What exists: one struct snapshot for each process, zombies too. Read by helpers: a listing is in no hurry, and each
 * pointer that is followed directly costs a third of a millisecond to verify. Who goes through the processes is below:
 * the kernel's iterators, or walk.bpf.h. */

#define EXIT_DEAD 0x10 /* include/linux/sched.h */

static __always_inline void fill_masks(struct task_struct *t, struct snapshot *s)
{
	s->blocked = FIELD(t, blocked.sig[0]);
	s->real_blocked = FIELD(t, real_blocked.sig[0]);
	s->pending = FIELD(t, pending.signal.sig[0]) | BPF_CORE_READ(t, signal, shared_pending.signal.sig[0]);
}

static __always_inline void fill_snapshot(struct task_struct *t, struct snapshot *s)
{
	struct mm_struct *mm = BPF_CORE_READ(t, mm);
	struct sighand_struct *sighand = BPF_CORE_READ(t, sighand);
	u32 signo;

	s->flags |= probed_fill_task(t, &s->task) | probed_signal_flags(t, SIGKILL);
	fill_masks(t, s);
	if (!BPF_CORE_READ(t, signal,
			   live.counter)) { /* its EXIT was told; "leader dead, threads alive" is no zombie */
		s->flags |= F_ZOMBIE;
		s->wait_status = wait_status_of(t);
		return;
	}
	if (FIELD(t, exit_state)) /* the leader has left its threads: what it blocks blocks nobody */
		s->blocked = ~0ULL;
	if (mm) /* not a kernel thread's */
		s->argv_len = BPF_CORE_READ(mm, arg_end) - BPF_CORE_READ(mm, arg_start);
	for (signo = 1; signo <= 64; signo++) {
		u64 disposition = disposition_in(sighand, signo);

		s->caught |= disposition >> 1 << (signo - 1);
		s->ignored |= (disposition & HANDLER_IGNORE) << (signo - 1);
	}
}

/* Each returns whether there is something to tell; `s` comes zeroed. */
static __always_inline bool list_task(struct task_struct *t, struct snapshot *s)
{
	u32 exit_state = FIELD(t, exit_state);

	if (exit_state & EXIT_DEAD)
		return false;
	if (FIELD(t, pid) == FIELD(t, tgid)) {
		fill_snapshot(t, s);
		return true;
	}
	/* A signal to the process goes to any thread that does not block it, or that waits for it. */
	if (exit_state || (FIELD(t, blocked.sig[0]) == BPF_CORE_READ(t, group_leader, blocked.sig[0]) &&
			   !FIELD(t, real_blocked.sig[0]) && !BPF_CORE_READ(t, group_leader, exit_state)))
		return false;
	s->flags = F_THREAD;
	s->task.tgid = FIELD(t, tgid);
	s->task.tid = FIELD(t, pid);
	s->task.start_ns = BPF_CORE_READ(t, group_leader, start_boottime);
	s->task.pidns = probed_pidns_of(t);
	s->task.cgroup = probed_cgroup_of(t);
	fill_masks(t, s);
	return true;
}

/* A zombie that nobody has waited for yet. Of one that is too young to be told, just when it came to be one: nobody needs
 * to look again before it can be old enough. */
static __always_inline bool list_zombie(struct task_struct *t, struct snapshot *s)
{
	struct process_key key;
	struct zombie *zombie;

	if (FIELD(t, pid) != FIELD(t, tgid) || FIELD(t, exit_state) & EXIT_DEAD ||
	    BPF_CORE_READ(t, signal, live.counter))
		return false;
	probed_key_of(t, &key);
	zombie = bpf_map_lookup_elem(&zombies, &key);
	if (zombie) {
		s->exit_ns = zombie->exit_ns;
		if (bpf_ktime_get_boot_ns() - s->exit_ns < config.zombie_ns) {
			s->flags = F_YOUNG;
			return true;
		}
	}
	s->flags = probed_fill_task(t, &s->task) | F_ZOMBIE;
	s->wait_status = wait_status_of(t);
	return true;
}

/* The parent that it has now: the record that follows a zombie's. */
static __always_inline void list_parent(struct task_struct *t, struct snapshot *s)
{
	struct task_struct *parent = BPF_CORE_READ(t, real_parent);

	s->flags = probed_fill_task(parent, &s->task) | F_PARENT;
	s->argv_len = BPF_CORE_READ(parent, mm, arg_end) - BPF_CORE_READ(parent, mm, arg_start);
}

/* Who reads signals from a descriptor. */
static __always_inline bool list_signalfd(struct task_struct *t, struct file *file, struct signalfd *s)
{
	static const char expected[] = "[signalfd]";
	char name[sizeof(expected)] = {};
	u32 i;

	bpf_probe_read_kernel(name, sizeof(name), FIELD(file, f_path.dentry, d_name.name));
	for (i = 0; i < sizeof(name); i++) {
		if (name[i] != expected[i])
			return false;
	}
	/* struct signalfd_ctx begins with the mask of what it does not take (fs/signalfd.c). */
	bpf_probe_read_kernel(&s->mask, sizeof(s->mask), FIELD(file, private_data));
	s->mask = ~s->mask;
	s->start_ns = BPF_CORE_READ(t, group_leader, start_boottime);
	s->tgid = FIELD(t, tgid);
	return true;
}

#ifndef SIGTRACE_RAW

SEC("iter/task")
int snapshot_tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task;
	struct snapshot s = {};

	if (t && list_task(t, &s))
		bpf_seq_write(ctx->meta->seq, &s, sizeof(s));
	return 0;
}

SEC("iter/task")
int snapshot_zombies(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task;
	struct snapshot s = {};

	if (!t || !list_zombie(t, &s))
		return 0;
	bpf_seq_write(ctx->meta->seq, &s, sizeof(s));
	if (s.flags & F_YOUNG)
		return 0;
	__builtin_memset(&s, 0, sizeof(s));
	list_parent(t, &s);
	bpf_seq_write(ctx->meta->seq, &s, sizeof(s));
	return 0;
}

/* Loaded for `audit` alone. /proc/PID/fdinfo would say it to CAP_SYS_PTRACE. */
SEC("?iter/task_file")
int snapshot_signalfds(struct bpf_iter__task_file *ctx)
{
	struct task_struct *t = ctx->task;
	struct file *file = ctx->file;
	struct signalfd s = {};

	if (t && file && list_signalfd(t, file, &s))
		bpf_seq_write(ctx->meta->seq, &s, sizeof(s));
	return 0;
}

#endif
