/* SPDX-License-Identifier: MIT */
/*
 * Small kernel files that are as they should be, for tests and fuzzers to spoil. Each is allocated with
 * malloc.
 */
#ifndef TESTS_UNIT_FAKE_KERNELS_H
#define TESTS_UNIT_FAKE_KERNELS_H

#include "hv/lib/types.h"

/* Like Debian's bzImage: boot protocol 2.15, relocatable, preferred at 16 MiB. */
#define FAKE_SETUP_SECTORS 3
#define FAKE_CODE_AT       ((FAKE_SETUP_SECTORS + 1) * 512)
#define FAKE_CODE_SIZE     0x2000
#define FAKE_BZIMAGE_SIZE  (FAKE_CODE_AT + FAKE_CODE_SIZE)
#define FAKE_KERNEL_AT     0x1000000
#define FAKE_INIT_SIZE     0x800000
u8 *fake_bzimage(void);

/*
 * Like Debian's vmlinux: two segments (the 32-bit one has one), and notes of which the last is the PVH
 * entry.
 */
#define FAKE_ELF_SIZE   0x4000
#define FAKE_NOTES      0x800 /* offsets in the file */
#define FAKE_TEXT       0x1000
#define FAKE_DATA       0x3000
#define FAKE_TEXT_AT    0x1000000 /* physical addresses */
#define FAKE_DATA_AT    0x1400000
#define FAKE_ENTRY_AT   (FAKE_TEXT_AT + 0x850)
#define FAKE_ENTRY_NOTE (FAKE_NOTES + 44)
u8 *fake_elf64(void);
u8 *fake_elf32(void);

#endif
