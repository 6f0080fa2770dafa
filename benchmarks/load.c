// SPDX-License-Identifier: Apache-2.0
/*
 * Load generator for the benchmarks: raises signals as fast as it can and says exactly how many.
 *
 *   load usr1   kill(SIGUSR1) to a child with a handler
 *   load urg    tgkill(SIGURG) to itself with a handler, as the Go runtime preempts its threads
 *   load fork   fork, exit, wait: one SIGCHLD an operation
 *   load init   kill(SIGTERM) to the init of a PID namespace that has no handler: the kernel drops it
 *   load spread SIGRTMIN… round robin to children that ignore them: --cgroups cgroups of --keys signals each
 *   load churn  make a cgroup, raise --burst SIGURG in it, remove it: one operation
 *
 *   --count N | --seconds S   when to stop; a count is exact
 *   --cgroup DIR              the load lives there (spread, churn: parent of the cgroups they make); may repeat,
 *                             once for each hierarchy
 *   --init-cgroup DIR         init: its init lives there, so that it is a container's; without it, a nested init
 *   --cpu N, --target-cpu N   pin the sender, the receiver
 *   --wait                    once all is set up print {"pid", "target"}, then start at the first byte on stdin
 *
 * Prints one JSON line: operations, signals (of the load's own kind), handled (runs of its handlers),
 * elapsed_ns (CLOCK_MONOTONIC), cpu_ns (of the sender) and target_cpu_ns (of its children), both while it ran.
 * Receivers leave at the end of their pipe, not by a signal: nothing is raised that is not in the count, but for
 * one SIGCHLD a child.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_HIERARCHIES 8
#define NS_PER_S 1000000000ULL
#define STRIDE 64 /* signals between two looks at the clock */

struct load {
	const char *name;
	void (*set_up)(void);
	void (*operate)(void);
	void (*tear_down)(void);
	unsigned stride;
};

struct dirs {
	const char *path[MAX_HIERARCHIES];
	int count;
};

static struct dirs cgroup, init_cgroup;
static uint64_t count, duration_ns;
static unsigned cgroups = 100, keys = 10, burst = 100;
static int cpu = -1, target_cpu = -1;
static bool wait_for_start;

static pid_t self, target; /* target: whom the signals go to */
static pid_t *targets;	   /* spread only: one a cgroup */
static uint64_t *handled;  /* in shared memory: a child's handler counts there */
static uint64_t operations, signals;
static int hold[2], ready[2]; /* receivers live until hold ends; each writes a byte to ready */

