# Thin front of the workbench; with no target, says what there is.

MACHINE ?= powernv8
KERNEL ?= ours
export MACHINE KERNEL BASE BASE_SRC QEMU TESTS MINUTES ONLY
export WB_START := $(shell date +%s)
W := workbench

help:
	@echo 'make demo          a KVM guest with a passed-through NVMe and NIC in an emulated POWER host'
	@echo 'make check         the tests on 6.12, the main ones on 7.x, too; KERNEL=base runs them on the unmodified base'
	@echo 'make check-all     every test on every base, the long ones too'
	@echo 'make check-qemu    the core rows with QEMU=11 (Debian'"'"'s newest, unpacked), powernv11 too'
	@echo 'make bench         instruction counts, ours beside base'
	@echo 'make litmus        the memory model: litmus tests of every barrier, and of what happens without it'
	@echo 'make sanitize      tests on kernels that look for faults themselves: KASAN, UBSAN, KCSAN, lockdep, kmemleak; an hour or two'
	@echo 'make planted       faults planted one at a time: is each of them caught? ONLY="name ..."'
	@echo 'make shell         a root shell in the emulated host'
	@echo 'make kernel        build/ours/vmlinux (debug-kernel: build/debug/vmlinux)'
	@echo 'make base-kernel   build/base/vmlinux: same configuration, untouched base'
	@echo 'make patches       the series as mails, in out/patches'
	@echo 'make defects       the defects of the base, and what the tests say there and here: the table in the cover letter'
	@echo 'make patches-check looks at the series as a maintainer would; compiles every step, boots some'
	@echo 'make configs       compiles our files with the configurations and compilers that others use, and runs some'
	@echo 'make fixes         small fixes of the base itself as mails, in out/fixes; fixes-check: each fails before, passes after'
	@echo 'make deb           ppc64el kernel packages (CONFIG=debian|ours|file), in out/deb'
	@echo 'make clean         remove build/ and out/'
	@echo
	@echo 'MACHINE=powernv8|powernv9|powernv10|pseries (demo, shell)  KERNEL=ours|base|FILE (demo, check; shell: not FILE)'
	@echo 'BASE=6.12|7.x for every target (default 6.12)  BASE_SRC=dir: your own tree instead of the Debian package'
	@echo 'TESTS="row ..." (check)  QEMU=11|FILE: another emulator than the installed one'

demo check shell patches patches-check defects deb planted: deps
	@$W/$@

sanitize: deps
	@$W/check --sanitize

check-all: deps
	@$W/check --all

check-qemu: deps
	@QEMU=$(or $(QEMU),11) $W/check --core

fixes fixes-check: deps
	@$W/$@

litmus: deps
	@$W/prepare ours
	@$W/litmus

bench: deps
	@$W/bench/run

configs: deps
	@$W/configs/run

kernel base-kernel debug-kernel: deps
	@$W/kernel $(or $(filter base debug,$(@:-kernel=)),ours)

deps:
	@$W/deps

clean:
	rm -rf build out

.PHONY: help demo check check-all check-qemu bench litmus sanitize planted shell patches patches-check defects fixes fixes-check configs deb kernel base-kernel debug-kernel deps clean
