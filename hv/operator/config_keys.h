/* SPDX-License-Identifier: MIT */
/*
 * Every key of lintel.conf, one row each: CONFIG_KEY(section, name, type, default, what is right). No
 * include guard, as each includer defines CONFIG_KEY. tools/mkiso reads the same language; a test compares
 * its table with this one.
 *
 * type: file (a name without white space), disk (the same, ram:SIZE, or a drive of the machine; VM_DISKS_MAX
 * times at most), disk_write (yes or no, about the disk above it), cdrom (a file, ram:SIZE, a CD drive of
 * the machine, or empty; VM_CDROMS_MAX times), packed (a file; CONFIG_PACKED_MAX times), text, size (K, M
 * or G behind the number), a range of numbers (1..32), cpu_list and vcpu_list (numbers and ranges with commas
 * between them), yes_no, or the words that are allowed, in the order of their enum. A key without a default
 * ("") may be left out, but for kernel.
 */
/* clang-format off */
#ifndef CONFIG_KEY
#define CONFIG_KEY(section, name, type, standard, right) /* this file compiles alone, too */
#endif
CONFIG_KEY("hypervisor", "console", com1|com2|com3|com4, "com1", "com1, com2, com3 or com4")
CONFIG_KEY("hypervisor", "log", error|warning|info|debug, "info", "error, warning, info or debug")
CONFIG_KEY("hypervisor", "shutdown.grace", 0..600, "10", "a number of seconds from 0 to 600")
CONFIG_KEY("hypervisor", "media.poll_ms", 0..3600000, "2000", "a number of ms from 0 to 3600000")
CONFIG_KEY("hypervisor", "media.file", packed, "", "the name of a file for `media insert`") /* may repeat */
CONFIG_KEY("vm", "kernel", file, "", "the name of a bzImage or a PVH ELF file")
CONFIG_KEY("vm", "kernel.unpack", yes_no, "no", "yes or no") /* tools/mkiso does it; nothing to do at boot */
CONFIG_KEY("vm", "initrd", file, "", "the name of an initramfs")
CONFIG_KEY("vm", "cmdline", text, "console=ttyS0", "at most 2047 characters")
CONFIG_KEY("vm", "disk", disk, "", "a file or drive such as ahci:1, its /part2, or ram:SIZE such as ram:64M")
CONFIG_KEY("vm", "write", disk_write, "", "yes or no, below the disk that it is about") /* of a drive: no */
CONFIG_KEY("vm", "cdrom", cdrom, "", "a file, ram:SIZE such as ram:64M, a drive such as ahci:1, or empty")
CONFIG_KEY("vm", "virtio.console", yes_no, "no", "yes or no") /* beside the UART */
CONFIG_KEY("vm", "virtio.rng", yes_no, "no", "yes or no") /* random numbers, where the CPU has some */
CONFIG_KEY("vm", "memory", size, "256M", "a size from 64M on such as 512M or 2G, a multiple of 4K")
CONFIG_KEY("vm", "balloon", vmware|virtio, "vmware", "vmware or virtio") /* enum balloon_kind */
CONFIG_KEY("vm", "balloon.min", size, "64M", "a size from 64M on such as 512M or 2G, a multiple of 4K")
CONFIG_KEY("vm", "balloon.max", size, "", "a size from 64M on such as 512M or 2G, a multiple of 4K") /* all */
CONFIG_KEY("vm", "balloon.forms", basic|batch|2m, "2m", "basic, batch or 2m") /* enum balloon_forms */
CONFIG_KEY("vm", "vcpus", 1..32, "1", "a number from 1 to 32") /* VM_VCPUS_MAX */
CONFIG_KEY("vm", "vcpus.start", vcpu_list, "0", "numbers of vCPUs from 0 to 31 such as 0 or 0-2,5")
CONFIG_KEY("vm", "weight", 1..10000, "256", "a number from 1 to 10000")
CONFIG_KEY("vm", "cap", 0..3200, "0", "a number from 0 to 3200") /* percent; VM_VCPUS_MAX whole CPUs */
CONFIG_KEY("vm", "cpus", cpu_list, "", "numbers of CPUs from 0 to 63 such as 2 or 0-2,5")
CONFIG_KEY("vm", "personality", kvm|vmware|none, "kvm", "kvm, vmware or none")
CONFIG_KEY("vm", "prefault", yes_no, "no", "yes or no") /* yes: all memory at start */
CONFIG_KEY("vm", "hypercall_patch", yes_no, "yes", "yes or no") /* rewrite the other vendor's call */
CONFIG_KEY("vm", "pages", 4k|2m|1g, "1g", "4k, 2m or 1g") /* the largest page that maps its memory */
CONFIG_KEY("vm", "p2m", no|shared, "no", "no or shared") /* shared: the guest may see where its frames are */
#undef CONFIG_KEY
/* clang-format on */
