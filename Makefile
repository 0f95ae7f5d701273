# SPDX-License-Identifier: MIT
# lintel: one Makefile without recursion. Everything it writes is below build/.
#
#   make                    lintel.elf          make CC=clang, make DEBUG=1   variants, in folders of their own
#   make run                boot Debian         ENGINE=svm|vmx  CONF=file  FIRMWARE=bios|uefi  MEMORY=2G
#   make BUILD=folder ...   the same elsewhere  V=1 shows the commands
#   make test | lint | fuzz | bench | matrix | soak | iso | format | clean
#
# Sources are found by wildcard; unit tests, fuzzers and offset tables carry what they need in their own text.

MAKEFLAGS += --no-builtin-rules --no-builtin-variables
# All processors, unless the command line says how many.
ifeq ($(filter -j%,$(MAKEFLAGS)),)
MAKEFLAGS += -j$(shell nproc)
endif
.SUFFIXES:
.DELETE_ON_ERROR:
.SECONDARY:
.DEFAULT_GOAL := all
SHELL := /bin/sh

VERSION := 0.1
PYTHON  := /usr/bin/python3

ifeq ($(origin CC),default)
CC := gcc
endif
CLANG   := $(findstring clang,$(CC))
LD      := ld
NM      := nm
NASM    := nasm
IASL    := iasl
OBJCOPY := objcopy
DEBUG   ?= 0

# One folder per variant, so that no object of one is ever linked into another. Downloads are shared.
SHARED := build
BUILD  ?= $(SHARED)$(if $(CLANG),/clang)$(if $(filter 1,$(DEBUG)),/debug)

# One short line per step; V=1 shows the commands.
SAY = $(if $(V),,@echo '  $1	$@';)

ROOMS := boot arch hv guest drivers
ALL_C := $(sort $(shell find $(wildcard $(ROOMS)) -name '*.c' 2>/dev/null))
ASM   := $(sort $(shell find $(wildcard $(ROOMS)) -name '*.asm' 2>/dev/null))
ASL   := $(sort $(shell find $(wildcard $(ROOMS)) -name '*.asl' 2>/dev/null))
HEADERS := $(sort $(shell find $(wildcard $(ROOMS) tests) -name '*.h' 2>/dev/null))
OFFSETS_C := $(filter %/asm_offsets.c,$(ALL_C))
# guest/pv is for kernels that run under lintel, and so for the tiny guests.
PV_C := $(filter guest/pv/%,$(ALL_C))
C := $(filter-out $(OFFSETS_C) $(PV_C),$(ALL_C))
OFFSETS := $(OFFSETS_C:%.c=$(BUILD)/%.inc)

WARNINGS := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wundef -Wvla \
	-Wpointer-arith -Wwrite-strings -Wcast-qual
# No path of this machine and no date may reach the image.
REPRODUCIBLE := -ffile-prefix-map=$(CURDIR)/= -ffile-prefix-map=$(CURDIR)=.
INCLUDES := -iquote . -iquote $(BUILD)
DEFINES := -DLINTEL_VERSION='"$(VERSION)"' $(if $(filter 1,$(DEBUG)),-DLINTEL_DEBUG=1)

CFLAGS := -std=gnu17 -ffreestanding -O2 -g -mcmodel=kernel -mno-red-zone -mgeneral-regs-only -fno-pic -fno-pie \
	-fno-omit-frame-pointer -fno-asynchronous-unwind-tables -fno-stack-protector -fcf-protection=none \
	-fno-common -fno-strict-aliasing -ffunction-sections -fdata-sections \
	$(WARNINGS) -Wframe-larger-than=1024 $(REPRODUCIBLE) $(INCLUDES) $(DEFINES)
# A compiler that turns the loop inside memcpy into a call of memcpy would recurse for ever.
CFLAGS += $(if $(CLANG),,-fno-tree-loop-distribute-patterns)
# Padding in front of loops and functions is text, and instructions, for the sake of old CPUs' fetch windows.
CFLAGS += $(if $(CLANG),,-fno-align-functions -fno-align-jumps -fno-align-loops -fno-align-labels)
# Frames and calls beside each object (.ci), for tests/test_stack.py; clang has nothing like it.
CFLAGS += $(if $(CLANG),,-fcallgraph-info=su)
ASFLAGS := -f elf64 -g -F dwarf --reproducible -Werror=label-orphan -I ./ -I $(BUILD)/
LDFLAGS := -nostdlib -static -z max-page-size=4096 -z noexecstack -z norelro --gc-sections --build-id=none

