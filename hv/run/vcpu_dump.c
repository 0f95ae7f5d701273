/* SPDX-License-Identifier: MIT */
/*
 * What a vCPU looked like when its VM met its end: registers and the bytes at RIP, as sentences in the log.
 */
#include "hv/lib/log.h"
#include "hv/lib/printf.h"
#include "hv/run/decode.h"
#include "hv/run/emulate.h"
#include "hv/run/vm.h"

#define LONG(value) ((unsigned long long)(value))

static const char *const gpr_names[GPR_COUNT] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                                 "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
static const char *const segment_names[SEGMENT_COUNT] = {"es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"};

static void dump_code(struct vcpu *vcpu)
{
    u8 bytes[INSTRUCTION_MAX];
    char text[3 * INSTRUCTION_MAX + 1] = "";
    unsigned count = emulate_fetch_bytes(vcpu, bytes, sizeof(bytes));

    for (unsigned i = 0; i < count; i++)
        snprintf(text + 3 * i, sizeof(text) - 3 * i, " %02x", bytes[i]);
    log_error("  code bytes at rip:%s", count ? text : " none can be read");
}

void vcpu_dump(struct vcpu *vcpu)
{
    struct vcpu_state state;
    const u64 *gpr = state.regs.gpr, *reg = state.registers;

    engine->state_get(vcpu, &state);
    log_error("VM %s, vCPU %u: rip %016llx rflags %08llx", vcpu->vm->name, vcpu->index, LONG(state.regs.rip),
              LONG(reg[REGISTER_RFLAGS]));
    for (unsigned i = 0; i < GPR_COUNT; i += 4)
        log_error("  %-3s %016llx  %-3s %016llx  %-3s %016llx  %-3s %016llx", gpr_names[i], LONG(gpr[i]),
                  gpr_names[i + 1], LONG(gpr[i + 1]), gpr_names[i + 2], LONG(gpr[i + 2]), gpr_names[i + 3],
                  LONG(gpr[i + 3]));
    log_error("  cr0 %08llx  cr2 %016llx  cr3 %016llx  cr4 %08llx  efer %04llx", LONG(reg[REGISTER_CR0]),
              LONG(reg[REGISTER_CR2]), LONG(reg[REGISTER_CR3]), LONG(reg[REGISTER_CR4]),
              LONG(reg[REGISTER_EFER]));
    for (unsigned i = 0; i < SEGMENT_COUNT; i++)
        log_error("  %-4s %04x base %016llx limit %08x attributes %04x", segment_names[i],
                  state.segments[i].selector, LONG(state.segments[i].base), state.segments[i].limit,
                  state.segments[i].attributes);
    log_error("  gdtr %016llx+%04x  idtr %016llx+%04x", LONG(state.gdtr.base), state.gdtr.limit,
              LONG(state.idtr.base), state.idtr.limit);
    dump_code(vcpu);
}
