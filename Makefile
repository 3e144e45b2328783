# SPDX-License-Identifier: Apache-2.0
#
# The front door: `make help` lists what it can do. V=1 shows the commands.

# Undeclared imports are errors. Given to every build, for other flags mean another build.
SWIFT_FLAGS ?= --explicit-target-dependency-import-check error
PREFIX ?= /usr/local
export SWIFT_FLAGS V

# What needs root gets it; PATH stays, for Swift is seldom installed where sudo looks.
SUDO := $(if $(filter 0,$(shell id -u)),,sudo env "PATH=$(PATH)")

ifeq ($(V),1)
Q :=
else
Q := @
MAKEFLAGS += --no-print-directory
endif

# What is missing is installed before it is used; swift build has its own jobs.
.NOTPARALLEL:
.PHONY: help deps deps-test deps-check bpf build build-tests demo bench bench-lists bench-start bench-cni bench-micro \
	bench-micro-record test prove \
	fuzz check kernel-support test-kernel test-kernels \
	fmt lint clean install image
.DEFAULT_GOAL := help

help: ## list the targets
	$(Q)sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | \
		while IFS='|' read -r name text; do printf '  %-12s %s\n' "$$name" "$$text"; done

deps: ## install what a build needs and is missing (Debian, Ubuntu)
	$(Q)scripts/deps build

deps-test:
	$(Q)scripts/deps build test

deps-bench:
	$(Q)scripts/deps build bench

deps-check:
	$(Q)scripts/deps build check

bpf: ## compile the BPF programs
	$(Q)$(MAKE) -C bpf

build: bpf ## build the products
	$(Q)swift build $(SWIFT_FLAGS) --product swerve
	$(Q)swift build $(SWIFT_FLAGS) --product swerved
	$(Q)swift build $(SWIFT_FLAGS) --product swerve-cni

build-tests: bpf
	$(Q)swift build $(SWIFT_FLAGS) --build-tests

demo: deps build ## show every mechanism at work, on this machine (root)
	$(Q)$(SUDO) .build/debug/swerve demo

bench-lists: deps bpf ## what longer lists cost, by mechanism (root, release build)
	$(Q)swift build -c release $(SWIFT_FLAGS) --product swerve
	$(Q)$(SUDO) .build/release/swerve bench lists $(BENCH_ARGS)

bench: deps-bench bpf ## what redirection costs, everything, twenty minutes (root, release build)
	$(Q)swift build -c release $(SWIFT_FLAGS) --product swerve
	$(Q)$(SUDO) .build/release/swerve bench full --rules Tests/PolicyFileTests/Published $(BENCH_ARGS)

bench-micro: deps bpf ## what compiling and judging cost, held to the ratios in Benchmarks/Thresholds
	$(Q)cd Benchmarks && swift package --disable-sandbox benchmark thresholds check --no-progress $(BENCH_ARGS)

bench-micro-record: deps bpf ## write what they cost now down, to be held to
	$(Q)cd Benchmarks && swift package --disable-sandbox --allow-writing-to-package-directory \
		benchmark thresholds update --no-progress $(BENCH_ARGS)

bench-start: deps-bench bpf ## how long a runtime waits for the plugin to start and end (release build)
	$(Q)swift build -c release $(SWIFT_FLAGS) --product swerve
	$(Q)swift build -c release $(SWIFT_FLAGS) --product swerve-cni
	$(Q).build/release/swerve bench start .build/release/swerve-cni /usr/lib/cni/portmap \
		/usr/lib/cni/loopback $(BENCH_ARGS)

bench-cni: deps-bench bpf ## how long ADD and DEL take, beside iptables-restore (root, release build)
	$(Q)swift build -c release $(SWIFT_FLAGS) --product swerve
	$(Q)swift build -c release $(SWIFT_FLAGS) --product swerved
	$(Q)swift build -c release $(SWIFT_FLAGS) --product swerve-cni
	$(Q)$(SUDO) .build/release/swerve bench cni $(BENCH_ARGS)

test: deps-test build-tests ## run every test, those that need the kernel too (root)
	$(Q)$(SUDO) env SWIFT_FLAGS="$(SWIFT_FLAGS)" SWERVE_REQUIRE_KERNEL=1 scripts/test

N ?= 1000
SEED ?= 1
prove: deps-test build-tests ## prove the mechanisms equal by live traffic: N=policies SEED=number (root)
	$(Q)$(SUDO) env SWIFT_FLAGS="$(SWIFT_FLAGS)" scripts/prove $(N) $(SEED) $(MECHANISM)

FUZZ_SECONDS ?= 60

fuzz: ## throw inputs at the readers of policies, guided by coverage (FUZZ_SECONDS=60)
	$(Q)scripts/fuzz $(FUZZ_SECONDS)

kernel-support: build-tests ## write the tables of docs/kernel-support.md anew, from the code
	$(Q)SWERVE_UPDATE_GOLDEN=1 swift test --skip-build $(SWIFT_FLAGS) --filter KernelSupportTests

test-kernel: deps-test build-tests ## run two of the suites on 5.10 and 6.12, as CI does (root, minutes)
	$(Q)$(SUDO) scripts/kernels/fetch 5.10 6.12
	$(Q)status=0; for kernel in 5.10 6.12; do \
		$(SUDO) env SWERVE_KERNEL_MEMORY=2048 scripts/kernels/boot -t 700 $$kernel \
			env SWERVE_SUITE_LIMIT=300 scripts/kernels/suites \
			.build/debug unified contract redirection || status=1; \
	done; exit $$status

test-kernels: deps-test build-tests ## run the suites on Debian's kernels, emulated (root, an hour): KERNELS=6.12/v1
	$(Q)$(SUDO) scripts/kernels/fetch
	$(Q)$(SUDO) scripts/kernels/matrix $(KERNELS)

check: deps-check bpf ## formatting, imports, warnings, sizes, shell, headers, links
	$(Q)$(MAKE) -C bpf measure
	$(Q)scripts/check

fmt: ## format Swift and C in place
	$(Q)scripts/check --fix

lint: ## the checks that need no build
	$(Q)scripts/check --no-build

IMAGE ?= .build/swerve-image.tar

# Without libraries of Swift's own, which no node has.
image: deps bpf ## pack the programs into an OCI image, without an engine (IMAGE=file.tar, release build)
	$(Q)for product in swerve swerved swerve-cni; do \
		swift build -c release --static-swift-stdlib --scratch-path .build-image $(SWIFT_FLAGS) \
			--product $$product || exit; done
	$(Q)scripts/image .build-image/release $(IMAGE)

clean: ## remove everything that was built
	$(Q)$(MAKE) -C bpf clean
	$(Q)rm -rf .build .build-fuzz .build-image .build-tools

install: build ## copy swerve and swerved into PREFIX/bin, the CNI plugin into PREFIX/libexec/swerve
	$(Q)install -D -m 0755 .build/debug/swerve $(DESTDIR)$(PREFIX)/bin/swerve
	$(Q)install -D -m 0755 .build/debug/swerved $(DESTDIR)$(PREFIX)/bin/swerved
	$(Q)install -s -D -m 0755 .build/debug/swerve-cni $(DESTDIR)$(PREFIX)/libexec/swerve/swerve-cni
