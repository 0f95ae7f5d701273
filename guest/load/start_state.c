/* SPDX-License-Identifier: MIT */
/*
 * The states in which vCPUs begin, as data: no lock, nothing but the state handed in. Called by the loaders
 * and by guest/machine.c. AMD APM 2, table 14-1 (reset); Documentation/arch/x86/boot.rst (64-bit entry) and
 * the PVH boot protocol (xen/include/public/arch-x86/hvm/start_info.h) for the other two.
 */
#include "guest/load/start_state.h"

#include "arch/x86/machine/cpu.h"
#include "hv/lib/string.h"

/* Attributes of segments (struct vcpu_segment): present, and the type with the accessed or busy bit set. */
#define SEGMENT_CODE     0x009b
#define SEGMENT_DATA     0x0093
#define SEGMENT_LDT      0x0082
#define SEGMENT_TSS_BUSY 0x008b

#define PAT_RESET 0x0007040600070406ull
#define DR6_RESET 0xffff0ff0ull
#define DR7_RESET 0x400ull

void start_state_reset(struct vcpu_state *state)
{
    memset(state, 0, sizeof(*state));
    for (unsigned i = SEGMENT_ES; i <= SEGMENT_GS; i++)
        state->segments[i] = (struct vcpu_segment){.attributes = SEGMENT_DATA, .limit = 0xffff};
    state->segments[SEGMENT_CS] = (struct vcpu_segment){
        .selector = 0xf000, .attributes = SEGMENT_CODE, .limit = 0xffff, .base = 0xffff0000};
    state->segments[SEGMENT_LDTR] = (struct vcpu_segment){.attributes = SEGMENT_LDT, .limit = 0xffff};
    state->segments[SEGMENT_TR] = (struct vcpu_segment){.attributes = SEGMENT_TSS_BUSY, .limit = 0xffff};
    state->gdtr.limit = 0xffff;
    state->idtr.limit = 0xffff;
    state->regs.rip = 0xfff0;
    state->registers[REGISTER_RFLAGS] = RFLAGS_FIXED;
    state->registers[REGISTER_CR0] = CR0_CD | CR0_NW | CR0_ET;
    state->registers[REGISTER_DR6] = DR6_RESET;
    state->registers[REGISTER_DR7] = DR7_RESET;
    state->registers[REGISTER_PAT] = PAT_RESET;
}

/*
 * Flat segments, and an interrupt table without entries: whatever goes wrong so early is a triple fault at
 * its own place.
 */
static void state_set_flat(struct vcpu_state *state, gpa_t gdt, u16 code_size)
{
    for (unsigned i = SEGMENT_ES; i <= SEGMENT_GS; i++)
        state->segments[i] =
            (struct vcpu_segment){.selector = START_DATA,
                                  .attributes = SEGMENT_DATA | SEGMENT_DEFAULT_32 | SEGMENT_PAGES,
                                  .limit = 0xffffffff};
    state->segments[SEGMENT_CS].selector = START_CODE;
    state->segments[SEGMENT_CS].attributes = SEGMENT_CODE | SEGMENT_PAGES | code_size;
    state->segments[SEGMENT_TR].limit = 0x67;
    state->segments[SEGMENT_LDTR].limit = 0;
    state->gdtr = (struct vcpu_table){.base = gdt, .limit = START_GDT_ENTRIES * 8 - 1};
    state->idtr = (struct vcpu_table){0};
}

void start_state_long(struct vcpu_state *state, gpa_t gdt, gpa_t cr3, u64 entry)
{
    start_state_reset(state);
    state_set_flat(state, gdt, SEGMENT_LONG);
    state->registers[REGISTER_CR0] = CR0_PG | CR0_NE | CR0_ET | CR0_PE;
    state->registers[REGISTER_CR3] = cr3;
    state->registers[REGISTER_CR4] = CR4_PAE;
    state->registers[REGISTER_EFER] = EFER_LMA | EFER_LME;
    state->regs.rip = entry;
}

void start_state_protected(struct vcpu_state *state, gpa_t gdt, u32 entry)
{
    start_state_reset(state);
    state_set_flat(state, gdt, SEGMENT_DEFAULT_32);
    state->registers[REGISTER_CR0] = CR0_ET | CR0_PE;
    state->regs.rip = entry;
}

void start_gdt(u64 gdt[START_GDT_ENTRIES], bool wide)
{
    gdt[0] = 0;
    gdt[1] = 0;
    gdt[START_CODE / 8] = wide ? 0x00af9b000000ffffull : 0x00cf9b000000ffffull;
    gdt[START_DATA / 8] = 0x00cf93000000ffffull;
}
