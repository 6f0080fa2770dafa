// SPDX-License-Identifier: Apache-2.0
/*
 * A PID 1 without a handler, whose workers, one on each CPU, do one thing as fast as they can until they are told to end.
 *
 *   storm KIND FILE CGROUP
 *
 *   counted   SIGURG to itself, handled: counted, never told
 *   told      SIGTERM to itself, handled: each could be a record
 *   forks     a child that exits with 0; the kernel gets time to free them (see breathe)
 *   bombs     the same without: as many as the machine makes
 *   crashes   a child that dies of SIGSEGV, each under another name
 *   inits     a child that is init of a PID namespace of its own, executes a program, and exits with 3
 *   execs     an init of a PID namespace that executes itself for ever, each time under another name
 *   cgroups   a cgroup made and removed below CGROUP
 *   boxes     a container in the container: a cgroup below CGROUP and in it an init, asked to stop and killed from outside
 *   wander    a cgroup made below CGROUP, entered, 500 times SIGTERM to itself, left and removed
 *   hoard     the same, after 17,000 cgroups were made below CGROUP that stay: `payers` has room for 16,384
 *   ghosts    a zombie in a cgroup that is removed, and 600 times SIGTERM to it
 *   all       a worker of each of these on each CPU, but for bombs and hoard
 *
 * FILE is shared with the test: struct shared. A worker counts what it has done once it is done. Held, it stays and does
 * nothing more; told to leave, it exits.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORKERS 128
#define BURST 500
#define HOARD 17000 /* by all workers together */

enum { GO, LEAVE, HOLD };

struct shared {
	uint64_t end; /* GO, LEAVE or HOLD */
	uint64_t running;
	uint64_t done[WORKERS];
};

static struct shared *shared;
static const char *path, *home;
static char *self_name;
static unsigned worker;
static char cgroup[4096];
static unsigned hoarded, cpus;

static void die(const char *what)
{
	fprintf(stderr, "storm: %s: %s\n", what, strerror(errno));
	_exit(99);
}

static void handle(int signo)
{
	(void)signo;
}

static void await(pid_t child)
{
	if (child < 0)
		die("fork");
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
}

/* As fork, with a PID namespace of its own. */
static pid_t fork_init(void)
{
	return syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
}

static void execute(const char *mode)
{
	char number[16];

	snprintf(number, sizeof(number), "%u", worker);
	execl("/proc/self/exe", self_name, mode, path, home, number, (char *)NULL);
	die("exec");
}

static void enter(const char *folder)
{
	char procs[4200];
	int fd;

	snprintf(procs, sizeof(procs), "%s/cgroup.procs", folder);
	fd = open(procs, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "0", 1) != 1)
		die(procs);
	close(fd);
}

static void make_cgroup(void)
{
	static uint64_t number;

	snprintf(cgroup, sizeof(cgroup), "%s/s%u-%llu", home, worker, (unsigned long long)number++);
	if (mkdir(cgroup, 0755))
		die(cgroup);
}

static void remove_cgroup(void)
{
	while (rmdir(cgroup))
		if (errno != EBUSY)
			die(cgroup);
		else
			sched_yield();
}

static void one_counted(void)
{
	syscall(SYS_tgkill, getpid(), gettid(), SIGURG);
}

static void one_told(void)
{
	kill(getpid(), SIGTERM);
}

/* Waits for an RCU grace period now and then. Without, processes die faster than the kernel frees them, grace periods
 * take ten seconds, and with them whatever moves a process to another cgroup: no container of the node starts or stops
 * any more, whoever watches. */
static void breathe(void)
{
	if (shared->done[worker] % 128 == 127)
		syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
}

static void one_bomb(void)
{
	pid_t child = fork();

	if (!child)
		_exit(0);
	await(child);
}

static void one_fork(void)
{
	one_bomb();
	breathe();
}

static void one_crash(void)
{
	pid_t child = fork();

	if (!child) {
		char name[16];

		snprintf(name, sizeof(name), "c%u-%llu", worker, (unsigned long long)shared->done[worker]);
		prctl(PR_SET_NAME, name);
		kill(getpid(), SIGSEGV);
		_exit(0);
	}
	await(child);
	breathe();
}

static void one_init(void)
{
	pid_t child = fork_init();

	if (!child)
		execute("leave");
	await(child);
	breathe();
}

static void one_cgroup(void)
{
	make_cgroup();
	remove_cgroup();
}

static void one_box(void)
{
	pid_t child;

	make_cgroup();
	child = fork_init();
	if (!child) {
		enter(cgroup);
		execute("stay");
	}
	if (child > 0) {
		kill(child, SIGTERM);
		kill(child, SIGKILL);
	}
	await(child);
	remove_cgroup();
	breathe();
}

