// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The floor of every comparison: programs that do nothing, on the tracepoints sigtrace uses.
 * Each is a program of its own, so that one can be attached alone (see attach.c).
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define EMPTY(tracepoint)                                                                                              \
	SEC("tp_btf/" #tracepoint) int tracepoint(void *ctx)                                                           \
	{                                                                                                              \
		return 0;                                                                                              \
	}

EMPTY(signal_generate)
EMPTY(signal_deliver)
EMPTY(sched_process_exit)
EMPTY(sched_process_free)
EMPTY(sched_process_exec)
EMPTY(mark_victim)
EMPTY(cgroup_mkdir)
EMPTY(cgroup_rmdir)

char LICENSE[] SEC("license") = "Dual BSD/GPL";