# ---------------------------------------------------------------- lintel.elf

OBJECTS := $(C:%.c=$(BUILD)/%.o) $(ASM:%.asm=$(BUILD)/%.asm.o) $(ASL:%.asl=$(BUILD)/%.asl.o) $(BUILD)/font.o
RUN_PACKAGES := $(SHARED)/.packages-run

# What guests live on is compiled for speed: the way of the common exits with the devices and policies that answer
# them, faults on fresh memory, turns of vCPUs, timers. All else is compiled for size, and so is what is new until
# `make bench` says that it must not be.
HOT := $(filter arch/x86/machine/nested_paging.c arch/x86/svm/asid.c arch/x86/svm/clean.c \
	arch/x86/svm/exit% arch/x86/svm/inject.c arch/x86/svm/vcpu.c arch/x86/vmx/exit% arch/x86/vmx/inject.c \
	arch/x86/vmx/vcpu.c arch/x86/vmx/virtual_apic.c guest/devices/lapic.c guest/devices/lapic_page.c \
	guest/devices/lapic_registers.c guest/devices/lapic_timer.c guest/devices/uart.c guest/policy/cpuid.c \
	guest/policy/cr8.c guest/policy/msr.c hv/lib/string.c hv/memory/fetch_cache.c hv/memory/frame.c \
	hv/memory/guest_linear.c hv/memory/guest_map.c hv/memory/guest_memory.c hv/memory/guest_walk.c \
	hv/memory/guest_window.c hv/memory/p2m.c hv/run/bus.c hv/run/emulate.c hv/run/exit% hv/run/hypercall.c hv/run/sched.c \
	hv/run/sched_queue.c hv/run/timer.c hv/run/vcpu.c,$(C))
$(patsubst %.c,$(BUILD)/%.o,$(filter-out $(HOT),$(C))): CFLAGS += -Oz

.PHONY: all
all: $(BUILD)/lintel.elf

# The flags are a prerequisite like any source: a changed flag rebuilds, an unchanged one does not.
$(BUILD)/.flags: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' '$(subst ','\'',$(CC) $(CFLAGS) $(ASFLAGS) $(LDFLAGS) $(HOT))' | cmp -s - $@ || \
	 printf '%s\n' '$(subst ','\'',$(CC) $(CFLAGS) $(ASFLAGS) $(LDFLAGS) $(HOT))' > $@
.PHONY: FORCE
FORCE:

$(BUILD)/%.o: %.c $(BUILD)/.flags | $(RUN_PACKAGES)
	@mkdir -p $(@D)
	$(call SAY,CC)$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/%.o: $(BUILD)/%.c $(BUILD)/.flags | $(RUN_PACKAGES)
	$(call SAY,CC)$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/%.asm.o: %.asm $(BUILD)/.flags | $(OFFSETS) $(RUN_PACKAGES)
	@mkdir -p $(@D)
	$(call SAY,NASM)$(NASM) $(ASFLAGS) -MD $(@:.o=.d) -MP -MQ $@ -o $@ $<

# ACPI source: NAME.asl gives the bytes NAME_aml[] and the word NAME_aml_size.
$(BUILD)/%.aml: %.asl | $(RUN_PACKAGES)
	@mkdir -p $(@D)
	$(call SAY,IASL)$(IASL) -vs -we -p $(@:.aml=) $< > $@.log || { cat $@.log; exit 1; }

$(BUILD)/%.asl.o: $(BUILD)/%.aml
	@printf 'section .rodata.aml\nglobal %s_aml, %s_aml_size\nalign 16\n%s_aml: incbin "%s"\n.end:\nalign 4\n%s_aml_size: dd %s_aml.end - %s_aml\nsection .note.GNU-stack noalloc noexec nowrite progbits\n' \
	 $(*F) $(*F) $(*F) $< $(*F) $(*F) $(*F) > $(@:.o=.asm)
	$(call SAY,NASM)$(NASM) -f elf64 --reproducible -o $@ $(@:.o=.asm)

