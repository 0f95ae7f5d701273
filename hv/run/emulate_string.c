/* SPDX-License-Identifier: MIT */
/*
 * String instructions between device memory, ports and RAM, one element at a time: locate both operands with
 * the rights the CPU would check, move the element, move the registers on. So a fault in the middle leaves
 * the registers where the CPU would. The guest's own tables are walked once per page and exit. AMD APM 3,
 * MOVS and its kin, REP.
 */
#include "hv/lib/errno.h"
#include "hv/run/emulate_parts.h"
#include "hv/run/memory_wait.h"

#define SEGMENT_TYPE_CODE   BIT(3)
#define SEGMENT_TYPE_DOWN   BIT(2) /* of data: expands down */
#define SEGMENT_TYPE_ACCESS BIT(1) /* writable data, readable code */

/* One memory operand, as it walks through memory. */
struct operand {
    enum segment segment;
    unsigned gpr;
    u64 access; /* WALK_* */
    struct vcpu_segment descriptor;
    gva_t page; /* the page walked last and where it is; known tells whether there is one */
    gpa_t frame;
    bool known;
    gpa_t gpa[2]; /* the current element, in two parts where it crosses a page */
    unsigned bytes[2];
};

struct string {
    struct emulation *e;
    struct operand source, destination; /* rSI, and rDI in ES */
    const gpa_t *touched;
    u16 port;
};

/* What each operation does to its operands: WALK_READ stands for a read, which has no bit of its own. */
#define WALK_READ BIT(63)
static const struct {
    u64 source, destination;
} accesses[] = {
    [OP_MOVS - OP_MOVS] = {WALK_READ, WALK_WRITE}, [OP_STOS - OP_MOVS] = {0, WALK_WRITE},
    [OP_LODS - OP_MOVS] = {WALK_READ, 0},          [OP_SCAS - OP_MOVS] = {0, WALK_READ},
    [OP_CMPS - OP_MOVS] = {WALK_READ, WALK_READ},  [OP_INS - OP_MOVS] = {0, WALK_WRITE},
    [OP_OUTS - OP_MOVS] = {WALK_READ, 0},
};

static void operand_init(struct emulation *e, struct operand *operand, enum segment segment, unsigned gpr,
                         u64 access)
{
    operand->segment = segment;
    operand->gpr = gpr;
    operand->access = access;
    operand->known = false;
    operand->bytes[0] = operand->bytes[1] = 0;
    if (access && (e->mode != DECODE_64 || segment >= SEGMENT_FS))
        engine->segment_get(e->vcpu, segment, &operand->descriptor);
}

/* ---- from a register to guest-physical addresses ---- */

static bool segment_protected(const struct emulation *e)
{
    return (e->paging.cr0 & CR0_PE) && !(e->paging.rflags & RFLAGS_VM);
}

/* Does the segment let the guest do this? Outside 64-bit mode. AMD APM 2, 4.11 and 4.12. */
static bool segment_allows(const struct emulation *e, const struct operand *operand, u64 first)
{
    const struct vcpu_segment *s = &operand->descriptor;
    u64 last = first + e->instruction.size - 1, type = s->attributes & 15;

    if (!segment_protected(e))
        return last <= s->limit;
    if (!(s->attributes & SEGMENT_PRESENT))
        return false;
    if (operand->access == WALK_WRITE &&
        (type & (SEGMENT_TYPE_CODE | SEGMENT_TYPE_ACCESS)) != SEGMENT_TYPE_ACCESS)
        return false;
    if ((type & (SEGMENT_TYPE_CODE | SEGMENT_TYPE_ACCESS)) == SEGMENT_TYPE_CODE)
        return false;
    if ((type & (SEGMENT_TYPE_CODE | SEGMENT_TYPE_DOWN)) == SEGMENT_TYPE_DOWN)
        return first > s->limit && last <= (s->attributes & SEGMENT_DEFAULT_32 ? 0xffffffff : 0xffff);
    return last <= s->limit;
}

/* 0, or -EFAULT with the exception injected. */
static int operand_linear(const struct emulation *e, const struct operand *operand, gva_t *linear)
{
    u64 address = emulate_gpr_get(e->vcpu, operand->gpr, e->instruction.address_size);
    bool allowed;

    if (e->mode == DECODE_64) {
        *linear = operand->segment >= SEGMENT_FS ? operand->descriptor.base + address : address;
        allowed = emulate_canonical(e, *linear) && emulate_canonical(e, *linear + e->instruction.size - 1);
    } else {
        *linear = (u32)(operand->descriptor.base + address);
        allowed = segment_allows(e, operand, address);
    }
    if (allowed)
        return 0;
    vcpu_inject_fault(e->vcpu, operand->segment == SEGMENT_SS ? VECTOR_SS : VECTOR_GP, 0);
    return -EFAULT;
}

