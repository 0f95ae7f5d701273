/* SPDX-License-Identifier: MIT */
/*
 * The port of VMware's guests: IN EAX, DX with a magic number in EAX and a command in ECX; arguments and
 * replies in the other registers. Those calls that Linux makes: who is there, the rates of its two clocks
 * (so that it calibrates none), whether it may use x2APIC, and where to count stolen time. Nothing is kept
 * here: the record of stolen time is stealtime.c's, and is forgotten at a reset with it.
 */
#include "guest/policy/vmware.h"

#include "arch/x86/machine/tsc.h"
#include "guest/machine.h"

#define VMWARE_PORT  0x5658
#define VMWARE_MAGIC 0x564d5868u

enum vmware_command {
    COMMAND_VERSION = 10,
    COMMAND_HZ = 45,
    COMMAND_VCPU_INFO = 68,
    COMMAND_STEAL_CLOCK = 91,
};

#define VERSION           6
#define VCPU_X2APIC       BIT(3) /* of VCPU_INFO's reply, with bit 31 clear */
#define STEAL_IS_OFF      0
#define STEAL_IS_ON       1
#define ANSWER_NO_COMMAND 0xffffffffu

/* Drivers read whole registers: every reply is zero-extended. */
static void reply(struct vcpu *vcpu, enum gpr gpr, u64 value)
{
    vcpu->regs.gpr[gpr] = (u32)value;
}

static void reply_hz(struct vcpu *vcpu)
{
    u64 hz = tsc_khz * 1000;

    reply(vcpu, RAX, hz);
    reply(vcpu, RBX, hz >> 32);
    reply(vcpu, RCX, LAPIC_TIMER_HZ);
}

/* ESI:EDI is the address. What can be no record, be it the 1 of Linux, switches the clock off. */
static bool steal_clock_set(struct vcpu *vcpu)
{
    gpa_t record = vcpu->regs.gpr[RSI] << 32 | (u32)vcpu->regs.gpr[RDI];
    bool possible = !(record & (STEAL_RESERVED | STEAL_ENABLE));

    if (possible && stealtime_register(vcpu, record | STEAL_ENABLE) == 0)
        return true;
    stealtime_register(vcpu, 0);
    return false;
}

static enum port_call vmware_call(struct vcpu *vcpu, void *device)
{
    (void)device;
    if ((u32)vcpu->regs.gpr[RAX] != VMWARE_MAGIC)
        return PORT_CALL_NONE;
    switch ((u32)vcpu->regs.gpr[RCX]) {
    case COMMAND_VERSION:
        reply(vcpu, RAX, VERSION);
        reply(vcpu, RBX, VMWARE_MAGIC);
        break;
    case COMMAND_HZ: reply_hz(vcpu); break;
    case COMMAND_VCPU_INFO: reply(vcpu, RAX, VCPU_X2APIC); break;
    case COMMAND_STEAL_CLOCK: reply(vcpu, RAX, steal_clock_set(vcpu) ? STEAL_IS_ON : STEAL_IS_OFF); break;
    default: reply(vcpu, RAX, ANSWER_NO_COMMAND); break;
    }
    return PORT_CALL_DONE;
}

int vmware_init(struct machine *m)
{
    const struct port_range range = {
        .first = VMWARE_PORT, .last = VMWARE_PORT, .name = "vmware", .call = vmware_call};

    if (m->vm->config->personality != PERSONALITY_VMWARE)
        return 0;
    return port_bus_add(m->vm->ports, &range);
}
