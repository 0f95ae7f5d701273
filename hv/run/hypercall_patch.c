/* SPDX-License-Identifier: MIT */
/*
 * VMCALL on AMD and VMMCALL on Intel are undefined instructions: here they are found behind the #UD,
 * rewritten where they stand, and performed. The two differ in their third byte alone (0F 01 C1, 0F 01 D9),
 * so that the rewriting is one byte, written once through the machine frame (kernels map their text
 * read-only), and only over the byte that was seen. The vCPU's own CPU.
 */
#include "arch/x86/machine/cpu.h"
#include "hv/run/emulate.h"
#include "hv/run/hypercall.h"

#define CALL_VMCALL  0xc1
#define CALL_VMMCALL 0xd9

/*
 * Where the instruction's third byte is in the guest's linear space: it may stand on another page than the
 * first.
 */
static gva_t third_byte(struct vcpu *vcpu, const struct guest_paging *paging)
{
    struct vcpu_segment cs;

    if (paging->code_64)
        return vcpu->regs.rip + 2;
    engine->segment_get(vcpu, SEGMENT_CS, &cs);
    return (u32)(cs.base + vcpu->regs.rip + 2);
}

/*
 * Put `native` where `foreign` was. false: the byte is another by now (the guest looks again), or can't be
 * written.
 */
static bool rewrite(struct vcpu *vcpu, const struct guest_paging *paging, u8 foreign, u8 native)
{
    struct guest_memory *memory = &vcpu->vm->memory;
    gpa_t gpa;
    u8 *byte;

    if (guest_walk_fetched(memory, paging, third_byte(vcpu, paging), &gpa))
        return false;
    byte = guest_memory_at(memory, gpa);
    return byte &&
           __atomic_compare_exchange_n(byte, &foreign, native, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

static bool may_patch(const struct vcpu *vcpu, const struct guest_paging *paging)
{
    return vcpu->vm->config->hypercall_patch && paging->cpl == 0 && (paging->cr0 & CR0_PE) &&
           !(paging->rflags & RFLAGS_VM);
}

bool hypercall_undefined(struct vcpu *vcpu)
{
    u8 native = engine->hypercall_byte, foreign = native ^ CALL_VMCALL ^ CALL_VMMCALL;
    struct guest_paging paging;
    u8 bytes[HYPERCALL_BYTES];

    if (emulate_fetch_bytes(vcpu, bytes, HYPERCALL_BYTES) < HYPERCALL_BYTES || bytes[0] != 0x0f ||
        bytes[1] != 0x01)
        return false;
    if (bytes[2] == native)
        return true; /* another vCPU has rewritten it since: the guest executes it */
    if (bytes[2] != foreign)
        return false;
    engine->paging_get(vcpu, &paging);
    if (may_patch(vcpu, &paging) && !rewrite(vcpu, &paging, foreign, native))
        return true; /* the byte changed under us: enter again, the CPU looks at what is there now */
    hypercall_perform(vcpu, &paging);
    return true;
}