/* 0; -EFAULT with #PF injected; -ENOTSUP: a table lies where no RAM is. */
static int operand_walk(const struct emulation *e, struct operand *operand, gva_t linear, gpa_t *gpa)
{
    u64 access = (operand->access & WALK_WRITE) | (e->paging.cpl == 3 ? WALK_USER : 0);
    u32 error_code;
    int err;

    if (!operand->known || operand->page != (linear & PAGE_MASK)) {
        operand->known = false;
        err = guest_walk(&e->vcpu->vm->memory, &e->paging, linear, access, gpa, &error_code);
        if (err == -EFAULT)
            vcpu_inject_page_fault(e->vcpu, linear, error_code);
        if (err)
            return err == -EFAULT ? err : -ENOTSUP;
        operand->page = linear & PAGE_MASK;
        operand->frame = *gpa & PAGE_MASK;
        operand->known = true;
    }
    *gpa = operand->frame | (linear & ~PAGE_MASK);
    return 0;
}

/* A write to the guest's p2m list, which it may only read: -EFAULT with #GP injected. Else 0. */
static int operand_check(const struct emulation *e, const struct operand *operand)
{
    const struct guest_memory *memory = &e->vcpu->vm->memory;
    bool in_list = guest_memory_in_list(memory, operand->gpa[0]) ||
                   (operand->bytes[1] && guest_memory_in_list(memory, operand->gpa[1]));

    if (operand->access != WALK_WRITE || !in_list)
        return 0;
    vcpu_inject_fault(e->vcpu, VECTOR_GP, 0);
    return -EFAULT;
}

/* Find the current element: 0, or as operand_walk. */
static int operand_locate(const struct emulation *e, struct operand *operand)
{
    unsigned size = e->instruction.size, left;
    gva_t linear;
    int err;

    if (!operand->access)
        return 0;
    err = operand_linear(e, operand, &linear);
    if (err)
        return err;
    left = (unsigned)(PAGE_SIZE - (linear & ~PAGE_MASK));
    operand->bytes[0] = MIN(size, left);
    operand->bytes[1] = size - operand->bytes[0];
    err = operand_walk(e, operand, linear, &operand->gpa[0]);
    if (!err && operand->bytes[1]) {
        linear += left;
        err = operand_walk(e, operand, e->mode == DECODE_64 ? linear : (u32)linear, &operand->gpa[1]);
    }
    return err ? err : operand_check(e, operand);
}

static bool operand_touches(const struct operand *operand, gpa_t gpa)
{
    return gpa - operand->gpa[0] < operand->bytes[0] || gpa - operand->gpa[1] < operand->bytes[1];
}

/* ---- elements ---- */

static int part_read(struct vcpu *vcpu, gpa_t gpa, unsigned bytes, u64 *value)
{
    *value = 0;
    if (guest_memory_is_ram(&vcpu->vm->memory, gpa))
        return guest_memory_read(&vcpu->vm->memory, gpa, value, bytes);
    if (guest_memory_in_list(&vcpu->vm->memory, gpa))
        *value = guest_memory_list_read(&vcpu->vm->memory, gpa, bytes);
    else
        *value = emulate_device_read(vcpu, gpa, bytes);
    return 0;
}

static int part_write(struct vcpu *vcpu, gpa_t gpa, unsigned bytes, u64 value)
{
    if (guest_memory_is_ram(&vcpu->vm->memory, gpa))
        return guest_memory_write(&vcpu->vm->memory, gpa, &value, bytes);
    emulate_device_write(vcpu, gpa, bytes, value);
    return 0;
}

static int operand_read(const struct emulation *e, const struct operand *operand, u64 *value)
{
    u64 upper = 0;
    int err = part_read(e->vcpu, operand->gpa[0], operand->bytes[0], value);

    if (err || operand->bytes[1] == 0)
        return err;
    err = part_read(e->vcpu, operand->gpa[1], operand->bytes[1], &upper);
    *value |= upper << (8 * operand->bytes[0]);
    return err;
}

static int operand_write(const struct emulation *e, const struct operand *operand, u64 value)
{
    int err = part_write(e->vcpu, operand->gpa[0], operand->bytes[0], value);

    if (err || operand->bytes[1] == 0)
        return err;
    return part_write(e->vcpu, operand->gpa[1], operand->bytes[1], value >> (8 * operand->bytes[0]));
}