__attribute__((format(printf, 1, 2), noreturn)) static void fail(const char *format, ...)
{
	int error = errno;
	va_list arguments;

	va_start(arguments, format);
	fputs("load: ", stderr);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	if (error)
		fprintf(stderr, ": %s", strerror(error));
	fputc('\n', stderr);
	_exit(1); /* also in a forked child: no exit handlers, no buffers flushed twice */
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static uint64_t children_cpu_ns(void)
{
	struct rusage usage;

	getrusage(RUSAGE_CHILDREN, &usage);
	return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * NS_PER_S +
	       (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000ULL;
}

static void pin(int to)
{
	cpu_set_t set;

	if (to < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET(to, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fail("cannot pin to CPU %d", to);
}

/* The path of cgroup NAME-NUMBER below PARENT, or of PARENT itself without a name. */
static const char *cgroup_path(const char *parent, const char *name, uint64_t number)
{
	static char path[PATH_MAX];

	if (name)
		snprintf(path, sizeof(path), "%s/%s-%llu", parent, name, (unsigned long long)number);
	else
		snprintf(path, sizeof(path), "%s", parent);
	return path;
}

static void join_cgroups(const struct dirs *dirs, const char *name, uint64_t number)
{
	char procs[PATH_MAX + 16];

	for (int i = 0; i < dirs->count; i++) {
		snprintf(procs, sizeof(procs), "%s/cgroup.procs", cgroup_path(dirs->path[i], name, number));
		int fd = open(procs, O_WRONLY | O_CLOEXEC);

		if (fd < 0 || write(fd, "0", 1) != 1)
			fail("cannot join %s", procs);
		close(fd);
	}
}

static void make_cgroups(const char *name, uint64_t number)
{
	for (int i = 0; i < cgroup.count; i++)
		if (mkdir(cgroup_path(cgroup.path[i], name, number), 0755) && errno != EEXIST)
			fail("cannot make %s", cgroup_path(cgroup.path[i], name, number));
}

static void remove_cgroups(const char *name, uint64_t number)
{
	for (int i = 0; i < cgroup.count; i++)
		while (rmdir(cgroup_path(cgroup.path[i], name, number))) {
			if (errno != EBUSY) /* the last task may still be on its way out */
				fail("cannot remove %s", cgroup_path(cgroup.path[i], name, number));
			sched_yield();
		}
}

static void on_signal(int signal)
{
	(void)signal;
	__atomic_fetch_add(handled, 1, __ATOMIC_RELAXED);
}

static void handle(int signal, void (*handler)(int))
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };

	if (sigaction(signal, &action, NULL))
		fail("cannot set the handler of signal %d", signal);
}

/* What every receiver does: report ready, live until the load is over, handle what is still pending, leave. */
static int stay(int hold_fd, int ready_fd)
{
	char byte = 'r';

	if (write(ready_fd, &byte, 1) != 1)
		return 1;
	close(ready_fd);
	while (read(hold_fd, &byte, 1) == -1 && errno == EINTR)
		;
	return 0;
}

static void await_ready(void)
{
	char byte;

	if (read(ready[0], &byte, 1) != 1)
		fail("a receiver did not start");
}

static pid_t fork_or_fail(void)
{
	pid_t pid = fork();

	if (pid < 0)
		fail("cannot fork");
	return pid;
}

static void wait_for_all(void)
{
	while (wait(NULL) > 0 || errno == EINTR)
		;
}

static void end_receivers(void)
{
	close(hold[1]);
	wait_for_all();
}

static void raise_urg(void)
{
	if (syscall(SYS_tgkill, self, self, SIGURG))
		fail("cannot signal itself");
}

static void usr1_set_up(void)
{
	target = fork_or_fail();
	if (!target) {
		close(hold[1]);
		pin(target_cpu);
		handle(SIGUSR1, on_signal);
		_exit(stay(hold[0], ready[1]));
	}
	await_ready();
}

static void usr1_operate(void)
{
	if (kill(target, SIGUSR1))
		fail("cannot signal the child");
	signals++;
}

static void urg_set_up(void)
{
	target = self;
	handle(SIGURG, on_signal);
}

static void urg_operate(void)
{
	raise_urg();
	signals++;
}

static void fork_set_up(void)
{
	target = self;
}

static void fork_operate(void)
{
	pid_t child = fork_or_fail();

	if (!child)
		_exit(0);
	if (waitpid(child, NULL, 0) != child)
		fail("cannot wait");
	signals++;
}

/* An exec as a container's init does it: handlers reset, a new image, the parent outside. */
static void become_init(void)
{
	close(hold[1]);
	pin(target_cpu);
	join_cgroups(&init_cgroup, NULL, 0);
	if (dup2(hold[0], STDIN_FILENO) < 0 || dup2(ready[1], STDOUT_FILENO) < 0)
		fail("cannot pass the pipes");
	execl("/proc/self/exe", "load-init", (char *)NULL);
	fail("cannot exec the init");
}

static void init_set_up(void)
{
	if (unshare(CLONE_NEWPID))
		fail("cannot make a PID namespace");
	target = fork_or_fail();
	if (!target)
		become_init();
	await_ready();
}

static void init_operate(void)
{
	if (kill(target, SIGTERM))
		fail("cannot signal the init");
	signals++;
}

static void spread_set_up(void)
{
	targets = calloc(cgroups, sizeof(*targets));
	if (!targets)
		fail("no memory");
	for (unsigned i = 0; i < cgroups; i++) {
		make_cgroups("spread", i);
		targets[i] = fork_or_fail();
		if (!targets[i]) {
			close(hold[1]);
			pin(target_cpu);
			join_cgroups(&cgroup, "spread", i);
			for (unsigned key = 0; key < keys; key++)
				handle(SIGRTMIN + key, SIG_IGN);
			_exit(stay(hold[0], ready[1]));
		}
		await_ready();
	}
	target = targets[0];
}

static void spread_operate(void)
{
	static unsigned next, key;

	if (kill(targets[next], SIGRTMIN + key))
		fail("cannot signal a child");
	signals++;
	if (++next == cgroups) {
		next = 0;
		key = (key + 1) % keys;
	}
}

static void spread_tear_down(void)
{
	end_receivers();
	for (unsigned i = 0; i < cgroups; i++)
		remove_cgroups("spread", i);
}

static void churn_set_up(void)
{
	target = self;
	handle(SIGURG, on_signal);
}

static void churn_operate(void)
{
	make_cgroups("churn", operations);
	pid_t child = fork_or_fail();

	if (!child) {
		self = getpid();
		join_cgroups(&cgroup, "churn", operations);
		for (unsigned i = 0; i < burst; i++)
			raise_urg();
		_exit(0);
	}
	int status;

	if (waitpid(child, &status, 0) != child || status)
		fail("a child failed in cgroup %llu", (unsigned long long)operations);
	remove_cgroups("churn", operations);
	signals += burst;
}

static const struct load loads[] = {
	{ "usr1", usr1_set_up, usr1_operate, end_receivers, STRIDE },
	{ "urg", urg_set_up, urg_operate, end_receivers, STRIDE },
	{ "fork", fork_set_up, fork_operate, end_receivers, 1 },
	{ "init", init_set_up, init_operate, end_receivers, STRIDE },
	{ "spread", spread_set_up, spread_operate, spread_tear_down, STRIDE },
	{ "churn", churn_set_up, churn_operate, end_receivers, 1 },
};

static void run(const struct load *load)
{
	uint64_t start = clock_ns(CLOCK_MONOTONIC), cpu_start = clock_ns(CLOCK_PROCESS_CPUTIME_ID);

	if (count) {
		for (; operations < count; operations++)
			load->operate();
	} else {
		while (clock_ns(CLOCK_MONOTONIC) - start < duration_ns)
			for (unsigned i = 0; i < load->stride; i++, operations++)
				load->operate();
	}
	uint64_t elapsed = clock_ns(CLOCK_MONOTONIC) - start;
	uint64_t sender_cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_start;

	load->tear_down();
	printf("{\"load\": \"%s\", \"operations\": %llu, \"signals\": %llu, \"handled\": %llu, \"elapsed_ns\": %llu, "
	       "\"cpu_ns\": %llu, \"target_cpu_ns\": %llu}\n",
	       load->name, (unsigned long long)operations, (unsigned long long)signals, (unsigned long long)*handled,
	       (unsigned long long)elapsed, (unsigned long long)sender_cpu, (unsigned long long)children_cpu_ns());
}

static void add_dir(struct dirs *dirs, const char *path)
{
	if (dirs->count == MAX_HIERARCHIES)
		fail("more than %d cgroups", MAX_HIERARCHIES);
	dirs->path[dirs->count++] = path;
}

static uint64_t number(const char *text, uint64_t least, uint64_t most)
{
	char *end;

	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);

	if (errno || *text < '0' || *text > '9' || *end || value < least || value > most) {
		errno = 0;
		fail("'%s' is not a number from %llu to %llu", text, (unsigned long long)least,
		     (unsigned long long)most);
	}
	return value;
}

static double seconds(const char *text)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end || !(value > 0 && value <= 86400)) {
		errno = 0;
		fail("'%s' is not a duration in seconds", text);
	}
	return value;
}