# Offsets of C structures for NASM: the compiler prints them into assembly text, sed picks them out.
$(BUILD)/%/asm_offsets.inc: %/asm_offsets.c $(BUILD)/.flags | $(RUN_PACKAGES)
	@mkdir -p $(@D)
	$(call SAY,CC)$(CC) $(CFLAGS) -MMD -MP -MT $@ -MF $(@:.inc=.d) -S -o $(@:.inc=.s) $<
	@sed -n 's/^.*->\([A-Za-z_][A-Za-z0-9_]*\) \$$\{0,1\}\(-\{0,1\}[0-9][0-9]*\).*$$/\1 equ \2/p' $(@:.inc=.s) > $@

# Two links: the first tells where the functions are, the second carries the table that says so. The table
# stands behind all text, so that it moves none of the functions it names; tools/symbols proves it.
$(BUILD)/symbols-none.c: tools/symbols | $(RUN_PACKAGES)
	@mkdir -p $(@D)
	tools/symbols none > $@

# A source that is gone leaves the list shorter, which no object's date shows.
$(BUILD)/.objects: FORCE
	@mkdir -p $(@D)
	@echo '$(OBJECTS)' | cmp -s - $@ || echo '$(OBJECTS)' > $@

$(BUILD)/lintel.first: $(OBJECTS) $(BUILD)/symbols-none.o linker.ld $(BUILD)/.objects
	$(call SAY,LD)$(LD) $(LDFLAGS) -T linker.ld -o $@ $(OBJECTS) $(BUILD)/symbols-none.o $$($(CC) -print-libgcc-file-name)

$(BUILD)/symbols.c: $(BUILD)/lintel.first tools/symbols
	$(NM) -n $< | tools/symbols table > $@

$(BUILD)/lintel.debug: $(OBJECTS) $(BUILD)/symbols.o linker.ld tools/symbols
	$(call SAY,LD)$(LD) $(LDFLAGS) -T linker.ld -Map $(BUILD)/lintel.map -o $@ $(OBJECTS) $(BUILD)/symbols.o \
	 $$($(CC) -print-libgcc-file-name)
	$(NM) -n $@ | tools/symbols verify $(BUILD)/symbols.c

$(BUILD)/lintel.elf: $(BUILD)/lintel.debug
	$(OBJCOPY) --strip-all $< $@
	grub-file --is-x86-multiboot2 $@

# The console font: the glyphs of a Debian package, taken at build time and never stored in this tree.
FONT := usr/share/consolefonts/Uni2-VGA16.psf.gz
$(SHARED)/font/$(FONT): tools/fetch-package | $(RUN_PACKAGES)
	tools/fetch-package console-setup-linux $(SHARED)/font ./$(FONT)
	@touch $@

$(BUILD)/font.c: $(SHARED)/font/$(FONT) tools/font2c
	@mkdir -p $(@D)
	tools/font2c $< > $@

# ---------------------------------------------------------------- packages of the machine that builds

.PHONY: packages
packages: $(SHARED)/.packages-run $(SHARED)/.packages-test

$(SHARED)/.packages-%: tools/packages
	@mkdir -p $(@D)
	@tools/packages $*
	@touch $@

# ---------------------------------------------------------------- the Debian guest

GUEST := $(SHARED)/guest
$(GUEST)/vmlinuz: tools/fetch-kernel tools/fetch-package | $(RUN_PACKAGES)
	tools/fetch-kernel linux-image-amd64 $(GUEST)
	@touch $@

$(GUEST)/busybox: tools/fetch-package | $(RUN_PACKAGES)
	tools/fetch-package busybox-static $(GUEST)/busybox-static ./bin/busybox
	cp $(GUEST)/busybox-static/bin/busybox $@

# The same kernel as the ELF inside the bzImage: what `kernel.unpack = yes` packs; for tests and benchmarks.
$(GUEST)/vmlinux: $(GUEST)/vmlinuz tools/lib/bzimage.py
	$(PYTHON) tools/lib/bzimage.py $< $@