/* SCAS compares the accumulator with rDI's element, CMPS rSI's with rDI's. */
static int element_compare(const struct string *s, u64 first)
{
    u64 second = 0;
    int err = operand_read(s->e, &s->destination, &second);

    if (!err)
        emulate_alu_on(s->e->vcpu, OP_CMP, s->e->instruction.size, first, second);
    return err;
}

static int element_transfer(const struct string *s)
{
    struct vcpu *vcpu = s->e->vcpu;
    unsigned size = s->e->instruction.size;
    u64 value = emulate_gpr_get(vcpu, RAX, size);
    int err = 0;

    if (s->source.access)
        err = operand_read(s->e, &s->source, &value);
    if (err)
        return err;
    switch (s->e->instruction.operation) {
    case OP_SCAS:
    case OP_CMPS: return element_compare(s, value);
    case OP_LODS: emulate_gpr_set(vcpu, RAX, size, value); return 0;
    case OP_OUTS: port_bus_write(vcpu->vm->ports, vcpu, s->port, size, (u32)value); return 0;
    case OP_INS: value = port_bus_read(vcpu->vm->ports, vcpu, s->port, size); break;
    default: break;
    }
    return operand_write(s->e, &s->destination, value);
}

/* ---- the loop ---- */

/*
 * A device is not asked for what can't be put anywhere: RAM is given before. -EAGAIN: the vCPU waits for it,
 * and comes back to this element.
 */
static int operand_give(const struct emulation *e, const struct operand *operand)
{
    struct guest_memory *memory = &e->vcpu->vm->memory;

    for (unsigned i = 0; i < 2 && (operand->access & WALK_WRITE); i++) {
        gpa_t gpa = operand->gpa[i];

        if (operand->bytes[i] == 0 || guest_memory_at(memory, gpa) ||
            guest_memory_fault(memory, gpa) != -ENOMEM)
            continue;
        memory_wait(e->vcpu, gpa, NULL);
        return -EAGAIN;
    }
    return 0;
}

/* Locate both before anything happens to a device: a fault must leave no trace. */
static int string_step(struct string *s, bool first)
{
    int err = operand_locate(s->e, &s->source);

    if (!err)
        err = operand_locate(s->e, &s->destination);
    if (err)
        return err;
    if (first && s->touched && !operand_touches(&s->source, *s->touched) &&
        !operand_touches(&s->destination, *s->touched))
        return -EAGAIN;
    err = operand_give(s->e, &s->destination);
    if (err)
        return err;
    return element_transfer(s) ? -ENOTSUP : 0;
}

static void register_add(const struct emulation *e, unsigned gpr, u64 delta)
{
    unsigned size = e->instruction.address_size;

    emulate_gpr_set(e->vcpu, gpr, size, emulate_gpr_get(e->vcpu, gpr, size) + delta);
}

static void string_advance(const struct string *s, bool repeated)
{
    u64 size = s->e->instruction.size;
    u64 delta = s->e->paging.rflags & RFLAGS_DF ? -size : size;

    if (s->source.access)
        register_add(s->e, s->source.gpr, delta);
    if (s->destination.access)
        register_add(s->e, s->destination.gpr, delta);
    if (repeated)
        register_add(s->e, RCX, ~0ull);
}

/* REPE and REPNE end with the element that decides. */
static bool comparison_decided(const struct emulation *e)
{
    u8 operation = e->instruction.operation;

    if (operation != OP_SCAS && operation != OP_CMPS)
        return false;
    return !(engine->register_get(e->vcpu, REGISTER_RFLAGS) & RFLAGS_ZF) == e->instruction.rep;
}

int emulate_string(struct emulation *e, const gpa_t *touched, u16 port)
{
    const struct instruction *i = &e->instruction;
    bool repeated = i->rep || i->repne;
    struct string s = {.e = e, .touched = touched, .port = port};
    unsigned which = i->operation - OP_MOVS;
    int err;

    operand_init(e, &s.source, i->segment, RSI, accesses[which].source);
    operand_init(e, &s.destination, SEGMENT_ES, RDI, accesses[which].destination);
    for (unsigned n = 0; n < STRING_ITERATIONS; n++) {
        if (repeated && emulate_gpr_get(e->vcpu, RCX, i->address_size) == 0) {
            emulate_end(e);
            return 0;
        }
        err = string_step(&s, n == 0);
        if (err)
            return err == -EFAULT ? 0 : err;
        string_advance(&s, repeated);
        if (!repeated || comparison_decided(e)) {
            emulate_end(e);
            return 0;
        }
    }
    return 0;
}