static void parse(int argc, char **argv)
{
	static const struct option options[] = {
		{ "count", required_argument, NULL, 'n' },
		{ "seconds", required_argument, NULL, 's' },
		{ "cgroup", required_argument, NULL, 'g' },
		{ "init-cgroup", required_argument, NULL, 'i' },
		{ "cpu", required_argument, NULL, 'c' },
		{ "target-cpu", required_argument, NULL, 't' },
		{ "cgroups", required_argument, NULL, 'C' },
		{ "keys", required_argument, NULL, 'k' },
		{ "burst", required_argument, NULL, 'b' },
		{ "wait", no_argument, NULL, 'w' },
		{ NULL, 0, NULL, 0 },
	};

	for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
		switch (option) {
		case 'n':
			count = number(optarg, 1, UINT64_MAX);
			break;
		case 's':
			duration_ns = seconds(optarg) * NS_PER_S;
			break;
		case 'g':
			add_dir(&cgroup, optarg);
			break;
		case 'i':
			add_dir(&init_cgroup, optarg);
			break;
		case 'c':
			cpu = number(optarg, 0, CPU_SETSIZE - 1);
			break;
		case 't':
			target_cpu = number(optarg, 0, CPU_SETSIZE - 1);
			break;
		case 'C':
			cgroups = number(optarg, 1, 10000);
			break;
		case 'k':
			keys = number(optarg, 1, SIGRTMAX - SIGRTMIN + 1);
			break;
		case 'b':
			burst = number(optarg, 1, 1000000);
			break;
		case 'w':
			wait_for_start = true;
			break;
		default:
			exit(2);
		}
}

static const struct load *find_load(const char *name)
{
	for (size_t i = 0; name && i < sizeof(loads) / sizeof(*loads); i++)
		if (!strcmp(loads[i].name, name))
			return &loads[i];
	return NULL;
}

int main(int argc, char **argv)
{
	char byte;

	if (!strcmp(argv[0], "load-init")) {
		prctl(PR_SET_NAME, "load-init"); /* not "exe", the last part of the path it was executed by */
		return stay(STDIN_FILENO, STDOUT_FILENO);
	}
	parse(argc, argv);
	const struct load *load = find_load(argv[optind]);

	if (!load || argv[optind + 1] || !count == !duration_ns) {
		fputs("usage: load usr1|urg|fork|init|spread|churn --count N | --seconds S [options; see load.c]\n",
		      stderr);
		return 2;
	}
	bool makes_cgroups = load->operate == spread_operate || load->operate == churn_operate;

	if (makes_cgroups && !cgroup.count) {
		fprintf(stderr, "load: %s needs --cgroup DIR, the parent of the cgroups it makes\n", load->name);
		return 2;
	}
	self = getpid();
	handled = mmap(NULL, sizeof(*handled), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (handled == MAP_FAILED || pipe2(hold, O_CLOEXEC) || pipe2(ready, O_CLOEXEC))
		fail("cannot set up");
	if (!makes_cgroups)
		join_cgroups(&cgroup, NULL, 0);
	load->set_up();
	pin(cpu);
	if (wait_for_start) {
		printf("{\"pid\": %d, \"target\": %d}\n", self, target);
		fflush(stdout);
		if (read(STDIN_FILENO, &byte, 1) != 1)
			fail("not told to start");
	}
	run(load);
	return 0;
}
