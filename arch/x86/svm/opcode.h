/* SPDX-License-Identifier: MIT */
/*
 * Where an instruction ends that has exited, on CPUs that do not tell the next RIP (CPUID 8000000A EDX bit
 * 3): its opcode is looked for in memory. exit.c and exit_light.c. The vCPU's own CPU.
 */
#ifndef ARCH_X86_SVM_OPCODE_H
#define ARCH_X86_SVM_OPCODE_H

#include "arch/x86/svm/svm.h"
#include "hv/run/decode.h"

/* The opcode that causes an exit, as it lies in memory, for CPUs that do not tell the next RIP. */
struct opcode {
    u32 bytes; /* little endian */
    u32 mask;  /* those of the four bytes that count */
    u8 length;
    u8 operation; /* how the decoder calls it, when prefixes stand before it */
};

#define OPCODE_CPUID                \
    {                               \
        0xa20f, 0xffff, 2, OP_CPUID \
    }
#define OPCODE_RDMSR                \
    {                               \
        0x320f, 0xffff, 2, OP_RDMSR \
    }
#define OPCODE_WRMSR                \
    {                               \
        0x300f, 0xffff, 2, OP_WRMSR \
    }
#define OPCODE_VMMCALL                    \
    {                                     \
        0xd9010f, 0xffffff, 3, OP_VMMCALL \
    }

/* Where the instruction ends that a 64-bit guest has on a page that was looked at before; 0: not known so. */
static inline u64 opcode_end(struct vcpu *vcpu, const struct vmcb *vmcb, const struct opcode *opcode)
{
    const struct vmcb_save *save = &vmcb->save;
    const struct fetch_page *page = fetch_cache_page(&vcpu->fetch_cache, save->rip);

    if (likely((save->cs.attributes & SEGMENT_LONG) && (save->efer & EFER_LMA) && fetch_page_has(save->rip) &&
               fetch_page_holds(page, save->cr3, save->rip) &&
               (fetch_page_bytes(page, save->rip) & opcode->mask) == opcode->bytes))
        return save->rip + opcode->length;
    return 0;
}

#endif
