# make run    set up whatever is missing, then the demo (root)
# make test   set up whatever is missing, then every test (without root the kernel tests are skipped)
# The other targets are below, each with a line on what it does; CONTRIBUTING.md says when to use them.

CLANG ?= clang
LLVM_STRIP ?= llvm-strip
CLANG_FORMAT ?= clang-format
# More arguments for the program behind run, test, bench and test-kernels: make test ARGS="-k layers"
ARGS ?=

BIN := .venv/bin
STAMP := .venv/.setup-done
BPF_OBJECT := sigtrace/sources/sigtrace.bpf.o
# The same programs for kernels without BTF: raw tracepoints, fitted by the kernel's headers (sources/bcc.py).
RAW_OBJECT := sigtrace/sources/sigtrace-raw.bpf.o
BPF_SOURCES := $(wildcard bpf/*.c bpf/*.h bpf/include/*.h)
C_FILES = $(wildcard bpf/*.c bpf/*.h bpf/include/*.h benchmarks/*.c benchmarks/*.h)

# -mcpu=v3 has 32-bit operations and all jumps; 5.10 knows it. libbpf's BPF_PROG always makes a ctx, used or not.
# The prefix map keeps the builder's paths out of BTF.
BPF_CFLAGS := -g -O2 -target bpf -mcpu=v3 -Wall -Wextra -Wno-unused-parameter -Werror -Ibpf/include \
	-ffile-prefix-map=$(CURDIR)=.

.DELETE_ON_ERROR:
.PHONY: setup bpf run test lint format bench soak fuzz prove test-kernels wheel clean

# Packages, .venv, BPF object: a working .venv/bin/sigtrace, or one message.
setup: $(STAMP)
	@$(MAKE) --no-print-directory bpf

$(STAMP): packages.txt constraints.txt requirements-dev.txt pyproject.toml setup.py tools/setup
	@tools/setup

# The BPF objects, if they are older than their sources.
bpf: $(BPF_OBJECT) $(RAW_OBJECT)
	@:

# Written beside and renamed: neither an interrupted build nor a running one leaves half an object.
$(RAW_OBJECT): BPF_CFLAGS += -DSIGTRACE_RAW
$(BPF_OBJECT) $(RAW_OBJECT): bpf/sigtrace.bpf.c $(BPF_SOURCES) Makefile
	@command -v $(CLANG) >/dev/null || { echo "make bpf: $(CLANG) not found; run make setup, or set CLANG" >&2; exit 1; }
	@mkdir -p $(@D)
	@echo "$(CLANG) $(BPF_CFLAGS) -c $< -o $@"; tmp=$@.$$$$; \
	 $(CLANG) $(BPF_CFLAGS) -c $< -o $$tmp && $(LLVM_STRIP) -g $$tmp && mv $$tmp $@ || { rm -f $$tmp; exit 1; }

# The failure scenarios, live.
run: setup
	@$(BIN)/sigtrace demo $(ARGS)

# Everything but tests/vm and the tests marked prove, in two processes; with ARGS in one, as pytest does it.
test: setup
	@$(BIN)/python -m tests.side_by_side $(ARGS)

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	@if command -v $(CLANG_FORMAT) >/dev/null; then echo $(CLANG_FORMAT) --dry-run -Werror; \
	 $(CLANG_FORMAT) --dry-run -Werror $(C_FILES); else echo "clang-format is missing: C is not checked"; fi

# Fuzzing goes by coverage with it, and blindly where it can't be had.
.PHONY: atheris
atheris: setup
	@$(BIN)/python -c "import atheris" 2>/dev/null || $(BIN)/python -m pip install -q atheris==3.0.0 || true

# What lint would complain about and can mend by itself.
format: setup
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(CLANG_FORMAT) -i $(C_FILES)

# What it costs, beside the peers that are installed (root).
bench: setup
	@$(BIN)/python -m benchmarks.bench $(ARGS)

# An agent under a mixed load while containers are stopped at random (root): was every verdict right, did nothing grow?
MINUTES ?= 20
soak: setup
	@$(BIN)/python -m benchmarks.soak --minutes $(MINUTES) $(ARGS)

# Every parser of what others write, against what they might.
fuzz: setup atheris
	@$(BIN)/python -m tests.fuzz --minutes $(MINUTES) $(ARGS)

# The long form, run before an issue is closed: costs, soak, kernels, every test; dated results in docs/ (root).
prove: setup vm atheris
	@tools/prove $(ARGS)

# All scenarios and the kernel's tests on other kernels, in virtual machines; ARGS=--short: one of them, as CI does.
# Needs qemu-system-x86, kmod, file and busybox-static from the distribution.
test-kernels: setup vm
	@$(BIN)/python -m tests.vm.matrix $(ARGS)

.PHONY: vm
vm:
	@test -x $(BIN)/vng || $(BIN)/python -m pip install -q virtme-ng==1.42

# dist/*.whl, with the BPF object in it.
wheel: setup
	@rm -rf build/lib build/bdist.* dist
	$(BIN)/python -m pip wheel -q --no-deps --no-build-isolation -w dist .

clean:
	rm -rf .venv build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache $(BPF_OBJECT)* $(RAW_OBJECT)*
	find sigtrace tests benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
