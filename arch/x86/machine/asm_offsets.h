/* SPDX-License-Identifier: MIT */
/*
 * How C tells NASM where the fields of its structures are. A file named asm_offsets.c is compiled to
 * assembly text and never linked; each OFFSET line in it leaves a marker there, of which the Makefile
 * makes the line `NAME equ VALUE` in <folder>/asm_offsets.inc. So layouts are stated in C alone.
 *
 *	#include "arch/x86/machine/asm_offsets.h"
 *	ASM_OFFSETS_BEGIN
 *	OFFSET(VCPU_RAX, offsetof(struct vcpu, regs.rax))
 *	ASM_OFFSETS_END
 */
#ifndef ARCH_X86_MACHINE_ASM_OFFSETS_H
#define ARCH_X86_MACHINE_ASM_OFFSETS_H

#include <stddef.h>

#define OFFSET(name, value) __asm__ volatile("\n.ascii \"->" #name " %c0\"" : : "i"(value));

#define ASM_OFFSETS_BEGIN   \
    void asm_offsets(void); \
    void asm_offsets(void)  \
    {
#define ASM_OFFSETS_END }

#endif
