/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Processes: exec, exit, reaping, the OOM killer's choice, and the tree of `trace -- CMD`. */

#define ENOENT 2
#define EEXIST 17

static __always_inline u32 wait_status_of(struct task_struct *t)
{
	struct signal_struct *signal = FIELD(t, signal);

	/* A fault's or kill's status belongs to the group; exit(2) of the last thread leaves it with the leader. */
	if (FIELD(signal, flags) & SIGNAL_GROUP_EXIT)
		return FIELD(signal, group_exit_code) & 0xffff;
	return FIELD(t, group_leader, exit_code) & 0xffff;
}

static __always_inline bool exit_matters(const struct zombie *zombie, const struct process_key *key)
{
	if (is_unwanted(zombie->task.cgroup))
		return false;
	if (config.follow)
		return bpf_map_lookup_elem(&followed, key);
	return config.tell_all || zombie->wait_status || zombie->flags & (F_NS_INIT | F_CGROUP_ENTERED) ||
	       is_stopping(zombie->task.pidns, zombie->task.cgroup);
}

static __always_inline void fill_exit(struct event *event, const struct zombie *zombie, u8 kind, u64 now)
{
	event->time_ns = now;
	event->kind = kind;
	event->code = zombie->wait_status;
	event->flags = zombie->flags;
	event->target = zombie->task;
}

/* Linux 7.x runs tracepoints without disabling preemption (include/linux/tracepoint.h: SRCU). Whoever comes to the same
 * program on that CPU while it is preempted there is left out (__bpf_trace_run: prog->active): under emulation, of exits
 * at full speed one in a hundred. To hold the CPU would not help, for it goes with the word that lets it go. So what can
 * be preempted (the others hold a spinlock or a mutex of the kernel's) has a spare, another program that the kernel runs
 * right after it and that does the same if it finds that nobody has. */
static __always_inline int tell_exit(struct task_struct *p, bool spare)
{
	struct zombie zombie = {};
	struct process_key key;
	struct event *event;
	struct life *life;
	u64 cgroup, now;
	u32 yes = 1;
	bool is_life;
	int err; /* before 6.4 a map's -EEXIST comes without its sign in the upper half: (long)0xffffffef */

	/* The last thread to exit may not be the leader, and two can both see 0: the zombie map takes one of them.
	 * (6.18 passes group_dead as well, 6.12 and older do not.) */
	if (FIELD(p, signal, live.counter))
		return 0;
	key_of(p, &key);
	zombie.exit_ns = bpf_ktime_get_boot_ns();
	zombie.wait_status = wait_status_of(p);
	zombie.flags = fill_task(p, &zombie.task) | flag_if(F_MAIN, is_watched(&key)) |
		       flag_if(F_FORKED, FIELD(p, group_leader, flags) & PF_FORKNOEXEC);
	err = bpf_map_update_elem(&zombies, &key, &zombie, BPF_NOEXIST);
	if (err == -EEXIST)
		return 0;
	if (err) {
		/* A fork storm: RCU frees tasks up to ten seconds late. A zombie is found all the same (snapshot.bpf.h),
		 * only since when it is one is not known; and its REAP is not told. */
		enter(LEDGER_ZOMBIES_FULL);
		err = bpf_map_update_elem(&exited, &key, &yes, BPF_NOEXIST);
		if (err == -EEXIST)
			return 0;
	}
	if (spare)
		enter(LEDGER_RECORDED_BY_SPARE_EXIT);
	cgroup = zombie.task.cgroup;
	count_exit(cgroup, zombie.wait_status);
	if (!exit_matters(&zombie, &key))
		return 0;

	is_life = zombie.flags & (F_CONTAINER_INIT | F_MAIN);
	if (!admit(cgroup, is_life ? BUDGET_EXIT : BUDGET_EVENT, &now))
		return 0;
	if (!is_life) {
		event = reserve_event();
		if (!event)
			return 0;
		fill_exit(event, &zombie, KIND_EXIT, now);
		probed_fill_task(FIELD(p, real_parent), &event->sender);
		submit_event(event);
		return 0;
	}
	/* The rest is torn down after this, by the kernel or the runtime: those exits belong to the story. */
	mark_stopping(&zombie.task, zombie.flags, now, config.torn_down_ns);
	life = reserve_life();
	if (!life)
		return 0;
	fill_exit(&life->event, &zombie, KIND_EXIT, now);
	probed_fill_task(FIELD(p, real_parent), &life->event.sender);
	submit_life(life);
	return 0;
}

SEC(TRACEPOINT("sched_process_exit"))
int BPF_PROG(process_exit, struct task_struct *p)
{
	return tell_exit(p, false);
}

SEC("?" TRACEPOINT("sched_process_exit"))
int BPF_PROG(process_exit_spare, struct task_struct *p)
{
	return tell_exit(p, true);
}

/* After the wait, 13 to 63 ms later (RCU), in a softirq with any task as current. */
SEC(TRACEPOINT("sched_process_free"))
int BPF_PROG(process_free, struct task_struct *p)
{
	struct process_key key = { .start_ns = FIELD(p, start_boottime), .tgid = FIELD(p, tgid) };
	struct zombie *zombie;
	struct event *event;
	int err;
	u64 now;

	/* A thread; or the old leader after an exec by another thread: same (tgid, start), alive. */
	if (FIELD(p, pid) != FIELD(p, tgid))
		return 0;
	if (config.tell_all || config.follow) {
		zombie = bpf_map_lookup_elem(&zombies, &key);
		if (zombie && exit_matters(zombie, &key) && admit(zombie->task.cgroup, BUDGET_EVENT, &now)) {
			event = reserve_event();
			if (event) {
				fill_exit(event, zombie, KIND_REAP, now);
				submit_event(event);
			}
		}
		if (config.follow)
			bpf_map_delete_elem(&followed, &key);
	}
	/* This may have interrupted an update of the same bucket (-EBUSY, Linux 5.12 to 6.6). */
	err = bpf_map_delete_elem(&zombies, &key);
	if (err && err != -ENOENT)
		enter(LEDGER_ZOMBIES_STALE);
	return 0;
}

