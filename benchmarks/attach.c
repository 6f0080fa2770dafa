// SPDX-License-Identifier: Apache-2.0
/*
 * attach OBJECT [PROGRAM...]: attach the named programs of a BPF object, or all of them, say "attach: ready" on stderr, and
 * keep them attached until stdin ends or a signal comes.
 */
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool wanted(const char *name, char **names, int count)
{
	for (int i = 0; i < count; i++)
		if (!strcmp(name, names[i]))
			return true;
	return !count;
}

int main(int argc, char **argv)
{
	struct bpf_object *object = argc > 1 ? bpf_object__open_file(argv[1], NULL) : NULL;
	struct bpf_program *program;
	int attached = 0;
	char byte;

	if (!object) {
		fputs("usage: attach OBJECT [PROGRAM...], with a readable BPF object\n", stderr);
		return 2;
	}
	bpf_object__for_each_program (program, object)
		bpf_program__set_autoload(program, wanted(bpf_program__name(program), argv + 2, argc - 2));
	if (bpf_object__load(object)) {
		fprintf(stderr, "attach: cannot load %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	bpf_object__for_each_program (program, object) {
		if (!bpf_program__autoload(program))
			continue;
		if (!bpf_program__attach(program)) {
			fprintf(stderr, "attach: cannot attach %s: %s\n", bpf_program__name(program), strerror(errno));
			return 1;
		}
		attached++;
	}
	if (argc > 2 && attached != argc - 2) {
		fprintf(stderr, "attach: %d of %d programs are in %s\n", attached, argc - 2, argv[1]);
		return 1;
	}
	fputs("attach: ready\n", stderr);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	return 0;
}
