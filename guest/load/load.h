/* SPDX-License-Identifier: MIT */
/*
 * Kernel loaders: from the files that a VM's configuration names to guest memory and the state of its first
 * vCPU. guest/machine.c calls load_guest at creation and at each reset, on zeroed memory; boot CPU, VM's
 * lock not held. A kernel file is as hostile as the guest that it becomes: each field is checked before it
 * is used.
 */
#ifndef GUEST_LOAD_LOAD_H
#define GUEST_LOAD_LOAD_H

#include "guest/load/start_state.h"
#include "hv/memory/guest_memory.h"
#include "hv/run/vm_config.h"

/*
 * What the loaders themselves put into guest memory; all of it below the ACPI tables, in RAM that a kernel
 * may reuse.
 */
#define LOAD_GDT           0x6000ull /* 4 descriptors */
#define LOAD_START_INFO    0x6800ull /* PVH: hvm_start_info, module list, memory map */
#define LOAD_BOOT_PARAMS   0x7000ull
#define LOAD_PAGE_TABLES   0x8000ull /* 6 pages: PML4, PDPT, 4 directories of 2 MiB pages */
#define LOAD_CMDLINE       0x10000ull
#define LOAD_KERNEL_LOWEST 0x100000ull /* kernels lie above all that */

/* Linux of every flavour takes an initrd below this (boot protocol: initrd_addr_max of today's kernels). */
#define LOAD_INITRD_LIMIT 0x80000000ull

struct load {
    const struct vm_config *config;
    struct guest_memory *memory;
    gpa_t rsdp; /* ACPI's root pointer */
    char *why;  /* one sentence when a loader fails */
    size_t why_size;
};

/* A range of guest-physical addresses; end exclusive. */
struct load_range {
    gpa_t start, end;
};

/*
 * Load kernel, initrd and command line; the kernel's format is told by its content. 0, with state being the
 * first vCPU's; -EINVAL, -ENOENT, -ENOMEM or -EFAULT with a sentence in load->why.
 */
int load_guest(const struct load *load, struct vcpu_state *state);

/* The formats. Called when their own *_matches said yes. */
bool bzimage_matches(const struct boot_file *file);
int bzimage_load(const struct load *load, struct vcpu_state *state);
bool elf_pvh_matches(const struct boot_file *file);
int elf_pvh_load(const struct load *load, struct vcpu_state *state);

/*
 * Write "kernel vmlinuz " and the rest of the sentence into load->why (whoever prints it names the VM);
 * returns error.
 */
int load_fail_kernel(const struct load *load, int error, const char *format, ...) PRINTF_LIKE(3, 4);

/* Is start .. start + size whole within one piece of usable RAM? */
bool load_is_ram(const struct load *load, gpa_t start, u64 size);

/* Copy into guest memory. -ENOMEM when lintel's own memory is short (a sentence in why). */
int load_copy(const struct load *load, gpa_t to, const void *from, u64 bytes);

/*
 * Copy the command line to LOAD_CMDLINE; most: the longest that the kernel takes, in bytes without the NUL.
 */
int load_cmdline(const struct load *load, u64 most);

/*
 * Copy the initrd as high as RAM below limit allows, beside the kernel's own range; *at is empty without
 * initrd.
 */
int load_initrd(const struct load *load, struct load_range kernel, gpa_t limit, struct load_range *at);

#endif