static __always_inline int tell_exec(struct task_struct *p, bool spare)
{
	u64 start, len, cgroup = cgroup_of(p), id = FIELD(p, self_exec_id), *told;
	bool entered = cgroup_of(FIELD(p, real_parent)) != cgroup;
	struct process_key key;
	struct life *life;
	u64 now;

	key_of(p, &key);
	if (config.follow) {
		if (!bpf_map_lookup_elem(&followed, &key))
			return 0;
	} else if (!config.tell_all && !entered && !is_ns_init(p)) {
		return 0;
	}
	if (spare) {
		told = bpf_map_lookup_elem(&execs, &key);
		if (told && *told == id)
			return 0;
		enter(LEDGER_RECORDED_BY_SPARE_EXEC);
	} else if (config.spares) {
		bpf_map_update_elem(&execs, &key, &id, BPF_ANY);
	}
	if (!admit(cgroup, entered ? BUDGET_EXEC : BUDGET_NESTED, &now))
		return 0;
	life = reserve_life();
	if (!life)
		return 0;
	life->event.time_ns = now;
	life->event.kind = KIND_EXEC;
	life->event.flags = probed_fill_task(p, &life->event.target);
	/* The environment follows the arguments directly: never read past arg_end. */
	start = FIELD(p, mm, arg_start);
	len = FIELD(p, mm, arg_end) - start;
	if (len > TEXT_LEN) {
		len = TEXT_LEN;
		life->event.flags |= F_TRUNCATED;
	}
	if (!bpf_probe_read_user(life->text, len, (void *)start))
		life->text_len = len;
	submit_life(life);
	return 0;
}

SEC(TRACEPOINT("sched_process_exec"))
int BPF_PROG(process_exec, struct task_struct *p)
{
	return tell_exec(p, false);
}

SEC("?" TRACEPOINT("sched_process_exec"))
int BPF_PROG(process_exec_spare, struct task_struct *p)
{
	return tell_exec(p, true);
}

#define OOM_LEVELS 8
#define NO_LIMIT (1UL << 50) /* pages; PAGE_COUNTER_MAX is LONG_MAX / PAGE_SIZE */

static __always_inline bool is_full(struct page_counter *counter)
{
	u64 max = BPF_CORE_READ(counter, max);

	return max < NO_LIMIT && (u64)BPF_CORE_READ(counter, usage.counter) + config.huge >= max;
}

/* Which memory cgroup was at its limit: the lowest from the process's own upwards. */
static __always_inline void fill_oom(struct task_struct *t, struct event *event)
{
	u32 index = bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id);
	struct cgroup_subsys_state *css = BPF_CORE_READ(t, cgroups, subsys[index]);
	bool v1 = BPF_CORE_READ(css, cgroup, root, hierarchy_id);
	u32 i;

#pragma unroll
	for (i = 0; i < OOM_LEVELS; i++) {
		struct mem_cgroup *memcg = (void *)css - bpf_core_field_offset(struct mem_cgroup, css);

		if (!css)
			return;
		event->flags |= flag_if(F_OOM_GROUP, BPF_CORE_READ(memcg, oom_group));
		if (is_full(&memcg->memory) || (v1 && is_full(&memcg->memsw))) {
			event->result = i + 1;
			return;
		}
		css = BPF_CORE_READ(css, parent);
	}
}

/* Some 40 us after the SIGKILL. Not tp_btf: what the first argument is depends on the kernel. */
SEC("raw_tp/mark_victim")
int oom_mark_victim(struct bpf_raw_tracepoint_args *ctx)
{
	struct life *life = reserve_life();
	struct task_struct *victim;

	if (!life)
		return 0;
	life->event.time_ns = bpf_ktime_get_boot_ns();
	life->event.kind = KIND_OOM;
	if (bpf_core_field_exists(((struct trace_event_raw_mark_victim *)0)->uid)) {
		victim = (struct task_struct *)ctx->args[0];
		life->event.flags = probed_fill_task(victim, &life->event.target);
	} else { /* who allocates is in the cgroup that is full, or below it */
		victim = (struct task_struct *)bpf_get_current_task();
		life->event.target.tid = ctx->args[0];
		life->event.target.cgroup = probed_cgroup_of(victim);
	}
	fill_oom(victim, &life->event);
	submit_life(life);
	return 0;
}

/* Loaded for `trace -- CMD` alone. */
SEC("?" TRACEPOINT("sched_process_fork"))
int BPF_PROG(process_fork, struct task_struct *parent, struct task_struct *child)
{
	struct process_key key;
	u32 yes = 1;

	if (FIELD(child, tgid) == FIELD(parent, tgid))
		return 0;
	key_of(parent, &key);
	if (!bpf_map_lookup_elem(&followed, &key))
		return 0;
	key_of(child, &key);
	if (bpf_map_update_elem(&followed, &key, &yes, BPF_ANY))
		enter(LEDGER_FOLLOW_FULL);
	return 0;
}
