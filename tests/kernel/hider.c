// SPDX-License-Identifier: Apache-2.0
/*
 * A PID 1 that would rather not be seen when it is stopped: it storms its own namespace's init with signals that have no
 * sender, or with execs, to use up whatever budget its stop needs.
 *
 *   hider queue    a child sends SIGTERM and SIGKILL with rt_sigqueueinfo, pretending to be a timer
 *   hider kill     a child sends SIGTERM and SIGKILL with kill
 *   hider timers   three POSIX timers, each every 300 us, with SIGTERM, which it handles (or the kernel parks them)
 *   hider exec     it executes itself for ever
 *   hider fork     its children exit with 1 for ever
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void storm_queue(void)
{
	for (unsigned i = 0;; i++) {
		siginfo_t info;

		memset(&info, 0, sizeof(info));
		info.si_code = SI_TIMER;
		info.si_signo = i & 1 ? SIGKILL : SIGTERM;
		syscall(SYS_rt_sigqueueinfo, 1, info.si_signo, &info);
	}
}

static void storm_kill(void)
{
	for (unsigned i = 0;; i++)
		kill(1, i & 1 ? SIGKILL : SIGTERM);
}

static void handle(int signo)
{
	(void)signo;
}

static void start_timers(void)
{
	signal(SIGTERM, handle);
	for (int i = 0; i < 3; i++) {
		struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGTERM };
		struct itimerspec often = { { 0, 300000 }, { 0, 300000 } };
		timer_t timer;

		timer_create(CLOCK_MONOTONIC, &event, &timer);
		timer_settime(timer, 0, &often, NULL);
	}
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";

	if (!strcmp(mode, "exec")) {
		if (argc == 2) {
			puts("hider: ready");
			fflush(stdout);
		}
		execl("/proc/self/exe", argv[0], mode, "again", NULL);
		return 1;
	}
	if (!strcmp(mode, "queue") && !fork())
		storm_queue();
	if (!strcmp(mode, "kill") && !fork())
		storm_kill();
	if (!strcmp(mode, "timers"))
		start_timers();
	puts("hider: ready");
	fflush(stdout);
	while (!strcmp(mode, "fork")) {
		if (!fork())
			_exit(1);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
	for (;;)
		pause();
}