static void one_wander(void)
{
	make_cgroup();
	enter(cgroup);
	for (unsigned i = 0; i < BURST; i++)
		kill(getpid(), SIGTERM);
	enter(home);
	remove_cgroup();
}

/* A zombie whose cgroup was removed. */
static void one_ghost(void)
{
	siginfo_t info;
	pid_t child;

	make_cgroup();
	child = fork();
	if (!child) {
		enter(cgroup);
		_exit(0);
	}
	waitid(P_PID, child, &info, WEXITED | WNOWAIT);
	remove_cgroup();
	for (unsigned i = 0; i < 600; i++)
		kill(child, SIGTERM);
	await(child);
	breathe();
}

static void one_hoard(void)
{
	while (!shared->done[worker] && hoarded * cpus < HOARD) {
		make_cgroup();
		hoarded++;
	}
	one_wander();
}

static const struct kind {
	const char *name;
	void (*one)(void);
} kinds[] = {
	{ "counted", one_counted }, { "told", one_told },      { "forks", one_fork },  { "crashes", one_crash },
	{ "inits", one_init },	    { "cgroups", one_cgroup }, { "boxes", one_box },   { "wander", one_wander },
	{ "execs", NULL },	    { "bombs", one_bomb },     { "hoard", one_hoard }, { "ghosts", one_ghost },
};
#define KINDS (sizeof(kinds) / sizeof(*kinds))

static int work(const struct kind *kind)
{
	signal(SIGURG, handle);
	signal(SIGTERM, handle);
	while (!__atomic_load_n(&shared->end, __ATOMIC_RELAXED)) {
		kind->one();
		__atomic_fetch_add(&shared->done[worker], 1, __ATOMIC_RELAXED);
	}
	if (__atomic_load_n(&shared->end, __ATOMIC_RELAXED) == HOLD) {
		__atomic_fetch_sub(&shared->running, 1, __ATOMIC_RELAXED);
		for (;;)
			pause();
	}
	return 0;
}

/* One life of a program that executes itself: its name is the number of a descriptor. */
static int exec_again(void)
{
	char name[40], number[16];
	uint64_t n = __atomic_fetch_add(&shared->done[worker], 1, __ATOMIC_RELAXED);
	int fd = open("/proc/self/exe", O_RDONLY), other = 100 + n % 800;

	if (__atomic_load_n(&shared->end, __ATOMIC_RELAXED))
		return 0;
	if (fd < 0 || dup3(fd, other, O_CLOEXEC) < 0)
		die("dup3");
	close(fd);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", other);
	snprintf(number, sizeof(number), "%u", worker);
	execl(name, self_name, "again", path, home, number, (char *)NULL);
	die("exec");
	return 1;
}

static void start(const struct kind *kind, int cpu)
{
	pid_t child;

	if (worker >= WORKERS)
		die("too many workers");
	__atomic_fetch_add(&shared->running, 1, __ATOMIC_RELAXED);
	child = kind->one ? fork() : fork_init();
	if (child < 0)
		die("fork");
	if (!child) {
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		sched_setaffinity(0, sizeof(set), &set);
		_exit(kind->one ? work(kind) : exec_again());
	}
	worker++;
}

int main(int argc, char **argv)
{
	const char *mode = argv[1];
	int fd, status;

	if (argc < 4)
		return 2;
	cpus = sysconf(_SC_NPROCESSORS_ONLN);
	self_name = argv[0];
	path = argv[2];
	home = argv[3];
	if (!strcmp(mode, "leave"))
		return 3;
	if (!strcmp(mode, "stay"))
		for (;;)
			pause();
	fd = open(path, O_RDWR | O_CLOEXEC);
	shared = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (shared == MAP_FAILED)
		die(path);
	if (!strcmp(mode, "again")) {
		worker = atoi(argv[4]);
		return exec_again();
	}
	for (size_t i = 0; i < KINDS; i++)
		if (!strcmp(mode, kinds[i].name) ||
		    (!strcmp(mode, "all") && kinds[i].one != one_bomb && kinds[i].one != one_hoard))
			for (unsigned cpu = 0; cpu < cpus; cpu++)
				start(&kinds[i], cpu);
	printf("storm: ready\n");
	fflush(stdout);
	for (;;) {
		if (wait(&status) < 0) {
			if (errno == ECHILD)
				break;
			continue;
		}
		if (status) /* never a child of a worker: those wait for their own */
			fprintf(stderr, "storm: a worker ended with %#x\n", status);
		__atomic_fetch_sub(&shared->running, 1, __ATOMIC_RELAXED);
	}
	for (;;)
		pause();
}
