/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Listings where the kernel has no BTF and so no iterators: programs that user space runs (BPF_PROG_TEST_RUN, for raw
 * tracepoints since v5.10) and that go through the kernel's lists as for_each_process_thread does. The kernel holds the
 * RCU read lock around a run (__bpf_prog_test_run_raw_tp): what has left a list meanwhile can still be read and still
 * leads on. Each takes at most as many steps as user space gives it (args[0]), so that wrong headers can't make it run
 * in circles, and returns 0, or 1 if something is missing: no room, or no steps left.
 */

/* Every record has the size of a struct snapshot; a struct signalfd stands in its beginning. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} listing SEC(".maps");

/* Where the walk is. User space runs one at a time. Not static: the compiler would take it apart and leave its BTF as it
 * was, which the kernel refuses; and without BTF no function is global. */
struct walk {
	u64 first;
	u64 process; /* 0: it is done */
	u64 thread;
	u64 steps; /* that are left */
	u32 fd;
	u32 failed;
} walk;

/* Loops in three levels. Those in functions that are not static are verified once, whoever calls them. */
#define STEPS 128

/* Not within FIELD: what is read there is relocated, and `walk` is no kernel structure. */
static __always_inline struct task_struct *process_at(void)
{
	return (void *)walk.process;
}

static __always_inline struct task_struct *thread_at(void)
{
	return (void *)walk.thread;
}

static __always_inline void write_record(void *record)
{
	if (bpf_ringbuf_output(&listing, record, sizeof(struct snapshot), BPF_RB_NO_WAKEUP))
		walk.failed = 1;
}

static __always_inline void begin_walk(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *t = (void *)bpf_get_current_task();

	walk.first = (u64)FIELD(t, group_leader);
	walk.process = walk.thread = walk.first;
	walk.steps = ctx->args[0];
	walk.fd = 0;
	walk.failed = 0;
}

/* The list is a ring; its head is the idle process, tgid 0. */
static __always_inline void go_to_next_process(void)
{
	struct task_struct *t = process_at();
	u64 next = (u64)FIELD(t, tasks.next);

	next = next ? next - bpf_core_field_offset(struct task_struct, tasks) : 0;
	walk.failed |= !next;
	walk.process = walk.thread = next == walk.first ? 0 : next;
	walk.fd = 0;
}

static __always_inline void go_to_next_thread(void)
{
	struct task_struct *t = process_at(), *thread = thread_at();
	u64 head = (u64)FIELD(t, signal) + bpf_core_field_offset(struct signal_struct, thread_head);
	u64 next = (u64)FIELD(thread, thread_node.next);

	if (!next || next == head)
		go_to_next_process();
	else
		walk.thread = next - bpf_core_field_offset(struct task_struct, thread_node);
}

__noinline int step_task(void)
{
	struct task_struct *t = thread_at();
	struct snapshot s = {};

	if (FIELD(t, tgid) && list_task(t, &s))
		write_record(&s);
	go_to_next_thread();
	return 0;
}

__noinline int step_zombie(void)
{
	struct task_struct *t = process_at();
	struct snapshot s = {};

	if (FIELD(t, tgid) && list_zombie(t, &s)) {
		write_record(&s);
		if (!(s.flags & F_YOUNG)) {
			__builtin_memset(&s, 0, sizeof(s));
			list_parent(t, &s);
			write_record(&s);
		}
	}
	go_to_next_process();
	return 0;
}

__noinline int step_signalfd(void)
{
	struct task_struct *t = process_at();
	struct fdtable *table = FIELD(t, files, fdt);
	struct file **files = FIELD(table, fd), *file = 0;
	union {
		struct signalfd signalfd;
		struct snapshot room;
	} s = {};

	if (!table || walk.fd >= FIELD(table, max_fds)) {
		go_to_next_process();
		return 0;
	}
	bpf_probe_read_kernel(&file, sizeof(file), files + walk.fd);
	if (file && list_signalfd(t, file, &s.signalfd))
		write_record(&s);
	walk.fd++;
	return 0;
}

#define WALK(name)                                                                                                     \
	__noinline int name##_some(void)                                                                               \
	{                                                                                                              \
		u32 i;                                                                                                 \
                                                                                                                       \
		for (i = 0; i < STEPS && walk.process && walk.steps; i++) {                                            \
			walk.steps--;                                                                                  \
			step_##name();                                                                                 \
		}                                                                                                      \
		return 0;                                                                                              \
	}                                                                                                              \
	__noinline int name##_more(void)                                                                               \
	{                                                                                                              \
		u32 i;                                                                                                 \
                                                                                                                       \
		for (i = 0; i < STEPS && walk.process && walk.steps; i++)                                              \
			name##_some();                                                                                 \
		return 0;                                                                                              \
	}                                                                                                              \
	static __always_inline int name##_walk(struct bpf_raw_tracepoint_args *ctx)                                    \
	{                                                                                                              \
		u32 i;                                                                                                 \
                                                                                                                       \
		begin_walk(ctx);                                                                                       \
		for (i = 0; i < STEPS && walk.process && walk.steps; i++)                                              \
			name##_more();                                                                                 \
		return walk.failed || walk.process;                                                                    \
	}

WALK(task)
WALK(zombie)
WALK(signalfd)

SEC("raw_tp")
int snapshot_tasks(struct bpf_raw_tracepoint_args *ctx)
{
	return task_walk(ctx);
}

SEC("raw_tp")
int snapshot_zombies(struct bpf_raw_tracepoint_args *ctx)
{
	return zombie_walk(ctx);
}

/* Loaded for `audit` alone. */
SEC("?raw_tp")
int snapshot_signalfds(struct bpf_raw_tracepoint_args *ctx)
{
	return signalfd_walk(ctx);
}
