// SPDX-License-Identifier: Apache-2.0
/*
 * What the kernel tests send signals to: `target MODE [ARGUMENT…]` writes "ready" once it is set up and then waits.
 *
 * SIGRTMIN has a handler in every mode. Of several pending signals the kernel delivers the lowest number first, so when
 * SIGRTMIN has arrived, everything sent before it would have arrived too (or never will). SIGRTMIN+1 says "go": the mode
 * does the second half of what it is for.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char **arguments; /* after the mode */
static char *self;
static volatile sig_atomic_t gone;

#define GO (SIGRTMIN + 1)
#define SAY(...) dprintf(1, __VA_ARGS__)

static void on_mark(int signo)
{
}

static void on_go(int signo)
{
	gone = 1;
}

static void took(int signo)
{
	SAY("took %d\n", signo);
}

static void handle(int signo, void (*handler)(int))
{
	struct sigaction action = { .sa_handler = handler };

	sigaction(signo, &action, NULL);
}

static void mask(int how, int signo)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signo);
	pthread_sigmask(how, &set, NULL);
}

/* Ready, and asleep until GO comes; it is blocked before and after, so it cannot be missed. */
static void wait_go(void)
{
	sigset_t set;

	SAY("ready\n");
	pthread_sigmask(SIG_SETMASK, NULL, &set);
	sigdelset(&set, GO);
	while (!gone)
		sigsuspend(&set);
	gone = 0;
}

static sem_t set_up;

/* How a thread beside the leader waits: the leader takes SIGRTMIN and GO. */
static void *sleeper(void *unused)
{
	mask(SIG_BLOCK, SIGRTMIN);
	mask(SIG_UNBLOCK, SIGTERM);
	sem_post(&set_up);
	for (;;)
		pause();
	return NULL;
}

/* Returns when the thread has set its mask. */
static void start(void *(*run)(void *))
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, run, NULL))
		abort();
	sem_wait(&set_up);
}

static void mode_pause(void)
{
}

static void mode_handler(void)
{
	handle(SIGTERM, took);
}

static void mode_ignore(void)
{
	handle(SIGTERM, SIG_IGN);
}

static void mode_block(void)
{
	mask(SIG_BLOCK, SIGTERM);
	wait_go();
	mask(SIG_UNBLOCK, SIGTERM);
	SAY("unblocked\n");
}

static void mode_block_ignore(void)
{
	handle(SIGTERM, SIG_IGN);
	mask(SIG_BLOCK, SIGTERM);
}

static void wait_for_term(int timed)
{
	struct timespec hour = { .tv_sec = 3600 };
	sigset_t set;
	int signo;

	mask(SIG_BLOCK, SIGTERM);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	SAY("ready\n");
	for (;;) {
		if (timed)
			signo = sigtimedwait(&set, NULL, &hour);
		else if (sigwait(&set, &signo))
			continue;
		if (signo > 0)
			took(signo);
	}
}

static void mode_sigwait(void)
{
	wait_for_term(0);
}

static void mode_sigtimedwait(void)
{
	wait_for_term(1);
}

static void mode_signalfd(void)
{
	struct signalfd_siginfo info;
	sigset_t set;
	int fd;

	mask(SIG_BLOCK, SIGTERM);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	fd = signalfd(-1, &set, SFD_CLOEXEC);
	SAY("ready\n");
	for (;;)
		if (read(fd, &info, sizeof(info)) == sizeof(info))
			took(info.ssi_signo);
}

/* The leader blocks SIGTERM, another thread does not. */
static void mode_thread_default(void)
{
	mask(SIG_BLOCK, SIGTERM);
	start(sleeper);
}

/* The same, but the other thread unblocks it only at GO. */
static void *late_sleeper(void *unused)
{
	sem_post(&set_up);
	wait_go();
	return sleeper(NULL);
}

static void mode_thread_late(void)
{
	mask(SIG_BLOCK, SIGTERM);
	start(late_sleeper);
	for (;;)
		pause();
}

static void mode_thread_handler(void)
{
	handle(SIGTERM, took);
	mode_thread_default();
}

/* threads N: N beside the leader; at GO it exits. */
static void mode_threads(void)
{
	for (int i = 0; i < atoi(arguments[0]); i++)
		start(sleeper);
	wait_go();
	_exit(0);
}

static void mode_exit(void)
{
	wait_go();
	_exit(atoi(arguments[0]));
}

static void mode_fault(void)
{
	wait_go();
	*(volatile int *)NULL = 1;
}

/* As the above, where the kernel may write a core. */
static void mode_fault_core(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_CORE, &limit);
	limit.rlim_cur = limit.rlim_max;
	if (chdir(arguments[0]) || setrlimit(RLIMIT_CORE, &limit))
		_exit(1);
	mode_fault();
}

static void mode_abort(void)
{
	wait_go();
	abort();
}

/* leader-first A B: at GO the leader leaves with exit(A), at the next the last thread with exit(B). */
static void *last_thread(void *leader)
{
	pthread_join(*(pthread_t *)leader, NULL);
	wait_go();
	syscall(SYS_exit, atoi(arguments[1]));
	return NULL;
}

static void mode_leader_first(void)
{
	static pthread_t leader;
	pthread_t thread;

	leader = pthread_self();
	pthread_create(&thread, NULL, last_thread, &leader);
	wait_go();
	syscall(SYS_exit, atoi(arguments[0]));
}

/* exec-thread: at GO a thread that is not the leader executes `target pause`. */
static void *executor(void *unused)
{
	sem_post(&set_up);
	wait_go();
	execl(self, self, "pause", NULL);
	return NULL;
}

static void mode_exec_thread(void)
{
	start(executor);
	for (;;)
		pause();
}

