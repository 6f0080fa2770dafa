/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reading struct task_struct, in two flavours made from one text (task_read.h).
 *
 * name(t): `t` is a pointer the verifier knows by BTF and is dereferenced directly: 16 ns less for the cgroup id
 * and 40 ns less for a record than a chain of helper calls.
 * probed_name(t): `t` is a plain address, each step asks bpf_probe_read_kernel. That is `current` before v5.11, which
 * has no bpf_get_current_task_btf (commit 3ca1032ab7ab).
 *
 * With SIGTRACE_RAW, the build for kernels without BTF, the verifier knows no pointer and both flavours are the second.
 */
#ifndef SIGTRACE_TASK_H
#define SIGTRACE_TASK_H

#ifdef SIGTRACE_RAW
#define TRACEPOINT(name) "raw_tp/" name
#define HAVE_CURRENT_BTF 0
/* FIELD(t, a, b) is t->a->b, of what a tracepoint or a listing was given. */
#define FIELD(...) BPF_CORE_READ(__VA_ARGS__)
#define COPY_NAME(to, t) bpf_core_read((void *)(to), COMM_LEN, &(t)->comm)
#else
#define TRACEPOINT(name) "tp_btf/" name
#define HAVE_CURRENT_BTF bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf)
#define FIELD(...) (___apply(___arrow, ___narg(__VA_ARGS__))(__VA_ARGS__))
#define COPY_NAME(to, t)                                                                                               \
	({                                                                                                             \
		*(u64 *)&(to)[0] = *(u64 *)&(t)->comm[0];                                                              \
		*(u64 *)&(to)[8] = *(u64 *)&(t)->comm[8];                                                              \
	})
#endif

struct task_struct___before_5_14 {
	long state; /* task_struct.__state of today */
} __attribute__((preserve_access_index));

/* Conditions as arithmetic. The verifier walks both sides of each branch with the flags so far as known constants, so
 * that ten flags set by branches are a thousand ways: 220 ms to load signal_generate, and over the limit on old
 * kernels. An `if` that does not branch is an unknown number on one way. */
static __always_inline u64 nonzero(u64 x)
{
	u64 negative = -x;

	barrier_var(negative); /* or the compiler sees through it and branches */
	return (x | negative) >> 63;
}

static __always_inline u32 flag_if(u32 flag, u64 condition)
{
	return flag * (u32)nonzero(condition);
}

/* The tgid's number in the PID namespace of `level`, and that namespace's inode number. */
static __always_inline void read_upid(struct pid *pid, u32 level, u32 *nr, u32 *inum)
{
	struct pid_namespace *ns;
	struct upid upid = {};

	/* numbers[level]: an array without a bound, which no direct load may index by a variable. */
	bpf_probe_read_kernel(&upid, sizeof(upid),
			      (void *)pid + bpf_core_field_offset(struct pid, numbers) + (level & 63) * sizeof(upid));
	*nr = upid.nr;
	ns = upid.ns;
	if (inum)
		bpf_probe_read_kernel(inum, sizeof(*inum), &ns->ns.inum);
}

static __always_inline bool is_watched(const struct process_key *key)
{
	return is_watching() && bpf_map_lookup_elem(&watched, key);
}

static __always_inline bool is_marked(u64 key)
{
	u64 *until = bpf_map_lookup_elem(&stopping, &key);

	return until && bpf_ktime_get_boot_ns() < *until;
}

/* Whether a container is stopping whose process this is. */
static __always_inline bool is_stopping(u32 pidns, u64 cgroup)
{
	return is_marked(pidns) || (is_watching() && is_marked(cgroup | CGROUP_KEY));
}

/* HANDLER_DEFAULT, HANDLER_IGNORE or HANDLER_FUNCTION. */
static __always_inline u8 disposition_in(struct sighand_struct *sighand, u32 signo)
{
	u64 handler = 0;
	u64 function;

	/* struct k_sigaction: handler, flags, restorer, mask. Its size is written out: before v6.2 the verifier gives no
	 * bound to a product with a relocated number. */
	bpf_probe_read_kernel(&handler, sizeof(handler),
			      (void *)sighand + bpf_core_field_offset(struct sighand_struct, action) +
				      ((signo - 1) & 63) * 32);
	function = nonzero(handler >> 1);
	return HANDLER_FUNCTION * function | (handler & ~function & HANDLER_IGNORE);
}

#define READ FIELD
#define FLAVOUR(name) name
#define COPY_COMM COPY_NAME
#include "task_read.h"
#undef READ
#undef FLAVOUR
#undef COPY_COMM

#define READ(...) BPF_CORE_READ(__VA_ARGS__)
#define FLAVOUR(name) probed_##name
#define COPY_COMM(to, t) bpf_core_read((void *)(to), COMM_LEN, &(t)->comm)
#include "task_read.h"
#undef READ
#undef FLAVOUR
#undef COPY_COMM

/* A function's flavour for `current`. */
#define WITH_CURRENT(name, ...)                                                                                        \
	(HAVE_CURRENT_BTF ? name(bpf_get_current_task_btf(), ##__VA_ARGS__)                                            \
			  : probed_##name((struct task_struct *)bpf_get_current_task(), ##__VA_ARGS__))

#endif
