/* SPDX-License-Identifier: MIT */
/*
 * How C tells NASM where the fields of its structures are. A file named asm_offsets.c is compiled to
 * assembly text and never linked; each OFFSET in its function leaves a marker there, of which the Makefile
 * makes the line `NAME equ VALUE` in <folder>/asm_offsets.inc. So layouts are stated in C alone.
 *
 *     void asm_offsets(void)
 *     {
 *         OFFSET(VCPU_RAX, offsetof(struct vcpu, regs.rax));
 *     }
 */
#ifndef ARCH_X86_MACHINE_ASM_OFFSETS_H
#define ARCH_X86_MACHINE_ASM_OFFSETS_H

#include <stddef.h>

#define OFFSET(name, value) __asm__ volatile("\n.ascii \"->" #name " %c0\"" : : "i"(value))

void asm_offsets(void);

#endif
