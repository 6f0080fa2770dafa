/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What exists: one struct snapshot for each process, zombies too. */

#define EXIT_DEAD 0x10 /* include/linux/sched.h */

SEC("iter/task")
int snapshot_tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task;
	struct sighand_struct *sighand;
	struct snapshot s = {};
	struct mm_struct *mm;
	u32 signo;

	if (!t || t->pid != t->tgid || t->exit_state & EXIT_DEAD)
		return 0;
	s.flags = fill_task(t, &s.task) | signal_flags(t, SIGKILL);
	s.blocked = t->blocked.sig[0];
	s.real_blocked = t->real_blocked.sig[0];
	s.pending = t->pending.signal.sig[0] | t->signal->shared_pending.signal.sig[0];
	if (!t->signal->live.counter) { /* its EXIT was told; "leader dead, threads alive" is no zombie */
		s.flags |= F_ZOMBIE;
		s.wait_status = wait_status_of(t);
	} else {
		mm = t->mm;
		if (mm) /* not a kernel thread's */
			s.argv_len = mm->arg_end - mm->arg_start;
		sighand = t->sighand;
		for (signo = 1; signo <= 64; signo++) {
			u64 disposition = disposition_in(sighand, signo);

			s.caught |= disposition >> 1 << (signo - 1);
			s.ignored |= (disposition & HANDLER_IGNORE) << (signo - 1);
		}
	}
	bpf_seq_write(ctx->meta->seq, &s, sizeof(s));
	return 0;
}
