/* SPDX-License-Identifier: MIT */
/*
 * What the files of the emulator share: the instruction under way, arithmetic with flags, accesses to
 * devices. For hv/run/emulate*.c and their tests alone.
 */
#ifndef HV_RUN_EMULATE_PARTS_H
#define HV_RUN_EMULATE_PARTS_H

#include "arch/x86/machine/cpu.h"
#include "hv/run/decode.h"
#include "hv/run/vm.h"

#define RFLAGS_CF BIT(0)
#define RFLAGS_PF BIT(2)
#define RFLAGS_AF BIT(4)
#define RFLAGS_ZF BIT(6)
#define RFLAGS_SF BIT(7)
#define RFLAGS_OF BIT(11)

/* One instruction, fetched once; everything after works on this copy. */
struct emulation {
    struct vcpu *vcpu;
    enum decode_mode mode;
    struct guest_paging paging;
    gva_t code;         /* linear address of the instruction */
    unsigned reachable; /* bytes from there that CS lets the guest fetch, at most 15 */
    struct instruction instruction;
};

/* Fetch and decode at RIP. 0; -ENODATA: bytes could not be had; -EINVAL, -ENOTSUP as decode_instruction. */
int emulate_begin(struct emulation *e, struct vcpu *vcpu);
/* The instruction is done: RIP moves behind it. */
void emulate_end(const struct emulation *e);

/*
 * The operation on operands of size bytes: returns what the destination becomes (for CMP, TEST and BT what it
 * was), updates the arithmetic flags as the CPU does. AND, OR, XOR and TEST clear AF, BT and its kin change
 * CF alone, as CPUs do where the manual leaves it open. Pure.
 */
u64 emulate_alu(enum operation operation, unsigned size, u64 destination, u64 source, u64 *flags);
/* The same with the vCPU's own RFLAGS. */
u64 emulate_alu_on(struct vcpu *vcpu, enum operation operation, unsigned size, u64 destination, u64 source);

/* Device memory at any alignment: cut into naturally aligned pieces. */
u64 emulate_device_read(struct vcpu *vcpu, gpa_t gpa, unsigned size);
void emulate_device_write(struct vcpu *vcpu, gpa_t gpa, unsigned size, u64 value);

/* A general register's low bytes; 4 bytes zero the upper half, fewer leave the rest alone. */
u64 emulate_gpr_get(struct vcpu *vcpu, unsigned gpr, unsigned size);
void emulate_gpr_set(struct vcpu *vcpu, unsigned gpr, unsigned size, u64 value);

/*
 * A string instruction, at most STRING_ITERATIONS of it per exit; the rest comes by re-entry. MMIO: touched
 * is the address that one of its operands must touch, else -EAGAIN. INS, OUTS: touched is NULL and port says
 * where. 0: done, to be continued, or a fault was injected; -ENOTSUP: a guest page table lies where no RAM
 * is.
 */
#define STRING_ITERATIONS 256
int emulate_string(struct emulation *e, const gpa_t *touched, u16 port);

/* Is this a linear address the CPU would take, in 64-bit mode? */
bool emulate_canonical(const struct emulation *e, gva_t linear);

static inline u64 emulate_mask(unsigned size)
{
    return ~0ull >> (64 - 8 * size);
}

static inline bool emulate_is_string(u8 operation)
{
    return operation >= OP_MOVS && operation <= OP_OUTS;
}
_Static_assert(OP_OUTS - OP_MOVS == 6, "the string operations stand together");

#endif
