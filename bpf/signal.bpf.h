/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* signal_generate and signal_deliver. */

#define BIT(signo) (1ULL << ((signo)-1))

enum {
	SIGHUP = 1,
	SIGINT = 2,
	SIGQUIT = 3,
	SIGILL = 4,
	SIGTRAP = 5,
	SIGABRT = 6,
	SIGBUS = 7,
	SIGFPE = 8,
	SIGKILL = 9,
	SIGSEGV = 11,
	SIGTERM = 15,
	SIGCHLD = 17,
	SIGCONT = 18,
	SIGSTOP = 19,
	SIGTSTP = 20,
	SIGTTIN = 21,
	SIGTTOU = 22,
	SIGURG = 23,
	SIGWINCH = 28,
	SIGSYS = 31,
};

#define STOP_SIGNALS (BIT(SIGHUP) | BIT(SIGINT) | BIT(SIGQUIT) | BIT(SIGKILL) | BIT(SIGTERM))
/* Of these from outside a container's init is taken to be asked to end; 37 is SIGRTMIN+3, systemd's. */
#define ASKS_TO_END (BIT(SIGINT) | BIT(SIGQUIT) | BIT(SIGKILL) | BIT(SIGTERM) | BIT(37))
#define RESULT_IGNORED 1
#define FAULTS (BIT(SIGILL) | BIT(SIGTRAP) | BIT(SIGABRT) | BIT(SIGBUS) | BIT(SIGFPE) | BIT(SIGSEGV) | BIT(SIGSYS))
/* The default action is not to die of them (signal(7)). */
#define HARMLESS                                                                                                       \
	(BIT(SIGCHLD) | BIT(SIGCONT) | BIT(SIGSTOP) | BIT(SIGTSTP) | BIT(SIGTTIN) | BIT(SIGTTOU) | BIT(SIGURG) |       \
	 BIT(SIGWINCH))
/* What programs, runtimes and terminals send all day. */
#define CHURN (BIT(SIGCHLD) | BIT(SIGURG))

static __always_inline u32 info_kind(struct kernel_siginfo *info)
{
	/* 6.18's verifier takes a tracepoint's pointers for non-NULL and would drop `info ? … : …`. */
	u64 raw = (u64)info;

	return raw > INFO_PRIV ? INFO_REAL : raw;
}

/* By a helper: 7.2 (not yet 6.18) knows that these tracepoints' info may be no pointer (see raw_tp_null_args in
 * kernel/bpf/btf.c) and lets nobody dereference it. */
static __always_inline s32 code_of(struct kernel_siginfo *info)
{
	s32 code = 0;

	bpf_probe_read_kernel(&code, sizeof(code), &info->si_code);
	return code;
}

/* Whether a siginfo's code says that a process made it by a system call. Timers and I/O (F_SETSIG, aio) signal from an
 * interrupt, on the time of whoever happens to run. By arithmetic: each branch would double the verifier's ways. */
#define BY_INTERRUPT (1ULL << -SI_TIMER | 1ULL << -SI_ASYNCIO | 1ULL << -SI_SIGIO | 1ULL << -SI_ASYNCNL)

static __always_inline u64 is_by_call(s32 code)
{
	u64 n = -(s64)code;

	return ~(n >> 63 | (BY_INTERRUPT >> (n & 63) & ~nonzero(n >> 6))) & 1;
}

/* Whether `current` sent it: a siginfo made by a system call, or cgroup.kill,
 * which alone gives SIGKILL without any info to one thread group member at a time. */
static __always_inline bool current_sent(u32 info, s32 code, int signo, int group)
{
	if (info == INFO_REAL)
		return is_by_call(code);
	return info == INFO_NOINFO && signo == SIGKILL && !group;
}

static __always_inline bool is_followed(struct task_struct *target)
{
	struct process_key key;

	key_of(target, &key);
	if (bpf_map_lookup_elem(&followed, &key))
		return true;
	WITH_CURRENT(key_of, &key);
	return bpf_map_lookup_elem(&followed, &key);
}

