/* SPDX-License-Identifier: MIT */
/*
 * The buses: from a port, an address or an MSR to the handler that answers it. Filled when a VM is created,
 * only read while it runs, so that look-ups take no lock; the device's own lock is taken around its handler.
 * Reads on a bus never fail: where nobody answers all bits are one, as on PCI.
 */
#include "hv/run/bus.h"

#include "hv/lib/errno.h"

static u32 port_nobody_read(struct vcpu *vcpu, void *device, u16 port, unsigned size)
{
    (void)vcpu, (void)device, (void)port, (void)size;
    return ~0u;
}

static void port_nobody_write(struct vcpu *vcpu, void *device, u16 port, unsigned size, u32 value)
{
    (void)vcpu, (void)device, (void)port, (void)size, (void)value;
}

void port_bus_init(struct port_bus *bus)
{
    *bus = (struct port_bus){.count = 1, .leaf_count = 1};
    /*
     * An empty range: every access wider than a byte goes piece by piece, as a neighbour may answer a part of
     * it.
     */
    bus->ranges[0] =
        (struct port_range){.read = port_nobody_read, .write = port_nobody_write, .name = "nobody"};
}

/* Would the range fit: no port taken, and leaves enough for the pages that have none? */
static int port_bus_check(const struct port_bus *bus, const struct port_range *range)
{
    u32 leaves = bus->leaf_count;

    if (range->first > range->last)
        return -EINVAL;
    for (u32 port = range->first; port <= range->last; port++)
        if (port_bus_find(bus, (u16)port) != &bus->ranges[0])
            return -EEXIST;
    for (u32 page = range->first >> 8; page <= range->last >> 8; page++)
        leaves += bus->pages[page] == 0;
    return bus->count == PORT_RANGES || leaves > ARRAY_SIZE(bus->leaves) ? -ENOSPC : 0;
}

int port_bus_add(struct port_bus *bus, const struct port_range *range)
{
    struct port_range *added = &bus->ranges[bus->count];
    int err = port_bus_check(bus, range);

    if (err)
        return err;
    for (u32 port = range->first; port <= range->last; port++) {
        u8 *page = &bus->pages[port >> 8];

        if (*page == 0)
            *page = (u8)bus->leaf_count++;
        bus->leaves[*page][port & 0xff] = (u8)bus->count;
    }
    *added = *range;
    added->read = range->read ? range->read : port_nobody_read;
    added->write = range->write ? range->write : port_nobody_write;
    bus->count++;
    return 0;
}

/* What an access of 1, 2 or 4 bytes carries. */
static const u32 port_masks[] = {[1] = 0xff, [2] = 0xffff, [4] = 0xffffffff};

static inline u32 port_range_read(const struct port_range *range, struct vcpu *vcpu, u16 port, unsigned size)
{
    u32 value;

    if (range->lock)
        spinlock_take(range->lock);
    value = range->read(vcpu, range->device, port, size);
    if (range->lock)
        spinlock_release(range->lock);
    return value & port_masks[size];
}

static inline void port_range_write(const struct port_range *range, struct vcpu *vcpu, u16 port,
                                    unsigned size, u32 value)
{
    if (range->lock)
        spinlock_take(range->lock);
    range->write(vcpu, range->device, port, size, value & port_masks[size]);
    if (range->lock)
        spinlock_release(range->lock);
}

/* More than one range has a part of the access, or one and nobody: each byte goes where it belongs. */
u32 port_bus_read_bytes(const struct port_bus *bus, struct vcpu *vcpu, u16 port, unsigned size)
{
    u32 value = 0;

    for (unsigned i = 0; i < size; i++) {
        u32 byte = 0xff;

        if (port + i <= 0xffff)
            byte = port_range_read(port_bus_find(bus, (u16)(port + i)), vcpu, (u16)(port + i), 1);
        value |= byte << (8 * i);
    }
    return value;
}

static __attribute__((noinline)) void port_bus_write_bytes(const struct port_bus *bus, struct vcpu *vcpu,
                                                           u16 port, unsigned size, u32 value)
{
    for (unsigned i = 0; i < size && port + i <= 0xffff; i++)
        port_range_write(port_bus_find(bus, (u16)(port + i)), vcpu, (u16)(port + i), 1, value >> (8 * i));
}

u32 port_bus_read(struct port_bus *bus, struct vcpu *vcpu, u16 port, unsigned size)
{
    return port_bus_read_hot(bus, vcpu, port, size) & port_masks[size];
}

void port_bus_write(struct port_bus *bus, struct vcpu *vcpu, u16 port, unsigned size, u32 value)
{
    const struct port_range *range = port_bus_find(bus, port);

    if (unlikely(port + size - 1 > range->last))
        port_bus_write_bytes(bus, vcpu, port, size, value);
    else
        port_range_write(range, vcpu, port, size, value);
}

bool mmio_bus_is_free(const struct mmio_bus *bus, gpa_t gpa, u64 bytes)
{
    for (u32 i = 0; i < bus->count; i++) {
        const struct mmio_range *range = &bus->ranges[i];

        if (gpa < range->start + range->size && range->start < gpa + bytes)
            return false;
    }
    return true;
}

int mmio_bus_add(struct mmio_bus *bus, const struct mmio_range *range)
{
    if (range->size == 0 || range->start + range->size < range->start)
        return -EINVAL;
    if (!mmio_bus_is_free(bus, range->start, range->size))
        return -EEXIST;
    if (bus->count == MMIO_RANGES)
        return -ENOSPC;
    bus->ranges[bus->count++] = *range;
    return 0;
}

const struct mmio_range *mmio_bus_find(const struct mmio_bus *bus, gpa_t gpa, unsigned size)
{
    for (u32 i = 0; i < bus->count; i++) {
        const struct mmio_range *range = &bus->ranges[i];

        /* Below the start the difference wraps to something larger than any range. */
        if (gpa - range->start < range->size && range->size - (gpa - range->start) >= size)
            return range;
    }
    return NULL;
}

static u64 mmio_mask(unsigned size)
{
    return ~0ull >> (64 - 8 * size);
}

u64 mmio_bus_read(const struct mmio_bus *bus, struct vcpu *vcpu, gpa_t gpa, unsigned size)
{
    const struct mmio_range *range = mmio_bus_find(bus, gpa, size);
    u64 value;

    if (!range)
        return mmio_mask(size);
    if (range->lock)
        spinlock_take(range->lock);
    value = range->read(vcpu, range->device, gpa - range->start, size);
    if (range->lock)
        spinlock_release(range->lock);
    return value & mmio_mask(size);
}

void mmio_bus_write(const struct mmio_bus *bus, struct vcpu *vcpu, gpa_t gpa, unsigned size, u64 value)
{
    const struct mmio_range *range = mmio_bus_find(bus, gpa, size);

    if (!range)
        return;
    if (range->lock)
        spinlock_take(range->lock);
    range->write(vcpu, range->device, gpa - range->start, size, value & mmio_mask(size));
    if (range->lock)
        spinlock_release(range->lock);
}

const struct msr_range *msr_bus_find(const struct msr_bus *bus, u32 msr)
{
    u32 low = 0, high = bus->count;

    while (low < high) {
        u32 middle = low + (high - low) / 2;
        const struct msr_range *range = &bus->ranges[middle];

        if (msr < range->first)
            high = middle;
        else if (msr > range->last)
            low = middle + 1;
        else
            return range;
    }
    return NULL;
}
