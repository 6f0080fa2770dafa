// SPDX-License-Identifier: Apache-2.0
/*
 * Containers that cost next to nothing, for the soak and for a node's load: a program in words, and who starts it.
 *
 *   soak target WORD…   does what the words say, one after the other, and exits with 0:
 *       handle N | take N | ignore N | block N | unblock N
 *                          a signal's disposition or mask; what is taken is handled, and nothing follows from it
 *       ready              tell the factory, by fd 9, that it is up
 *       wait               until a signal that is handled has come
 *       pause US           so many microseconds, or until such a signal
 *       sleep US           so many, whatever comes
 *       loop [ … ]         again and again until such a signal
 *       times N [ … ]      so often
 *       rate N [ … ]       so often a second until such a signal; then tells how often it was, and for how long
 *       fork [ … ]         a child does this, and exits with 0
 *       reap N             wait for so many children; 0: for all
 *       tell N             a signal to each child that was not waited for
 *       self N | raise PID N   a signal to itself; to another
 *       pending N          until this signal pends
 *       eat | segv | abort | exit N
 *
 *   soak factory        reads orders, a line each, words separated by tabs; ends all it started at the end of stdin:
 *       start ID N CGROUP… ARGV…   the init of a new PID namespace enters the N cgroups and executes ARGV
 *       enter ID INIT N CGROUP… ARGV…   the same in the namespace of INIT, with a parent outside, as `kubectl exec`
 *       kill ID SIGNAL COMM        to what was started or entered; COMM: by a process that is called so; -: by us
 *     and writes lines: `started ID PID`, `ready ID`, `ended ID STATUS` (of wait(2)), `rate ID COUNT NS`.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TOLD 9 /* whoever is in a container writes its lines here */
#define CHILDREN 256
#define BOXES 1024
#define ARGS 256
#define NS_PER_S 1000000000ULL