static __always_inline bool is_main(struct task_struct *target)
{
	struct process_key key;

	if (!is_watching())
		return false;
	key_of(target, &key);
	return bpf_map_lookup_elem(&watched, &key);
}

/* Whether a detector can need this signal at all, by direct loads alone: most end here. CHURN does not come here. */
static __always_inline bool may_matter(struct task_struct *target, int signo)
{
	if (BIT(signo) & (STOP_SIGNALS | FAULTS))
		return true;
	/* signal_generate runs after complete_signal: a signal that ends the group has already marked it. */
	return level_of(target) || (!(BIT(signo) & HARMLESS) && FIELD(target, signal, flags) & SIGNAL_GROUP_EXIT) ||
	       is_main(target);
}

/* Whether a detector needs it, of those that may matter. */
static __always_inline bool generate_matters(struct task_struct *target, int signo, bool sent)
{
	if (BIT(signo) & STOP_SIGNALS)
		return true;
	if (BIT(signo) & FAULTS && disposition_in(FIELD(target, sighand), signo) == HANDLER_DEFAULT)
		return true; /* else a JVM's or a browser's daily bread */
	if (!(BIT(signo) & HARMLESS) && FIELD(target, signal, flags) & SIGNAL_GROUP_EXIT)
		return true;
	return sent && (is_ns_init(target) || is_main(target));
}

/* Out of line: the way of the many signals that are only counted stays short. The record is made in this CPU's draft
 * and copied into the ring it belongs to, so that there is one way through the code that fills it. */
static __noinline int tell_generate(struct task_struct *target, struct kernel_siginfo *siginfo, int signo, int group,
				    int result)
{
	u32 info = info_kind(siginfo), budget = BUDGET_EVENT, zero = 0;
	u32 signal = signo | info << 8;
	struct local *local = bpf_map_lookup_elem(&locals, &zero);
	struct event *draft, *event;
	bool sent, killed, is_life;
	struct life *life;
	s32 code = 0;

	if (!local || refused_again(local, target, signal))
		return 0;
	if (info == INFO_REAL)
		code = code_of(siginfo);
	sent = current_sent(info, code, signo, group);
	if (config.follow) {
		if (!is_followed(target))
			return 0;
	} else if (!config.tell_all && !generate_matters(target, signo, sent)) {
		return 0;
	}

	draft = &local->draft;
	draft->kind = KIND_GENERATE;
	draft->signo = signo;
	draft->result = result;
	draft->disposition = disposition_in(FIELD(target, sighand), signo);
	draft->code = code;
	draft->info = info;
	/* From here on `sent` and `info` are read back from the draft, where the verifier forgets what it knew of them:
	 * it goes through the rest once, not once for each way that led here. */
	signo = *(volatile u8 *)&draft->signo;
	draft->flags = flag_if(F_SENDER, sent);
	draft->flags |= fill_task(target, &draft->target) | signal_flags(target, signo) | flag_if(F_GROUP, group);
	if (draft->flags & F_SENDER) {
		WITH_CURRENT(fill_task, &draft->sender);
	} else {
		__builtin_memset(&draft->sender, 0, sizeof(draft->sender));
	}
	draft->flags |= flag_if(F_MAIN, is_main(target));
	/* A process sees its own namespace and those below it: a sender in a lower level is outside, and nobody in the
	 * container can pretend to be that. In a shared namespace the cgroup tells. A signal without a sender may well be
	 * the container's own doing (timers, F_SETOWN, rt_sigqueueinfo): of those only a SIGKILL that works is part of a
	 * life. */
	if (draft->flags & F_SENDER && draft->flags & (F_NS_INIT | F_MAIN)) {
		if (draft->flags & F_NS_INIT)
			draft->flags |= flag_if(F_OUTSIDE, ((u64)WITH_CURRENT(level_of) - level_of(target)) >> 63);
		else
			draft->flags |= flag_if(F_OUTSIDE, draft->sender.cgroup ^ draft->target.cgroup);
	}
	if (draft->info == INFO_PRIV && signo == SIGKILL && WITH_CURRENT(is_dying_init))
		draft->flags |= F_TEARDOWN;
	killed = signo == SIGKILL && draft->result != RESULT_IGNORED && !(draft->flags & (F_TEARDOWN | F_LEAVING));
	is_life = draft->flags & (F_CONTAINER_INIT | F_MAIN) && (draft->flags & F_OUTSIDE || killed);
	if (is_life)
		budget = killed ? BUDGET_KILL : BUDGET_STOP;
	if (!admit(draft->target.cgroup, budget, &draft->time_ns)) {
		if (draft->flags & F_SENDER)
			remember_refusal(local, target, signal, budget);
		return 0;
	}
	if (!is_life) {
		event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
		if (!event) {
			enter(LEDGER_RING_EVENT);
			return 0;
		}
		__builtin_memcpy(event, draft, sizeof(*event));
		submit_event(event);
		return 0;
	}
	if (BIT(signo) & (ASKS_TO_END | declared_stop_signals()))
		mark_stopping(&draft->target, draft->flags, draft->time_ns, config.stopping_ns);
	life = reserve_life();
	if (!life)
		return 0;
	__builtin_memcpy(&life->event, draft, sizeof(life->event));
	if (draft->flags & F_SENDER)
		life->text_len = probed_ancestry_of((struct task_struct *)bpf_get_current_task(), life->text);
	submit_life(life);
	return 0;
}

