// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * sigtrace's programs, one object for x86-64 and arm64 and for Linux 5.10 to 7.x; a second one, built with SIGTRACE_RAW,
 * is for kernels without BTF. Reading order: wire.h (what crosses
 * to user space), maps.h (what is kept here), task_read.h (how a task is read), then the programs.
 */
#include "kernel.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "wire.h"
#include "maps.h"
#include "count.h"
#include "limit.h"
#include "task.h"
#include "ring.h"

#include "signal.bpf.h"
#include "process.bpf.h"
#include "cgroup.bpf.h"
#include "snapshot.bpf.h"
#ifdef SIGTRACE_RAW
#include "walk.bpf.h"
#endif

/* GPL-only helpers are used (bpf_probe_read_kernel, the ring buffer's siblings). */
char LICENSE[] SEC("license") = "Dual BSD/GPL";
