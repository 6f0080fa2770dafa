/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What exists: one struct snapshot for each process, zombies too. Read by helpers: an iterator is in no hurry, and each
 * pointer that is followed directly costs a third of a millisecond to verify. */

#define EXIT_DEAD 0x10 /* include/linux/sched.h */

static __always_inline void fill_masks(struct task_struct *t, struct snapshot *s)
{
	s->blocked = t->blocked.sig[0];
	s->real_blocked = t->real_blocked.sig[0];
	s->pending = t->pending.signal.sig[0] | t->signal->shared_pending.signal.sig[0];
}

static __always_inline void fill_snapshot(struct task_struct *t, struct snapshot *s)
{
	struct mm_struct *mm = t->mm;
	u32 signo;

	s->flags |= probed_fill_task(t, &s->task) | probed_signal_flags(t, SIGKILL);
	fill_masks(t, s);
	if (!t->signal->live.counter) { /* its EXIT was told; "leader dead, threads alive" is no zombie */
		s->flags |= F_ZOMBIE;
		s->wait_status = wait_status_of(t);
		return;
	}
	if (t->exit_state) /* the leader has left its threads: what it blocks blocks nobody */
		s->blocked = ~0ULL;
	if (mm) /* not a kernel thread's */
		s->argv_len = mm->arg_end - mm->arg_start;
	for (signo = 1; signo <= 64; signo++) {
		u64 disposition = disposition_in(t->sighand, signo);

		s->caught |= disposition >> 1 << (signo - 1);
		s->ignored |= (disposition & HANDLER_IGNORE) << (signo - 1);
	}
}

SEC("iter/task")
int snapshot_tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task;
	struct snapshot s = {};

	if (!t || t->exit_state & EXIT_DEAD)
		return 0;
	if (t->pid != t->tgid) {
		/* A signal to the process goes to any thread that does not block it, or that waits for it. */
		if (t->exit_state || (t->blocked.sig[0] == t->group_leader->blocked.sig[0] && !t->real_blocked.sig[0] &&
				      !t->group_leader->exit_state))
			return 0;
		s.flags = F_THREAD;
		s.task.tgid = t->tgid;
		s.task.tid = t->pid;
		s.task.start_ns = t->group_leader->start_boottime;
		s.task.pidns = probed_pidns_of(t);
		s.task.cgroup = probed_cgroup_of(t);
		fill_masks(t, &s);
	} else {
		fill_snapshot(t, &s);
	}
	bpf_seq_write(ctx->meta->seq, &s, sizeof(s));
	return 0;
}

/* Zombies that nobody has waited for yet, each followed by the parent that it has now. */
SEC("iter/task")
int snapshot_zombies(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task, *parent;
	struct process_key key;
	struct zombie *zombie;
	struct snapshot s = {};

	if (!t || t->pid != t->tgid || t->exit_state & EXIT_DEAD || t->signal->live.counter)
		return 0;
	probed_key_of(t, &key);
	zombie = bpf_map_lookup_elem(&zombies, &key);
	if (zombie) {
		s.exit_ns = zombie->exit_ns;
		if (bpf_ktime_get_boot_ns() - s.exit_ns < config.zombie_ns)
			return 0;
	}
	s.flags = probed_fill_task(t, &s.task) | F_ZOMBIE;
	s.wait_status = wait_status_of(t);
	bpf_seq_write(ctx->meta->seq, &s, sizeof(s));
	__builtin_memset(&s, 0, sizeof(s));
	parent = t->real_parent;
	s.flags = probed_fill_task(parent, &s.task) | F_PARENT;
	s.argv_len = BPF_CORE_READ(parent, mm, arg_end) - BPF_CORE_READ(parent, mm, arg_start);
	bpf_seq_write(ctx->meta->seq, &s, sizeof(s));
	return 0;
}

/* Loaded for `audit` alone: who reads signals from a descriptor. /proc/PID/fdinfo would say it to CAP_SYS_PTRACE. */
SEC("?iter/task_file")
int snapshot_signalfds(struct bpf_iter__task_file *ctx)
{
	static const char expected[] = "[signalfd]";
	struct task_struct *t = ctx->task;
	struct file *file = ctx->file;
	char name[sizeof(expected)] = {};
	struct signalfd s = {};
	u32 i;

	if (!t || !file)
		return 0;
	bpf_probe_read_kernel(name, sizeof(name), file->f_path.dentry->d_name.name);
	for (i = 0; i < sizeof(name); i++) {
		if (name[i] != expected[i])
			return 0;
	}
	/* struct signalfd_ctx begins with the mask of what it does not take (fs/signalfd.c). */
	bpf_probe_read_kernel(&s.mask, sizeof(s.mask), file->private_data);
	s.mask = ~s.mask;
	s.start_ns = t->group_leader->start_boottime;
	s.tgid = t->tgid;
	bpf_seq_write(ctx->meta->seq, &s, sizeof(s));
	return 0;
}
