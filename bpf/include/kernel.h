/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel structures sigtrace reads, and of each only the fields it reads.
 *
 * Every access is relocated by libbpf against the running kernel's BTF, so the order and the offsets here mean
 * nothing. Differences between kernels are found by asking for a field of a type that exists everywhere, never by
 * version and never by type: libbpf 1.1 searches module BTF for a type that vmlinux lacks and fails with EPERM
 * without CAP_SYS_ADMIN.
 */
#ifndef SIGTRACE_KERNEL_H
#define SIGTRACE_KERNEL_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int s32;
typedef long long s64;

/* What <bpf/bpf_helper_defs.h> wants to exist. */
typedef u8 __u8;
typedef u16 __u16;
typedef u32 __u32;
typedef u64 __u64;
typedef s32 __s32;
typedef long long __s64;
typedef u16 __be16;
typedef u32 __be32;
typedef u32 __wsum;

#include <stdbool.h>

enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_HASH = 5,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_RINGBUF = 27,
};
enum { BPF_ANY = 0, BPF_NOEXIST = 1 };
enum { BPF_RB_NO_WAKEUP = 1, BPF_RB_FORCE_WAKEUP = 2 };
enum { BPF_F_MMAPABLE = 1 << 10 };

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* Only its enumerators are asked for; the type is in every kernel's BTF. */
enum bpf_func_id { BPF_FUNC_get_current_task_btf = 158 };
enum cgroup_subsys_id { memory_cgrp_id = 4, pids_cgrp_id = 11 };

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	unsigned long sig[1];
} sigset_t;

struct sigpending {
	sigset_t signal;
};

struct ns_common {
	unsigned int inum;
};

struct pid_namespace {
	struct ns_common ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

struct kernfs_node {
	u64 id;
	const char *name;
};

struct list_head {
	struct list_head *next;
};

struct cgroup_root {
	int hierarchy_id;
};

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
};

struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
	struct cgroup_root *root;
};

struct css_set {
	struct cgroup_subsys_state *subsys[1];
	struct cgroup *dfl_cgrp;
};

struct mm_struct {
	unsigned long arg_start;
	unsigned long arg_end;
};

typedef struct {
	u32 val;
} kuid_t;

struct cred {
	kuid_t uid;
};

struct signal_struct {
	atomic_t live;
	unsigned int flags;
	int group_exit_code;
	struct sigpending shared_pending;
	struct list_head thread_head;
};

struct sigaction {
	void (*sa_handler)(int); /* the first member, everywhere but on MIPS */
};

struct k_sigaction {
	struct sigaction sa;
};

struct sighand_struct {
	struct k_sigaction action[64];
};

struct task_struct {
	unsigned int __state; /* since v5.14, commit 2f064a59a11f ("sched: Change task_struct::state") */
	unsigned int flags;
	unsigned int ptrace;
	int exit_state;
	int exit_code;
	unsigned long jobctl;
	int pid;
	int tgid;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	u64 start_boottime;
	const struct cred *cred;
	char comm[16];
	u64 self_exec_id;
	struct signal_struct *signal;
	struct sighand_struct *sighand;
	sigset_t blocked;
	sigset_t real_blocked;
	struct sigpending pending;
	struct css_set *cgroups;
	struct mm_struct *mm;
	struct files_struct *files;
	struct list_head tasks;
	struct list_head thread_node;
};

typedef struct {
	s64 counter;
} atomic64_t;

struct page_counter {
	atomic64_t usage; /* in pages */
	unsigned long max;
};

struct mem_cgroup {
	struct cgroup_subsys_state css;
	struct page_counter memory;
	struct page_counter memsw; /* of v1; v2 has `swap` in its place */
	bool oom_group;
};

struct qstr {
	const unsigned char *name;
};

struct dentry {
	struct qstr d_name;
};

struct path {
	struct dentry *dentry;
};

struct file {
	struct path f_path;
	void *private_data;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct trace_event_raw_mark_victim {
	u32 uid; /* since "mm: Update mark_victim tracepoints fields": the event has the task, before only its pid */
};

#pragma clang attribute pop

/* Layouts that are an interface: siginfo(2) as x86-64 and arm64 have it, and an iterator's and a raw tracepoint's
 * context. Each type that libbpf relocates costs a walk over all of the kernel's BTF. */
struct kernel_siginfo {
	int si_signo;
	int si_errno;
	int si_code;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	u32 fd;
	struct file *file;
};

struct bpf_raw_tracepoint_args {
	u64 args[0];
};

/* include/linux/sched/signal.h */
#define SIGNAL_STOP_STOPPED 0x00000001
#define SIGNAL_GROUP_EXIT 0x00000004
/* include/linux/sched/jobctl.h, since v5.2 */
#define JOBCTL_TRAP_FREEZE (1UL << 23)
/* include/linux/sched.h: the v1 freezer's mark, until v6.0 and since v6.1 (commit f5d39b020809) */
#define PF_EXITING 0x00000004
#define PF_FORKNOEXEC 0x00000040
#define PF_FROZEN 0x00010000
#define TASK_FROZEN 0x00008000
/* include/uapi/asm-generic/siginfo.h */
#define SI_TIMER (-2)
#define SI_ASYNCIO (-4)
#define SI_SIGIO (-5)
#define SI_ASYNCNL (-60)

#endif
