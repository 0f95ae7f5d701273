/* SPDX-License-Identifier: MIT */
/*
 * The emulator under any code, registers, segments and faulting pages, with and without a p2m list that the
 * guest may read: it ends, touches nothing outside RAM and the device, leaves RIP alone or moves it behind
 * the instruction, and answers with one of its three results.
 */
// sources: hv/run/emulate.c hv/run/emulate_string.c hv/run/emulate_alu.c hv/run/exit_io.c hv/run/decode.c
// sources: hv/run/decode_tables.c hv/run/bus.c hv/memory/fetch_cache.c
// sources: tests/unit/fake_engine.c tests/unit/fake_machine.c
#include <stdlib.h>
#include <string.h>

#include "arch/x86/machine/cpu.h"
#include "hv/lib/errno.h"
#include "hv/run/emulate.h"
#include "hv/run/exit.h"
#include "tests/unit/fake_machine.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

/* What an input is made of; the rest of it is code. */
struct PACKED input {
    u8 mode, cpl, how;
    u8 not_present[2], read_only[2];
    u16 segment_attributes, segment_limit;
    u32 segment_base;
    u16 rip;
    u32 gpa;
    u16 flags;
    u16 port;
    u8 io;
    u32 gpr[8];
};

static void require(bool condition)
{
    if (!condition)
        abort();
}

static u32 port_read(struct vcpu *vcpu, void *device, u16 port, unsigned size)
{
    (void)vcpu, (void)device;
    require(size == 1 || size == 2 || size == 4);
    return port * 0x01010101u;
}

static void port_write(struct vcpu *vcpu, void *device, u16 port, unsigned size, u32 value)
{
    (void)vcpu, (void)device, (void)port;
    require((size == 1 || size == 2 || size == 4) && (size == 4 || value < 1u << (8 * size)));
}

/* Pointers near RAM, the device and the guest's p2m list find something more often than random ones. */
static u64 pointer(u32 word)
{
    switch (word >> 30) {
    case 0: return (word & 0x20000000 ? FAKE_LIST - 8 : FAKE_DEVICE) + (word & 0xfff);
    case 1: return word & (FAKE_RAM - 1);
    case 2: return (u64)(s64)(s32)word;
    default: return (u64)word << 32 | word;
    }
}

static void build(const struct input *in)
{
    static const struct port_range range = {0x60, 0x71, port_read, port_write, NULL, NULL, "fuzz", NULL};

    fake_machine_reset((enum fake_mode)(in->mode % 3));
    port_bus_add(&fake.ports, &range);
    fake_state.cpl = in->cpl & 3;
    fake_state.registers[REGISTER_RFLAGS] = in->flags | RFLAGS_FIXED;
    fake_state.registers[REGISTER_RSP] = pointer(in->gpr[RSP]);
    if (in->mode & 0x80)
        fake_state.registers[REGISTER_CR4] |= CR4_LA57;
    for (unsigned i = 0; i < SEGMENT_COUNT && (in->mode & 0x40); i++) {
        fake_state.segments[i].base = in->segment_base;
        fake_state.segments[i].limit = in->segment_limit * (i & 1 ? 0x10000u : 1);
        fake_state.segments[i].attributes ^= in->segment_attributes & 0xfff;
    }
    for (unsigned i = 0; i < GPR_COUNT; i++)
        fake.vcpu.regs.gpr[i] = pointer(in->gpr[i & 7]);
    fake.vcpu.regs.gpr[RCX] &= in->mode & 0x20 ? 0xff : ~0ull;
    for (unsigned i = 0; i < 2; i++) {
        fake.not_present[in->not_present[i]] = in->how & 0x40;
        fake.read_only[in->read_only[i]] = in->how & 0x20;
    }
    fake.vm.memory.list.start = FAKE_LIST;
    fake.vm.memory.list.bytes = in->how & 0x08 ? PAGE_SIZE : 0;
    fake_state.event.type = in->how & 0x10 ? EVENT_INTERRUPT : EVENT_NONE;
    fake.vcpu.regs.rip = in->rip;
}

static void run(const struct input *in)
{
    struct vmexit fault = {.kind = EXIT_NESTED_FAULT,
                           .fault = {.gpa = pointer(in->gpa), .access = in->io & 0x10 ? FAULT_WRITE : 0}};
    struct vmexit port = {.kind = EXIT_PORT,
                          .length = 2,
                          .io = {.port = in->port,
                                 .size = (u8)(1 << in->io % 3),
                                 .flags = (in->io & 4 ? IO_IN : 0) | (in->io & 8 ? IO_STRING : 0)}};
    u64 rip = fake.vcpu.regs.rip;
    int err = 0;

    switch (in->how % 4) {
    case 0: err = emulate_mmio(&fake.vcpu, fault.fault.gpa); break;
    case 1: err = emulate_string_io(&fake.vcpu, &port); break;
    case 2: exit_port(&fake.vcpu, &port); break;
    default: exit_nested_fault(&fake.vcpu, &fault);
    }
    require(err == 0 || err == -EAGAIN || err == -ENOTSUP);
    require(!err || fake.vcpu.regs.rip == rip);
    require(fake.vcpu.regs.rip - rip <= 15);
    require(fake.vector < 0 || fake.vcpu.regs.rip == rip);
    require(fake.device_reads + fake.device_writes <= 2 * 256 * 8);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct input in;
    size_t code;

    if (size < sizeof(in))
        return 0;
    memcpy(&in, data, sizeof(in));
    build(&in);
    code = MIN(size - sizeof(in), 64);
    /* The page tables stay as they are: the fake p2m list ends with the first 1 MiB. */
    for (size_t i = 0; i < code; i++)
        fake_ram[(in.rip + (in.mode & 0x40 ? in.segment_base : 0) + i) % FAKE_TABLES] = data[sizeof(in) + i];
    run(&in);
    return 0;
}
