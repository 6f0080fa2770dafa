/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What crosses from the kernel to user space. sigtrace/sources/wire.py decodes these bytes; tests/unit/sources
 * compares its offsets with this object's BTF. Times are CLOCK_BOOTTIME ns; everything is little endian.
 */
#ifndef SIGTRACE_WIRE_H
#define SIGTRACE_WIRE_H

#define COMM_LEN 16
#define TEXT_LEN 480
#define ANCESTORS 6

enum kind {
	KIND_GENERATE = 1,
	KIND_DELIVER = 2,
	KIND_EXIT = 3,
	KIND_REAP = 4,
	KIND_EXEC = 5,
	KIND_OOM = 6,
	KIND_CGROUP_MKDIR = 7,
};

enum disposition { HANDLER_DEFAULT = 0, HANDLER_IGNORE = 1, HANDLER_FUNCTION = 2 };

/* The tracepoint's raw info pointer. */
enum info { INFO_NOINFO = 0, INFO_PRIV = 1, INFO_REAL = 2 };

enum flag {
	F_BLOCKED = 1 << 0,	 /* in the target's blocked mask */
	F_REAL_BLOCKED = 1 << 1, /* in real_blocked: the target is in sigtimedwait for it */
	F_PENDING = 1 << 2,	 /* the bit stands in the private or the shared pending set */
	F_PTRACED = 1 << 3,
	F_STOPPED = 1 << 4,
	F_FROZEN = 1 << 5,
	F_GROUP = 1 << 6,	    /* sent to the thread group, not to one thread */
	F_NS_INIT = 1 << 7,	    /* init of a PID namespace other than the first: nspid 1, level > 0 */
	F_CONTAINER_INIT = 1 << 8,  /* such an init whose parent's cgroup is another */
	F_SENDER = 1 << 9,	    /* current is the sender, `sender` is filled */
	F_OUTSIDE = 1 << 10,	    /* sent from an ancestor PID namespace */
	F_TEARDOWN = 1 << 11,	    /* the kernel tears down a PID namespace whose init has exited */
	F_PARENT_OUTSIDE = 1 << 12, /* the target's parent lives in another PID namespace */
	F_ZOMBIE = 1 << 13,
	F_EXITING = 1 << 14,	    /* a signal has ended it, or it exits: it takes no more */
	F_TRUNCATED = 1 << 15,	    /* text was longer than TEXT_LEN */
	F_CGROUP_ENTERED = 1 << 16, /* the parent's cgroup is another */
	F_LEAVING = 1 << 17,	    /* already in do_exit, or a zombie */
	F_MAIN = 1 << 18,	    /* in `watched`: a container's main process that is no init */
	F_OOM_GROUP = 1 << 19,	    /* memory.oom.group is set there */
	F_THREAD = 1 << 20,	    /* of a snapshot: a thread whose masks differ from its leader's */
	F_PARENT = 1 << 21,	    /* of a snapshot: the parent of the zombie in the record before it */
	F_FORKED = 1 << 22,	    /* of an exit: it never executed a program of its own (PF_FORKNOEXEC) */
	F_YOUNG = 1 << 23,	    /* a listed zombie that is not old enough: it has its exit_ns, and nothing else */
};

struct task_ref {
	u64 start_ns; /* start_boottime of the group leader: (tgid, start_ns) identifies a process */
	u64 cgroup;   /* kernfs id in the chosen hierarchy */
	u64 parent_start_ns;
	u64 parent_cgroup;
	u32 tgid;
	u32 tid;
	u32 nspid; /* tgid as the innermost PID namespace sees it */
	u32 pidns; /* inode number of that namespace */
	u32 uid;
	u32 parent_tgid;
	char comm[COMM_LEN];
};

/* A record of the event ring. */
struct event {
	u64 time_ns;
	u8 kind;
	u8 signo;
	u8 result; /* TRACE_SIGNAL_*: delivered, ignored, already pending, overflow, lose info; of KIND_OOM: 1 + how many
		    * memory cgroups above the victim's own is the one at its limit, 0 = none: the whole node */
	u8 disposition;
	u32 flags;
	s32 code; /* signals: si_code; exits and reaps: wait status */
	u32 info;
	struct task_ref target;
	struct task_ref sender; /* of KIND_EXIT: the parent */
};

/* A record of the life-cycle ring. Text is an exec's argv (NUL between words), a cgroup's name, or the comms of a
 * sender's ancestors, nearest first, COMM_LEN bytes each. */
struct life {
	struct event event;
	u32 text_len;
	u32 zero;
	char text[TEXT_LEN];
};

/* One process of the snapshot (iter/task). Masks have bit (signo - 1). */
struct snapshot {
	struct task_ref task;
	u64 blocked;
	u64 real_blocked;
	u64 pending;
	u64 caught;
	u64 ignored;
	u64 exit_ns;  /* of a zombie, if it was seen */
	u64 argv_len; /* bytes. /proc/PID/cmdline reads on into the environment of a program that overwrote its argv */
	u32 wait_status;
	u32 flags;
};

