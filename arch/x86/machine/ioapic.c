/* SPDX-License-Identifier: MIT */
/*
 * The machine's IOAPICs. Boot CPU at boot; later callers hold the device's own lock, and inputs of different
 * devices share only the index register, which ioapic_lock guards. Intel 82093AA data sheet.
 */
#include "arch/x86/machine/ioapic.h"

#include "hv/lib/errno.h"

#include "arch/x86/machine/paging.h"
#include "hv/lib/lock.h"

#define IOAPIC_MAX   16
#define IOAPIC_BYTES 0x20
#define IOAPIC_DATA  0x10

#define REGISTER_VERSION           0x01
#define REGISTER_ENTRY_LOW(input)  (0x10 + 2 * (input))
#define REGISTER_ENTRY_HIGH(input) (0x11 + 2 * (input))

#define ENTRY_ACTIVE_LOW BIT(13)
#define ENTRY_LEVEL      BIT(15)
#define ENTRY_MASKED     BIT(16)

static struct ioapic {
    volatile u8 *registers;
    u32 gsi_base, inputs;
} ioapics[IOAPIC_MAX];
static unsigned ioapic_count;

/* Guards the index registers: index and data belong together. */
static struct spinlock ioapic_lock = SPINLOCK_INIT(RANK_PAGING);

static u32 ioapic_read(const struct ioapic *ioapic, u32 reg)
{
    *(volatile u32 *)ioapic->registers = reg;
    return *(volatile u32 *)(ioapic->registers + IOAPIC_DATA);
}

static void ioapic_write(const struct ioapic *ioapic, u32 reg, u32 value)
{
    *(volatile u32 *)ioapic->registers = reg;
    *(volatile u32 *)(ioapic->registers + IOAPIC_DATA) = value;
}

static void mask_all(const struct ioapic *ioapic)
{
    for (u32 input = 0; input < ioapic->inputs; input++)
        ioapic_write(ioapic, REGISTER_ENTRY_LOW(input), ENTRY_MASKED);
}

int host_ioapic_init(const struct ioapic_description *descriptions, unsigned count)
{
    for (unsigned i = 0; i < MIN(count, (unsigned)IOAPIC_MAX); i++) {
        struct ioapic *ioapic = &ioapics[ioapic_count];

        ioapic->registers =
            paging_map_device(descriptions[i].address, IOAPIC_BYTES, CACHE_UNCACHED, MAP_WRITE);
        if (!ioapic->registers)
            return -ENOMEM;
        ioapic->gsi_base = descriptions[i].gsi_base;
        ioapic->inputs = (ioapic_read(ioapic, REGISTER_VERSION) >> 16 & 0xff) + 1;
        mask_all(ioapic);
        ioapic_count++;
    }
    return 0;
}

/* The IOAPIC that has the input, and which of its inputs it is; NULL when there is none. */
static const struct ioapic *ioapic_find(u32 gsi, u32 *input)
{
    for (unsigned i = 0; i < ioapic_count; i++) {
        *input = gsi - ioapics[i].gsi_base;
        if (*input < ioapics[i].inputs)
            return &ioapics[i];
    }
    return NULL;
}

int host_ioapic_route(u32 gsi, u8 vector, u32 apic_id, bool level_triggered, bool active_low)
{
    u32 input, low = vector;
    const struct ioapic *ioapic = ioapic_find(gsi, &input);

    if (!ioapic || apic_id > 0xff)
        return -ENODEV;
    low |= level_triggered ? (u32)ENTRY_LEVEL : 0;
    low |= active_low ? (u32)ENTRY_ACTIVE_LOW : 0;
    spinlock_take(&ioapic_lock);
    ioapic_write(ioapic, REGISTER_ENTRY_LOW(input), ENTRY_MASKED);
    ioapic_write(ioapic, REGISTER_ENTRY_HIGH(input), apic_id << 24);
    ioapic_write(ioapic, REGISTER_ENTRY_LOW(input), low);
    spinlock_release(&ioapic_lock);
    return 0;
}