static void fail(const char *what)
{
	fprintf(stderr, "soak: %s: %s\n", what, strerror(errno));
	_exit(125);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

/* One write(2), so that lines of many processes don't mix. */
static void say(int fd, const char *line, int size)
{
	if (write(fd, line, size) != size && errno != EBADF)
		_exit(124);
}

/* ---- the target */

static int wake[2] = { -1, -1 };
static volatile sig_atomic_t asked;
static pid_t children[CHILDREN];
static int alive;

static void on_signal(int signal)
{
	int error = errno;

	(void)signal;
	asked = 1;
	(void)!write(wake[1], "!", 1);
	errno = error;
}

static void on_nothing(int signal)
{
	(void)signal;
}

static void new_pipe(void)
{
	if (wake[0] >= 0) {
		close(wake[0]);
		close(wake[1]);
	}
	if (pipe2(wake, O_CLOEXEC | O_NONBLOCK))
		fail("pipe");
	asked = 0;
}

static void await(int ms)
{
	struct pollfd pipe = { wake[0], POLLIN, 0 };

	while (!asked && poll(&pipe, 1, ms) < 0 && errno == EINTR)
		;
}

static void pause_us(uint64_t us)
{
	struct timespec left = { us / 1000000, us % 1000000 * 1000 };

	while (!asked && nanosleep(&left, &left) && errno == EINTR)
		;
}

static void sleep_us(uint64_t us)
{
	struct timespec left = { us / 1000000, us % 1000000 * 1000 };

	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

static void reap(int wanted)
{
	bool all = !wanted;

	while (alive && (all || wanted > 0)) {
		pid_t pid = waitpid(-1, NULL, 0);

		if (pid < 0 && errno == EINTR)
			continue;
		if (pid < 0)
			return;
		wanted--;
		for (int i = 0; i < alive; i++)
			if (children[i] == pid)
				children[i--] = children[--alive];
	}
}

static char **run(char **word);

/* The word behind the bracket that closes the one before `word`. */
static char **behind(char **word)
{
	for (int depth = 1; *word; word++) {
		depth += !strcmp(*word, "[");
		depth -= !strcmp(*word, "]");
		if (!depth)
			return word + 1;
	}
	return word;
}

static void start_child(char **block)
{
	sigset_t all, before;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	pid_t pid = fork();

	if (!pid) {
		new_pipe(); /* or its handler would wake its parent */
		alive = 0;
		sigprocmask(SIG_SETMASK, &before, NULL);
		run(block);
		_exit(0);
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (pid > 0 && alive < CHILDREN)
		children[alive++] = pid;
}

static void run_at_rate(uint64_t rate, char **block)
{
	uint64_t begin = now_ns(), done = 0;
	char line[128];

	while (!asked) {
		for (uint64_t due = (now_ns() - begin) * rate / NS_PER_S; done < due && !asked; done++)
			run(block);
		/* Ten times a second and process, as hundreds of them must not be the load themselves. */
		pause_us(100000);
	}
	say(TOLD, line,
	    snprintf(line, sizeof(line), "rate %s %llu %llu\n", getenv("SOAK_ID") ?: "-", (unsigned long long)done,
		     (unsigned long long)(now_ns() - begin)));
}

static void set(int signo, void (*handler)(int))
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };

	if (sigaction(signo, &action, NULL))
		fail("sigaction");
}

static void mask(int how, int signo)
{
	sigset_t one;

	sigemptyset(&one);
	sigaddset(&one, signo);
	sigprocmask(how, &one, NULL);
}

static void await_pending(int signo)
{
	sigset_t pending;

	while (!sigpending(&pending) && !sigismember(&pending, signo))
		usleep(2000);
}

static void tell_ready(void)
{
	char line[128];

	say(TOLD, line, snprintf(line, sizeof(line), "ready %s\n", getenv("SOAK_ID") ?: "-"));
}

static void eat(void)
{
	for (;;)
		memset(malloc(1 << 20) ?: (abort(), (void *)0), 1, 1 << 20);
}

static char **run(char **word)
{
	while (*word && strcmp(*word, "]")) {
		char *verb = *word++;
		int n = *word ? atoi(*word) : 0;

		if (!strcmp(verb, "ready"))
			tell_ready();
		else if (!strcmp(verb, "wait"))
			await(-1);
		else if (!strcmp(verb, "eat"))
			eat();
		else if (!strcmp(verb, "segv"))
			*(volatile int *)0 = 1;
		else if (!strcmp(verb, "abort"))
			abort();
		else if (!strcmp(verb, "loop") || !strcmp(verb, "fork")) {
			char **block = word + 1;

			word = behind(block);
			if (*verb == 'f')
				start_child(block);
			else
				while (!asked)
					run(block);
		} else if (!strcmp(verb, "times") || !strcmp(verb, "rate")) {
			char **block = word + 2;

			word = behind(block);
			if (*verb == 'r')
				run_at_rate(n, block);
			else
				while (n-- > 0)
					run(block);
		} else {
			word++;
			if (!strcmp(verb, "handle"))
				set(n, on_signal);
			else if (!strcmp(verb, "take"))
				set(n, on_nothing);
			else if (!strcmp(verb, "ignore"))
				set(n, SIG_IGN);
			else if (!strcmp(verb, "block"))
				mask(SIG_BLOCK, n);
			else if (!strcmp(verb, "unblock"))
				mask(SIG_UNBLOCK, n);
			else if (!strcmp(verb, "pause"))
				pause_us(n);
			else if (!strcmp(verb, "sleep"))
				sleep_us(n);
			else if (!strcmp(verb, "reap"))
				reap(n);
			else if (!strcmp(verb, "self"))
				kill(getpid(), n);
			else if (!strcmp(verb, "raise") && *word)
				kill(n, atoi(*word++));
			else if (!strcmp(verb, "pending"))
				await_pending(n);
			else if (!strcmp(verb, "exit"))
				_exit(n);
			else if (!strcmp(verb, "tell"))
				for (int i = 0; i < alive; i++)
					kill(children[i], n);
			else
				_exit(126);
		}
	}
	return word;
}

/* ---- the factory */

static struct box {
	char id[64];
	pid_t pid;  /* whose end is told: ours to wait for */
	pid_t main; /* whom signals are for */
} boxes[BOXES];

static struct box *find(const char *id)
{
	for (int i = 0; i < BOXES; i++)
		if (!strcmp(boxes[i].id, id))
			return &boxes[i];
	return NULL;
}

static void join_and_execute(char **cgroups, int count, char **argv, const char *id)
{
	char procs[4096];
	sigset_t none;

	for (int i = 0; i < count; i++) {
		snprintf(procs, sizeof(procs), "%s/cgroup.procs", cgroups[i]);
		int fd = open(procs, O_WRONLY | O_CLOEXEC);

		if (fd < 0 || write(fd, "0", 1) != 1)
			fail(procs);
		close(fd);
	}
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
		fail("/dev/null");
	setenv("SOAK_ID", id, 1);
	signal(SIGCHLD, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* A shell says there how its children died. */
	int errors = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, TOLD + 1);

	dup2(null, STDERR_FILENO);
	execvp(argv[0], argv);
	dup2(errors, STDERR_FILENO);
	fail(argv[0]);
}

static void keep(const char *id, pid_t pid, pid_t main)
{
	struct box *box = find("");
	char line[128];

	if (pid < 0 || !box)
		fail("no process");
	snprintf(box->id, sizeof(box->id), "%s", id);
	box->pid = pid;
	box->main = main;
	say(STDOUT_FILENO, line, snprintf(line, sizeof(line), "started %s %d\n", id, main));
}

/* Of a new PID namespace. */
static void start(char **word)
{
	int count = atoi(word[1]);
	pid_t pid = syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		join_and_execute(word + 2, count, word + 2 + count, word[0]);
	}
	keep(word[0], pid, pid);
}