/* A counter's key. 12 bytes on purpose: jhash2 takes three words in its final round alone. */
struct count_key {
	u32 cgroup_lo;
	u32 cgroup_hi;
	u32 what; /* COUNT_SIGNAL | signo << 8 | result, or COUNT_EXIT | wait status */
};

enum { COUNT_SIGNAL = 0x10000, COUNT_EXIT = 0x20000 };

/* A signal's counter on one CPU. Slots are claimed first come; a slot whose cgroup is 0 is free. */
struct slot {
	u64 cgroup;
	u64 what;
	u64 count;
};

#define SLOTS 4096

/* A descriptor of a signalfd: the process takes these signals by read(2). */
struct signalfd {
	u64 start_ns;
	u64 mask; /* bit (signo - 1) */
	u32 tgid;
	u32 zero;
};

struct process_key {
	u64 start_ns;
	u32 tgid;
	u32 zero;
};

/* A process between its EXIT and its FREE. */
struct zombie {
	u64 exit_ns;
	struct task_ref task;
	u32 wait_status;
	u32 flags;
};

/* What did not become a record or a count, and why. What did is the ring's producer position. */
enum ledger {
	LEDGER_LIMITED_EVENT,
	LEDGER_LIMITED_LIFE,
	LEDGER_RING_EVENT,
	LEDGER_RING_LIFE,
	LEDGER_COUNTS_FULL_SIGNAL, /* this is the "other" counter of signals, exact */
	LEDGER_COUNTS_FULL_EXIT,   /* and of exits */
	LEDGER_ZOMBIES_FULL,
	LEDGER_LIMITS_FULL,
	LEDGER_STOPPING_FULL,
	LEDGER_FOLLOW_FULL,
	LEDGER_GONE_FULL,
	LEDGER_ZOMBIES_STALE, /* a reaped process stayed in the table: user space has to look again before it says zombie */
	LEDGER_PAYERS_FULL, /* a container's own cgroup has budgets of its own */
	LEDGER_LIMITED_MARK, /* a cgroup had marked so much as stopping that this is not: what happens there is not told */
	LEDGER_RECORDED_BY_SPARE_EXIT, /* the program for exits was left out, its spare was not */
	LEDGER_RECORDED_BY_SPARE_EXEC, /* and that for execs */
	LEDGER_SIZE,
};

/* A limiter's budgets, one set a cgroup. None is shared by two kinds, so that no storm of one hides another. */
enum budget {
	BUDGET_EVENT,  /* the event ring, and what is sent from inside, or from nobody knows where */
	BUDGET_STOP,   /* to a container's init from outside */
	BUDGET_KILL,   /* SIGKILL to it that it does not survive */
	BUDGET_EXIT,   /* its exit */
	BUDGET_EXEC,   /* execs that enter the cgroup, its init's among them */
	BUDGET_MKDIR,  /* cgroups made below it */
	BUDGET_NESTED, /* execs of inits inside it: a sandbox's program */
	BUDGET_RMDIR,  /* cgroups removed below it that it had made itself */
	BUDGETS = 8,
};

enum hierarchy { HIERARCHY_V2, HIERARCHY_PIDS, HIERARCHY_MEMORY };

/* Set by the loader, read-only once loaded. */
struct config {
	u64 signal_mask;	  /* tell only these signals, bit (signo - 1) */
	u64 interval_ns[BUDGETS]; /* GCRA: one record an interval in the long run; 0 = no limit */
	u64 burst_ns[BUDGETS];	  /* and so much of it in advance */
	u64 stopping_ns;	  /* how long a stop signal marks its cgroup */
	u64 torn_down_ns;	  /* how long the exit of a container's init does */
	u64 zombie_ns;		  /* list those that have been one for so long */
	u32 hierarchy;
	s32 hierarchy_id;
	u32 tell_all; /* tell every signal, exit, exec and reap */
	u32 follow;   /* tell only what concerns processes in `followed` */
	u32 children; /* and add their children to it */
	u32 huge;     /* 2 MiB in pages: so near to its limit a memory cgroup is that has none left */
	u32 filtered; /* what concerns only cgroups in `unwanted` is not told */
	u32 spares;   /* programs have spares: see process.bpf.h */
};

_Static_assert(sizeof(struct task_ref) == 72, "task_ref");
_Static_assert(sizeof(struct event) == 168, "event");
_Static_assert(sizeof(struct life) == 656, "life");
_Static_assert(sizeof(struct snapshot) == 136, "snapshot");
_Static_assert(sizeof(struct signalfd) == 24, "signalfd");
_Static_assert(sizeof(struct count_key) == 12, "count_key");
_Static_assert(sizeof(struct slot) == 24, "slot");
_Static_assert(sizeof(struct zombie) == 88, "zombie");
_Static_assert(sizeof(struct config) == 192, "config");

#endif