SEC(TRACEPOINT("signal_generate"))
int BPF_PROG(signal_generate, int signo, struct kernel_siginfo *siginfo, struct task_struct *target, int group,
	     int result)
{
	u64 cgroup = cgroup_of(target);

	count_signal(cgroup, signo, result);
	if (!(config.signal_mask & BIT(signo)))
		return 0;
	/* Whoever is current may be no sender (timers): then it is told, and user space leaves it out. */
	if (is_unwanted(cgroup) && is_unwanted(WITH_CURRENT(cgroup_of)))
		return 0;
	if (!config.tell_all && !config.follow && (BIT(signo) & CHURN || !may_matter(target, signo)))
		return 0;
	return tell_generate(target, siginfo, signo, group, result);
}

SEC(TRACEPOINT("signal_deliver"))
int BPF_PROG(signal_deliver, int signo, struct kernel_siginfo *siginfo, struct k_sigaction *action)
{
	u64 handler = (u64)FIELD(action, sa.sa_handler);
	u32 info = info_kind(siginfo);
	struct process_key key;
	struct event *event;
	u64 cgroup, now;
	s32 code = 0;

	if (!(config.signal_mask & BIT(signo)))
		return 0;
	if (config.follow) {
		WITH_CURRENT(key_of, &key);
		if (!bpf_map_lookup_elem(&followed, &key))
			return 0;
	} else if (!config.tell_all &&
		   (BIT(signo) & CHURN || signo == SIGKILL || !(WITH_CURRENT(level_of) || is_watching()))) {
		/* SIGKILL arrives at each thread of a group that exits; its cause is in signal_generate. And what no
		 * container got, nobody asks for. */
		return 0;
	}
	if (info == INFO_REAL)
		code = code_of(siginfo);
	cgroup = WITH_CURRENT(cgroup_of);
	if (is_unwanted(cgroup))
		return 0;
	if (!config.follow && !config.tell_all) {
		WITH_CURRENT(key_of, &key);
		if (!((WITH_CURRENT(is_ns_init) || is_watched(&key)) &&
		      (BIT(signo) & STOP_SIGNALS || handler == HANDLER_DEFAULT || is_by_call(code))) &&
		    !is_stopping(WITH_CURRENT(pidns_of), cgroup))
			return 0;
	}
	if (!admit(cgroup, BUDGET_EVENT, &now))
		return 0;
	event = reserve_event();
	if (!event)
		return 0;
	event->time_ns = now;
	event->kind = KIND_DELIVER;
	event->signo = signo;
	event->info = info;
	event->code = code;
	event->disposition = handler > HANDLER_IGNORE ? HANDLER_FUNCTION : handler;
	event->flags = WITH_CURRENT(fill_task, &event->target);
	event->flags |= WITH_CURRENT(signal_flags, signo);
	submit_event(event);
	return 0;
}