static void enter(char **word)
{
	struct box *init = find(word[1]);
	int count = atoi(word[2]), told[2], status, fd;
	pid_t pid = 0, main = 0;

	if (!init || pipe2(told, O_CLOEXEC))
		return;
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		prctl(PR_SET_NAME, "runc");
		fd = syscall(SYS_pidfd_open, init->main, 0);
		if (fd < 0 || setns(fd, CLONE_NEWPID)) /* its container has just ended */
			_exit(123);
		main = fork();
		if (!main)
			join_and_execute(word + 3, count, word + 3 + count, word[0]);
		if (write(told[1], &main, sizeof(main)) != sizeof(main))
			_exit(122);
		while (waitpid(main, &status, 0) < 0 && errno == EINTR)
			;
		if (WIFSIGNALED(status))
			_exit(128 + WTERMSIG(status));
		_exit(WEXITSTATUS(status));
	}
	close(told[1]);
	if (read(told[0], &main, sizeof(main)) != sizeof(main))
		main = 0;
	close(told[0]);
	keep(word[0], pid, main);
}

static void kill_box(char **word)
{
	struct box *box = find(word[0]);

	if (!box || !box->main)
		return;
	if (!strcmp(word[2], "-")) {
		kill(box->main, atoi(word[1]));
	} else if (!fork()) {
		prctl(PR_SET_NAME, word[2]);
		kill(box->main, atoi(word[1]));
		_exit(0);
	}
}

static void obey(char *line)
{
	char *word[ARGS + 1] = { 0 };
	int count = 0;

	for (char *next = strtok(line, "\t"); next && count < ARGS; next = strtok(NULL, "\t"))
		word[count++] = next;
	if (count >= 4 && !strcmp(word[0], "start"))
		start(word + 1);
	else if (count >= 5 && !strcmp(word[0], "enter"))
		enter(word + 1);
	else if (count == 4 && !strcmp(word[0], "kill"))
		kill_box(word + 1);
	else
		fail("no such order");
}

static void collect(void)
{
	char line[128];
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (int i = 0; i < BOXES; i++)
			if (boxes[i].pid == pid && boxes[i].id[0]) {
				say(STDOUT_FILENO, line,
				    snprintf(line, sizeof(line), "ended %s %d\n", boxes[i].id, status));
				memset(&boxes[i], 0, sizeof(boxes[i]));
			}
}

static void ignore_it(int signo)
{
	(void)signo; /* only to end ppoll */
}

static void be_factory(void)
{
	static char orders[1 << 16];
	size_t held = 0;
	sigset_t child, none;

	sigemptyset(&none);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	signal(SIGCHLD, ignore_it);
	if (dup2(STDOUT_FILENO, TOLD) < 0 || fcntl(STDIN_FILENO, F_SETFD, FD_CLOEXEC))
		fail("descriptors");
	for (;;) {
		struct pollfd in = { STDIN_FILENO, POLLIN, 0 };
		int found = ppoll(&in, 1, NULL, &none);

		collect();
		if (found <= 0)
			continue;
		ssize_t got = read(STDIN_FILENO, orders + held, sizeof(orders) - 1 - held);

		if (got <= 0)
			break;
		held += got;
		orders[held] = 0;
		for (char *end; (end = strchr(orders, '\n'));) {
			*end = 0;
			obey(orders);
			held -= end + 1 - orders;
			memmove(orders, end + 1, held + 1);
		}
	}
	for (int i = 0; i < BOXES; i++)
		if (boxes[i].id[0])
			kill(boxes[i].pid, SIGKILL);
	while (wait(NULL) > 0 || errno == EINTR)
		;
}

int main(int argc, char **argv)
{
	struct rlimit none = { 0, 0 };

	if (argc >= 2 && !strcmp(argv[1], "factory")) {
		be_factory();
		return 0;
	}
	if (argc < 2 || strcmp(argv[1], "target")) {
		fputs("usage: soak target WORD… | soak factory; see soak.c\n", stderr);
		return 2;
	}
	setrlimit(RLIMIT_CORE, &none);
	new_pipe();
	run(argv + 2);
	return 0;
}