/* child MODE…: a child that silently executes `target MODE…`, and no wait for it until GO; both in a process group. */
static void mode_child(void)
{
	int status = 0;
	pid_t pid;

	setpgid(0, 0);
	pid = fork();
	if (!pid) {
		arguments[-1] = self;
		dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), 1);
		execv(self, arguments - 1);
		_exit(127);
	}
	wait_go();
	SAY("reaped %d\n", waitpid(pid, &status, 0) == pid ? status : -1);
}

static void mode_child_ignored(void)
{
	handle(SIGCHLD, SIG_IGN);
	mode_child();
}

/* exit-now N */
static void mode_exit_now(void)
{
	_exit(atoi(arguments[0]));
}

/* alarm, timer: at GO a signal from an interval timer, from a POSIX timer. */
static void mode_alarm(void)
{
	struct itimerval soon = { .it_value.tv_usec = 1000 };

	handle(SIGALRM, took);
	wait_go();
	setitimer(ITIMER_REAL, &soon, NULL);
}

static void mode_timer(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2 };
	struct itimerspec soon = { .it_value.tv_nsec = 1000000 };
	timer_t timer;

	handle(SIGUSR2, took);
	wait_go();
	timer_create(CLOCK_MONOTONIC, &event, &timer);
	timer_settime(timer, 0, &soon, NULL);
}

/* eat: at GO takes memory until somebody objects. */
static void mode_eat(void)
{
	wait_go();
	for (;;)
		memset(mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 1, 1 << 20);
}

/* name BYTES: calls itself so. */
static void mode_name(void)
{
	prctl(PR_SET_NAME, arguments[0]);
}

/* title: overwrites its arguments up to the environment, the last NUL too. */
static void mode_title(void)
{
	char *end;

	while (arguments[1])
		arguments++;
	end = arguments[0] + strlen(arguments[0]) + 1;
	memset(self, 'x', end - self);
}

/* Traces a process as strace -p does, and hands each signal on. */
static void mode_tracer(void)
{
	pid_t pid = atoi(arguments[0]);
	int status;

	if (ptrace(PTRACE_SEIZE, pid, NULL, NULL)) {
		perror("PTRACE_SEIZE");
		exit(1);
	}
	SAY("ready\n");
	while (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status))
		ptrace(PTRACE_CONT, pid, NULL, status >> 16 ? 0 : WSTOPSIG(status));
	SAY("done\n");
}

/* inits N: as fast as it can, N inits of PID namespaces that execute `target pause`, each pid on a line; at GO, or when
 * the reader of its output goes, they end. */
static int init_main(void *unused)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	mask(SIG_UNBLOCK, GO);
	dup2(open("/dev/null", O_WRONLY), 1);
	execl(self, self, "pause", NULL);
	return 127;
}

static void mode_inits(void)
{
	static char stack[1 << 16] __attribute__((aligned(16)));
	int n = atoi(arguments[0]);
	pid_t *pids = calloc(n, sizeof(*pids));

	/* CLONE_VFORK: it runs on this stack until its exec. */
	for (int i = 0; i < n; i++) {
		pids[i] = clone(init_main, stack + sizeof(stack), CLONE_NEWPID | CLONE_VFORK | SIGCHLD, NULL);
		SAY("%d\n", pids[i]);
	}
	wait_go();
	for (int i = 0; i < n; i++)
		kill(pids[i], SIGKILL);
	while (wait(NULL) > 0)
		;
	exit(0);
}

/* without-bpf COMMAND…: executes it under a seccomp filter that answers bpf(2) with EPERM, as Podman's does. */
static void mode_without_bpf(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_bpf, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(filter) / sizeof(*filter), filter };

	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		perror("PR_SET_SECCOMP");
	else
		execvp(arguments[0], arguments);
	exit(126);
}

static const struct {
	const char *name;
	void (*run)(void);
} modes[] = {
	{ "pause", mode_pause },
	{ "handler", mode_handler },
	{ "ignore", mode_ignore },
	{ "block", mode_block },
	{ "block-ignore", mode_block_ignore },
	{ "sigwait", mode_sigwait },
	{ "sigtimedwait", mode_sigtimedwait },
	{ "signalfd", mode_signalfd },
	{ "thread-default", mode_thread_default },
	{ "thread-handler", mode_thread_handler },
	{ "thread-late", mode_thread_late },
	{ "threads", mode_threads },
	{ "exit", mode_exit },
	{ "exit-now", mode_exit_now },
	{ "fault", mode_fault },
	{ "fault-core", mode_fault_core },
	{ "abort", mode_abort },
	{ "leader-first", mode_leader_first },
	{ "exec-thread", mode_exec_thread },
	{ "child", mode_child },
	{ "child-ignored", mode_child_ignored },
	{ "alarm", mode_alarm },
	{ "timer", mode_timer },
	{ "eat", mode_eat },
	{ "name", mode_name },
	{ "title", mode_title },
	{ "tracer", mode_tracer },
	{ "inits", mode_inits },
	{ "without-bpf", mode_without_bpf },
};

int main(int argc, char **argv)
{
	struct rlimit no_core;

	self = argv[0];
	arguments = argv + 2;
	getrlimit(RLIMIT_CORE, &no_core);
	no_core.rlim_cur = 0;
	setrlimit(RLIMIT_CORE, &no_core);
	handle(SIGRTMIN, on_mark);
	handle(GO, on_go);
	mask(SIG_BLOCK, GO);
	for (size_t i = 0; argc > 1 && i < sizeof(modes) / sizeof(*modes); i++) {
		if (strcmp(argv[1], modes[i].name))
			continue;
		modes[i].run();
		for (;;)
			wait_go();
	}
	dprintf(2, "target: no such mode\n");
	return 2;
}
