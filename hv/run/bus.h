/* SPDX-License-Identifier: MIT */
/*
 * Where devices live: ranges of ports, of guest-physical addresses, of MSRs, each with its handlers. Devices
 * register at VM creation, before the VM runs; afterwards the maps are only read. `lock` names the lock that
 * guards the device: the bus takes it around the handler; NULL for per-vCPU devices.
 */
#ifndef HV_RUN_BUS_H
#define HV_RUN_BUS_H

#include "hv/lib/lock.h"
#include "hv/run/vcpu.h"

/*
 * Handlers see naturally sized accesses (1, 2, 4 bytes; MMIO also 8) and return values whose upper bits are
 * ignored. A port may also be called: by IN EAX with arguments in registers, as VMware's are. `call` answers
 * in vcpu->regs (RAX included; not R12 to R15, hv/run/exit.h). It is called without `lock`, for whoever the
 * CPU lets read the port. String instructions only read.
 */
enum port_call {
    PORT_CALL_NONE,  /* no call, nothing has changed: the port is read as any other */
    PORT_CALL_DONE,  /* answered */
    PORT_CALL_AGAIN, /* not finished, registers are as before: the guest executes the instruction again */
};
struct port_range {
    u16 first, last;
    u32 (*read)(struct vcpu *vcpu, void *device, u16 port, unsigned size);
    void (*write)(struct vcpu *vcpu, void *device, u16 port, unsigned size, u32 value);
    void *device;
    struct spinlock *lock;
    const char *name;
    enum port_call (*call)(struct vcpu *vcpu, void *device); /* NULL: never */
} ALIGNED(64);                                               /* an index becomes an address by a shift */

#define PORT_RANGES 32
/* Two levels: page of 256 ports -> index of its leaf; leaf -> index of the range, 0 = nobody. */
struct port_bus {
    struct port_range ranges[PORT_RANGES]; /* [0] is the empty bus: reads all ones */
    u32 count;
    u8 pages[256];
    u8 leaves[24][256]; /* [0] stays empty */
    u32 leaf_count;
};
void port_bus_init(struct port_bus *bus);
/* A handler that is NULL: as where nobody lives. -EEXIST: a port is taken; -ENOSPC: full. */
int port_bus_add(struct port_bus *bus, const struct port_range *range);
u32 port_bus_read(struct port_bus *bus, struct vcpu *vcpu, u16 port, unsigned size);
/* For an access of which not all bytes belong to one range: each goes where it belongs. */
u32 port_bus_read_bytes(const struct port_bus *bus, struct vcpu *vcpu, u16 port, unsigned size);
void port_bus_write(struct port_bus *bus, struct vcpu *vcpu, u16 port, unsigned size, u32 value);

static inline const struct port_range *port_bus_find(const struct port_bus *bus, u16 port)
{
    return &bus->ranges[bus->leaves[bus->pages[port >> 8]][port & 0xff]];
}

/* IN EAX: was it a call, and answered? */
static inline enum port_call port_bus_call(const struct port_bus *bus, struct vcpu *vcpu, u16 port)
{
    const struct port_range *range = port_bus_find(bus, port);

    return unlikely(range->call) ? range->call(vcpu, range->device) : PORT_CALL_NONE;
}

/*
 * port_bus_read without masking the result: inline in the way of IN, the shortest of all exits. A byte is
 * never beyond its range.
 */
static inline u32 port_bus_read_hot(const struct port_bus *bus, struct vcpu *vcpu, u16 port, unsigned size)
{
    const struct port_range *range = port_bus_find(bus, port);
    struct spinlock *lock = range->lock;
    u32 value;

    if (size > 1 && unlikely(port + size - 1 > range->last))
        return port_bus_read_bytes(bus, vcpu, port, size);
    if (!lock)
        return range->read(vcpu, range->device, port, size);
    spinlock_take(lock);
    value = range->read(vcpu, range->device, port, size);
    spinlock_release(lock);
    return value;
}

struct mmio_range {
    gpa_t start;
    u64 size;
    u64 (*read)(struct vcpu *vcpu, void *device, u64 offset, unsigned size);
    void (*write)(struct vcpu *vcpu, void *device, u64 offset, unsigned size, u64 value);
    void *device;
    struct spinlock *lock;
    const char *name;
};

#define MMIO_RANGES 16
struct mmio_bus {
    struct mmio_range ranges[MMIO_RANGES];
    u32 count;
};
int mmio_bus_add(struct mmio_bus *bus, const struct mmio_range *range);
/* The range that holds gpa .. gpa + size - 1 whole, or NULL. */
const struct mmio_range *mmio_bus_find(const struct mmio_bus *bus, gpa_t gpa, unsigned size);
/* Does nobody live in these addresses? */
bool mmio_bus_is_free(const struct mmio_bus *bus, gpa_t gpa, u64 bytes);
/* All ones where nobody lives. */
u64 mmio_bus_read(const struct mmio_bus *bus, struct vcpu *vcpu, gpa_t gpa, unsigned size);
void mmio_bus_write(const struct mmio_bus *bus, struct vcpu *vcpu, gpa_t gpa, unsigned size, u64 value);

/* 0, or negative: the guest gets #GP(0). */
struct msr_range {
    u32 first, last;
    int (*read)(struct vcpu *vcpu, u32 msr, u64 *value);
    int (*write)(struct vcpu *vcpu, u32 msr, u64 value);
    const char *reason; /* why the row exists */
};
/* Tables sorted by first, handed over by boot; binary search. */
struct msr_bus {
    const struct msr_range *ranges;
    u32 count;
};
const struct msr_range *msr_bus_find(const struct msr_bus *bus, u32 msr);

#endif