# Static programs of a few instructions, for what no shell can do: tests/initramfs/NAME.asm is /tests/NAME in the guest.
GUEST_PROGRAMS := $(patsubst tests/initramfs/%.asm,$(GUEST)/programs/%,$(sort $(wildcard tests/initramfs/*.asm)))
$(GUEST)/programs/%: tests/initramfs/%.asm | $(RUN_PACKAGES)
	@mkdir -p $(@D)
	$(call SAY,NASM)$(NASM) -f elf64 --reproducible -o $@.o $<
	@$(LD) -static --build-id=none -z noexecstack -s -o $@ $@.o

# The same in C, for what is more than a few.
GUEST_PROGRAMS += $(patsubst tests/initramfs/%.c,$(GUEST)/programs/%,$(sort $(wildcard tests/initramfs/*.c)))
$(GUEST)/programs/%: tests/initramfs/%.c hv/lib/types.h | $(RUN_PACKAGES)
	@mkdir -p $(@D)
	$(call SAY,CC)$(HOST_CC) -std=gnu17 -O2 -ffreestanding -fno-stack-protector -fno-pic -no-pie -static -nostdlib $(WARNINGS) \
	 -iquote . -Wl,--build-id=none -Wl,-z,noexecstack -s -o $@ $<

INIT_FILES := $(sort $(shell find tests/initramfs -type f 2>/dev/null))
$(GUEST)/initrd.img: $(GUEST)/vmlinuz $(GUEST)/busybox $(GUEST_PROGRAMS) tools/mkinitramfs $(INIT_FILES)
	tools/mkinitramfs --busybox $(GUEST)/busybox --modules $(GUEST)/modules --tree tests/initramfs -o $@ $(GUEST_PROGRAMS)

# The same files as a disk, for root=/dev/vda.
$(GUEST)/root.img: $(GUEST)/vmlinuz $(GUEST)/busybox $(GUEST_PROGRAMS) tools/mkinitramfs $(INIT_FILES) \
		| $(SHARED)/.packages-test
	tools/mkinitramfs --busybox $(GUEST)/busybox --modules $(GUEST)/modules --tree tests/initramfs --ext4 24M -o $@ \
	 $(GUEST_PROGRAMS)

FETCH_ALL = for package in $1; do \
	  tools/fetch-package $$package $2 --exclude=./etc --exclude=./usr/share --exclude=gconv || exit 1; \
	done

# The same guest with stress-ng, which wants many libraries that it hardly uses.
STRESS_PACKAGES := stress-ng libapparmor1 libbsd0 libc6 libcrypt1 libdrm2 libegl1 libexpat1 libffi8 libgbm1 libgles2 \
	libglvnd0 libipsec-mb1 libjpeg62-turbo libjudydebian1 libkmod2 liblzma5 libmd0 libsctp1 libssl3 \
	libwayland-server0 libxxhash0 libzstd1 zlib1g
STRESS := $(GUEST)/stress/usr/bin/stress-ng
$(STRESS): tools/fetch-package | $(RUN_PACKAGES)
	$(call FETCH_ALL,$(STRESS_PACKAGES),$(GUEST)/stress)
	@touch $@

$(GUEST)/stress.img: $(GUEST)/vmlinuz $(GUEST)/busybox $(STRESS) tools/mkinitramfs $(INIT_FILES)
	tools/mkinitramfs --busybox $(GUEST)/busybox --modules $(GUEST)/modules --tree tests/initramfs \
	 --dynamic $(STRESS) --libraries $(GUEST)/stress -o $@

# A disk with fio, which is linked with all that it may ever read from: Ceph, Gluster, InfiniBand.
FIO_PACKAGES := fio libacl1 libaio1 libargon2-1 libblkid1 libboost-iostreams1.74.0 libboost-thread1.74.0 libbz2-1.0 libc6 \
	libcom-err2 libcryptsetup12 libdaxctl1 libdevmapper1.02.1 libffi8 libfmt9 libgcc-s1 libgfapi0 libgfrpc0 libgfxdr0 \
	libglusterfs0 libgmp10 libgnutls30 libgssapi-krb5-2 libhogweed6 libibverbs1 libicu72 libidn2-0 libjson-c5 libk5crypto3 \
	libkeyutils1 libkmod2 libkrb5-3 libkrb5support0 liblzma5 libnbd0 libndctl6 libnettle8 libnl-3-200 libnl-route-3-200 \
	libnuma1 libp11-kit0 libpcre2-8-0 libpmem1 libpmemblk1 librados2 librbd1 librdmacm1 libselinux1 libssl3 libstdc++6 \
	libtasn1-6 libtirpc3 libudev1 libunistring2 libuuid1 libxml2 libzstd1 zlib1g
FIO := $(GUEST)/fio/usr/bin/fio
$(FIO): tools/fetch-package | $(RUN_PACKAGES)
	$(call FETCH_ALL,$(FIO_PACKAGES),$(GUEST)/fio)
	@touch $@

$(GUEST)/fio.img: $(GUEST)/vmlinuz $(GUEST)/busybox $(FIO) tools/mkinitramfs $(INIT_FILES) | $(SHARED)/.packages-test
	tools/mkinitramfs --busybox $(GUEST)/busybox --modules $(GUEST)/modules --tree tests/initramfs --ext4 128M \
	 --dynamic $(FIO) --libraries $(GUEST)/fio -o $@

# Debian's two other kernels that begin by a PVH entry, with a guest that has nothing but the balloon's module.
$(GUEST)/cloud/vmlinuz: tools/fetch-kernel tools/fetch-package | $(RUN_PACKAGES)
	tools/fetch-kernel linux-image-cloud-amd64 $(@D)
	@touch $@

$(GUEST)/686-pae/vmlinuz: tools/apt-i386 tools/fetch-kernel tools/fetch-package | $(RUN_PACKAGES)
	tools/apt-i386 $(@D)/apt tools/fetch-kernel linux-image-686-pae $(@D)
	@touch $@

$(GUEST)/686-pae/bin/busybox: $(GUEST)/686-pae/vmlinuz
	tools/apt-i386 $(@D)/../apt tools/fetch-package busybox-static $(GUEST)/686-pae ./bin/busybox
	@touch $@

$(GUEST)/vmlinux-%: $(GUEST)/%/vmlinuz tools/lib/bzimage.py
	$(PYTHON) tools/lib/bzimage.py $< $@

BALLOON_GUEST = tools/mkinitramfs --busybox $(filter %/busybox,$^) --lister $(GUEST)/busybox --modules $(<D)/modules \
	--names tests/initramfs/modules.balloon --tree tests/initramfs -o $@
$(GUEST)/initrd-cloud.img: $(GUEST)/cloud/vmlinuz $(GUEST)/busybox tools/mkinitramfs $(INIT_FILES)
	$(BALLOON_GUEST)

$(GUEST)/initrd-686-pae.img: $(GUEST)/686-pae/vmlinuz $(GUEST)/686-pae/bin/busybox tools/mkinitramfs $(INIT_FILES) | $(GUEST)/busybox
	$(BALLOON_GUEST)

# ---------------------------------------------------------------- ISO and run

ENGINE   ?= svm
FIRMWARE ?= bios
MEMORY   ?= 2G
DEFAULT_CONF := $(SHARED)/guest/debian.conf
CONF     ?= $(DEFAULT_CONF)

$(DEFAULT_CONF): docs/examples/debian.conf
	@mkdir -p $(@D)
	cp $< $@

.PHONY: iso
iso: $(BUILD)/lintel.iso

# What another configuration names is not known here, so its ISO is always made anew.
$(BUILD)/lintel.iso: $(BUILD)/lintel.elf $(CONF) tools/mkiso $(wildcard tools/lib/*.py) boot/grub.cfg \
		$(if $(filter $(DEFAULT_CONF),$(CONF)),$(GUEST)/vmlinuz $(GUEST)/initrd.img,FORCE) $(BUILD)/.conf
	tools/mkiso $(CONF) --lintel $< -o $@

# Which configuration the ISO was made of is part of what it depends on.
$(BUILD)/.conf: FORCE
	@mkdir -p $(@D)
	@echo '$(abspath $(CONF))' | cmp -s - $@ || echo '$(abspath $(CONF))' > $@

.PHONY: run
run: $(BUILD)/lintel.iso
	@tools/emulate --engine $(ENGINE) --firmware $(FIRMWARE) --memory $(MEMORY) $<

# ---------------------------------------------------------------- tiny guests

# Each tests/guests/NAME.c (and tests/bench/NAME.c) is one kernel: linked with tests/guests/lib it becomes
# build/guests/NAME.elf (build/bench/NAME.elf), a PVH ELF.
GUEST_CFLAGS := -std=gnu17 -ffreestanding -O2 -g -mno-red-zone -mgeneral-regs-only -fno-pic -fno-pie \
	-mcmodel=small -fno-omit-frame-pointer -fno-asynchronous-unwind-tables -fno-stack-protector \
	-fcf-protection=none -fno-common -fno-strict-aliasing -ffunction-sections -fdata-sections \
	$(WARNINGS) $(REPRODUCIBLE) $(INCLUDES) -iquote tests/guests
GUEST_CFLAGS += $(if $(CLANG),,-fno-tree-loop-distribute-patterns)
GUEST_LIB_C   := $(sort $(wildcard tests/guests/lib/*.c)) $(PV_C)
GUEST_LIB_ASM := $(sort $(wildcard tests/guests/lib/*.asm))
GUEST_LIB := $(GUEST_LIB_C:%.c=$(BUILD)/tiny/%.o) $(GUEST_LIB_ASM:%.asm=$(BUILD)/tiny/%.asm.o)
GUEST_SCRIPT := tests/guests/lib/guest.ld
GUEST_C := $(sort $(wildcard tests/guests/*.c))
BENCH_C := $(sort $(wildcard tests/bench/*.c))
GUEST_ELFS := $(GUEST_C:tests/guests/%.c=$(BUILD)/guests/%.elf)
BENCH_ELFS := $(BENCH_C:tests/bench/%.c=$(BUILD)/bench/%.elf)

$(BUILD)/tiny/%.o: %.c $(BUILD)/.flags | $(RUN_PACKAGES)
	@mkdir -p $(@D)
	$(call SAY,CC)$(CC) $(GUEST_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/tiny/%.asm.o: %.asm $(BUILD)/.flags | $(RUN_PACKAGES)
	@mkdir -p $(@D)
	$(call SAY,NASM)$(NASM) $(ASFLAGS) -I tests/guests/ -MD $(@:.o=.d) -MP -MQ $@ -o $@ $<

LINK_GUEST = $(call SAY,LD)$(LD) $(LDFLAGS) -T $(GUEST_SCRIPT) -o $@ $(filter %.o,$^)

$(BUILD)/guests/%.elf: $(BUILD)/tiny/tests/guests/%.o $(GUEST_LIB) $(GUEST_SCRIPT)
	@mkdir -p $(@D)
	$(LINK_GUEST)

$(BUILD)/bench/%.elf: $(BUILD)/tiny/tests/bench/%.o $(GUEST_LIB) $(GUEST_SCRIPT)
	@mkdir -p $(@D)
	$(LINK_GUEST)

.PHONY: guests
guests: $(GUEST_ELFS) $(BENCH_ELFS)

# What needs no machine to be counted, built as the image is but for where it may lie.
BENCH_HOST := $(BUILD)/bench/p2m
$(BENCH_HOST): $(BUILD)/bench/%: tests/bench/host/%.c $(BUILD)/.flags | $(RUN_PACKAGES)
	@mkdir -p $(@D)
	$(call SAY,CC)$(CC) $(filter-out -mcmodel=kernel -fcallgraph-info%,$(CFLAGS)) -DLINTEL_HOST_TEST=1 -no-pie \
	 -MMD -MP -MT $@ -MF $@.d -o $@ $<

# ---------------------------------------------------------------- unit tests and fuzzers, on the host

# tests/unit/test_X.c and tests/fuzz/fuzz_X.c name the sources under test in lines `// sources: a.c b.c`;
# awk turns these lines into the link rules.
HOST_CC := gcc
HOST_CFLAGS := -std=gnu17 -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all \
	$(WARNINGS) $(INCLUDES) $(REPRODUCIBLE) -DLINTEL_VERSION='"$(VERSION)"' -DLINTEL_DEBUG=1 -DLINTEL_HOST_TEST=1
FUZZ_CFLAGS := -std=gnu17 -O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined \
	-fno-sanitize-recover=all $(WARNINGS) $(INCLUDES) $(REPRODUCIBLE) -DLINTEL_VERSION='"$(VERSION)"' \
	-DLINTEL_DEBUG=1 -DLINTEL_HOST_TEST=1
UNIT_C := $(sort $(wildcard tests/unit/test_*.c))
FUZZ_C := $(sort $(wildcard tests/fuzz/fuzz_*.c))
UNIT_BINARIES := $(UNIT_C:tests/unit/%.c=$(BUILD)/unit/%)
FUZZ_BINARIES := $(FUZZ_C:tests/fuzz/%.c=$(BUILD)/fuzz/%)

$(BUILD)/host/%.o: %.c Makefile | $(SHARED)/.packages-test
	@mkdir -p $(@D)
	$(call SAY,HOST-CC)$(HOST_CC) $(HOST_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/host/%.asl.o: $(BUILD)/%.asl.o
	@mkdir -p $(@D)
	cp $< $@

$(BUILD)/fuzz-objects/%.o: %.c Makefile | $(SHARED)/.packages-fuzz
	@mkdir -p $(@D)
	$(call SAY,FUZZ-CC)clang $(FUZZ_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/fuzz-objects/%.asl.o: $(BUILD)/%.asl.o
	@mkdir -p $(@D)
	cp $< $@

$(UNIT_BINARIES):
	@mkdir -p $(@D)
	$(call SAY,HOST-LD)$(HOST_CC) $(HOST_CFLAGS) -no-pie -o $@ $(filter %.o,$^) -lcmocka

$(FUZZ_BINARIES):
	@mkdir -p $(@D)
	$(call SAY,FUZZ-LD)clang $(FUZZ_CFLAGS) -fsanitize=fuzzer -no-pie -o $@ $(filter %.o,$^)

ifneq ($(UNIT_C)$(FUZZ_C),)
$(BUILD)/host.mk: $(UNIT_C) $(FUZZ_C) Makefile
	@mkdir -p $(@D)
	@awk -v build=$(BUILD) -f tools/host-rules.awk $(UNIT_C) $(FUZZ_C) > $@
-include $(BUILD)/host.mk
endif

.PHONY: unit
unit: $(UNIT_BINARIES)
	$(PYTEST) tests/test_unit.py

FUZZ_SECONDS ?= 20
.PHONY: fuzz
fuzz: $(FUZZ_BINARIES)
	@for f in $(FUZZ_BINARIES); do \
	  corpus=$(SHARED)/corpus/$$(basename $$f); mkdir -p $$corpus; \
	  seeds=tests/fuzz/corpus/$$(basename $$f | sed s/^fuzz_//); [ -d $$seeds ] || seeds=; \
	  echo "fuzz: $$(basename $$f), $(FUZZ_SECONDS) s"; \
	  $$f -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -verbosity=0 -print_final_stats=1 \
	    -artifact_prefix=$$corpus/../ $$corpus $$seeds || exit 1; \
	done; echo "fuzz: $(words $(FUZZ_BINARIES)) fuzzers, no finding"

# ---------------------------------------------------------------- tests

PYTEST = LINTEL_BUILD=$(BUILD) PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m pytest -p no:cacheprovider --color=no -ra
TEST_INPUTS := $(BUILD)/lintel.elf $(UNIT_BINARIES) $(GUEST_ELFS) $(BENCH_ELFS) $(BENCH_HOST) $(GUEST)/vmlinux $(GUEST)/initrd.img \
	$(GUEST)/root.img $(GUEST)/stress.img $(GUEST)/fio.img $(foreach flavour,cloud 686-pae,$(GUEST)/vmlinux-$(flavour) $(GUEST)/initrd-$(flavour).img)
TESTS ?= tests
# Tests at the same time, most of which keep one CPU busy. What wants the machine alone is marked (tests/conftest.py).
WORKERS ?= $(shell n=$$(nproc); [ $$n -lt 4 ] && echo $$n || echo 4)
AT_ONCE = $(if $(filter-out 0 1,$(WORKERS)),-n $(WORKERS) --dist loadgroup) --durations=15

.PHONY: test
test: $(SHARED)/.packages-test $(TEST_INPUTS)
	$(PYTEST) $(AT_ONCE) -m 'not matrix and not soak' $(TESTS)

# Every test on every engine, firmware and CPU model that the emulators here have.
.PHONY: matrix
matrix: $(SHARED)/.packages-test $(TEST_INPUTS)
	$(PYTEST) $(AT_ONCE) -m matrix $(TESTS)

# The long ones: SOAK_REBOOTS of Debian by each method, SOAK_KILLS of the emulator under an ext4 load, resets, fio, two
# guests at work and each fuzzer for SOAK_SECONDS.
SOAK_SECONDS ?= 300
SOAK_REBOOTS ?= 100
SOAK_KILLS   ?= 20
.PHONY: soak
soak: $(SHARED)/.packages-test $(TEST_INPUTS) $(FUZZ_BINARIES)
	LINTEL_SOAK_SECONDS=$(SOAK_SECONDS) LINTEL_SOAK_REBOOTS=$(SOAK_REBOOTS) LINTEL_SOAK_KILLS=$(SOAK_KILLS) \
	 $(PYTEST) -m soak $(TESTS)

.PHONY: bench
bench: $(SHARED)/.packages-test $(TEST_INPUTS)
	LINTEL_BUILD=$(BUILD) $(PYTHON) tests/bench/run-bench -o $(BUILD)/bench.json

# ---------------------------------------------------------------- lint and format

FORMATTED := $(sort $(shell find $(wildcard $(ROOMS) tests) -name '*.[ch]' 2>/dev/null))
HEADER_CHECKS := $(patsubst %,$(BUILD)/header/%.ok,$(filter-out tests/%,$(HEADERS)))

# A header must compile alone, as C and in any order.
$(BUILD)/header/%.ok: % $(BUILD)/.flags | $(RUN_PACKAGES)
	@mkdir -p $(@D)
	$(call SAY,HEADER)$(CC) $(filter-out -fcallgraph-info%,$(CFLAGS)) -Wno-unused -MMD -MP -MT $@ -MF $(@:.ok=.d) -fsyntax-only -include $< -x c /dev/null
	@touch $@

.PHONY: headers floors format-check cppcheck tidy lint format
headers: $(HEADER_CHECKS)

floors: | $(RUN_PACKAGES)
	tools/check-floors

# clang-format leaves comments as they are, so their width is looked at here.
format-check: | $(SHARED)/.packages-lint
	@clang-format --dry-run -Werror $(FORMATTED)
	@awk 'length > 110 { print FILENAME ":" FNR ": more than 110 columns"; bad = 1 } END { exit bad }' $(FORMATTED) $(ASM)

cppcheck: | $(SHARED)/.packages-lint
	@mkdir -p $(BUILD)/cppcheck
	@cppcheck --quiet --error-exitcode=1 --enable=warning,portability --inline-suppr --std=c11 --platform=unix64 \
	 --cppcheck-build-dir=$(BUILD)/cppcheck --suppressions-list=tools/cppcheck.suppress -j 2 \
	 -I . -I $(BUILD) '-DLINTEL_VERSION="$(VERSION)"' $(C)

tidy: $(C:%=$(BUILD)/tidy/%.ok)

# The object stands for all headers of the source.
$(BUILD)/tidy/%.c.ok: %.c $(BUILD)/%.o .clang-tidy | $(SHARED)/.packages-lint
	@mkdir -p $(@D)
	$(call SAY,TIDY)clang-tidy --quiet $< -- $(filter-out -fno-tree-loop% -fcallgraph-info% -fno-align-%,$(CFLAGS)) 2>/dev/null
	@touch $@

lint: headers floors format-check cppcheck tidy

format: | $(SHARED)/.packages-lint
	clang-format -i $(FORMATTED)

.PHONY: clean
clean:
	rm -rf build

-include $(shell find $(BUILD) -name '*.d' -type f 2>/dev/null)
