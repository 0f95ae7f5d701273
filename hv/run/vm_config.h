/* SPDX-License-Identifier: MIT */
/*
 * What a configuration says about one VM, checked and with every default filled in (hv/operator/config.c
 * makes it).
 */
#ifndef HV_RUN_VM_CONFIG_H
#define HV_RUN_VM_CONFIG_H

#include "hv/lib/types.h"

#define VM_MAX         64
#define VM_VCPUS_MAX   32
#define VM_NAME_MAX    32
#define VM_CMDLINE_MAX 2048
#define VM_DISKS_MAX   8
#define VM_CDROMS_MAX  4

enum personality { PERSONALITY_KVM, PERSONALITY_VMWARE, PERSONALITY_NONE };

/* Which balloon driver the guest is to have: a VM has one balloon, and never two devices for it. */
enum balloon_kind { BALLOON_VMWARE, BALLOON_VIRTIO };

/* How much of VMware's balloon's protocol is granted: each with all before it. */
enum balloon_forms { BALLOON_BASIC, BALLOON_BATCH, BALLOON_2M };

/* A file that GRUB loaded: bytes in lintel's direct map. start NULL: not there. */
struct boot_file {
    const char *name;
    const u8 *start;
    u64 size;
};

/* One line `disk = ...` with `write = ...` below it, or `cdrom = ...`. */
struct vm_disk {
    char name[128];        /* as written: of a file, "ram:SIZE", or a drive of the machine, "ahci:0/part2" */
    struct boot_file file; /* start NULL: blank, or the machine's */
    u64 bytes;             /* of a blank one; 0: name is a file's or the machine's */
    bool host;             /* a drive of the machine */
    bool write;            /* which the VM may write */
    u32 line, write_line;  /* 0: there is no `write` */
};

struct vm_config {
    char name[VM_NAME_MAX];
    char kernel_name[128], initrd_name[128]; /* as written; "" = none */
    struct boot_file kernel, initrd;         /* resolved among the modules; start NULL when missing */
    char cmdline[VM_CMDLINE_MAX];
    struct vm_disk disks[VM_DISKS_MAX];
    u32 disk_count;
    struct vm_disk cdroms[VM_CDROMS_MAX]; /* without a file or bytes: empty, or the machine's */
    u32 cdrom_count;
    bool virtio_console; /* on the PCI bus, beside the UART */
    bool virtio_rng;     /* random numbers on the PCI bus */
    u64 memory;          /* bytes, page multiple */
    enum balloon_kind balloon;
    u64 balloon_min, balloon_max; /* of what it keeps when the operator takes memory from it; likewise */
    enum balloon_forms balloon_forms;
    u32 vcpus;
    u32 vcpus_on; /* bit n: vCPU n is on when the VM begins; never 0 */
    u32 weight;   /* share of a CPU that others want too, beside their weights */
    u32 cap;      /* percent of one CPU that it gets at most, all vCPUs together; 0: no limit */
    u64 cpus;     /* bit n: it may run on CPU n; 0: on all */
    enum personality personality;
    bool prefault;
    bool hypercall_patch; /* rewrite the other vendor's call instruction; else only perform the call */
    bool p2m_shared;      /* the guest may see its own p2m list, machine addresses and all */
    u64 page_limit;       /* PAGE_SIZE, SIZE_2M, SIZE_1G */
    u32 line;             /* of its [vm] header, for messages */
};

#endif
