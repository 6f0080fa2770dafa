// SPDX-License-Identifier: Apache-2.0
/* ptrace_load MODE SECONDS: does one thing for so long and says how often it did it.
 *
 * usr1: a signal to itself, with a handler. urg: one that it ignores, as Go's runtime sends. syscalls: getppid. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile unsigned long handled;

static void on_signal(int signo)
{
	(void)signo;
	handled++;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_signal };
	unsigned long done = 0;
	double end;

	if (argc != 3)
		return 2;
	sigaction(SIGUSR1, &action, NULL);
	end = now() + atof(argv[2]);
	while (done % 64 || now() < end) {
		if (!strcmp(argv[1], "usr1"))
			syscall(SYS_tgkill, getpid(), gettid(), SIGUSR1);
		else if (!strcmp(argv[1], "urg"))
			syscall(SYS_tgkill, getpid(), gettid(), SIGURG);
		else
			syscall(SYS_getppid);
		done++;
	}
	printf("%lu %lu\n", done, handled);
	return 0;
}
