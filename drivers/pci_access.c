/* SPDX-License-Identifier: MIT */
/*
 * PCI configuration space: in memory where ACPI's table MCFG says so (ECAM), else through a pair of ports
 * (mechanism 1). Boot CPU alone, so no lock. The window shows one bus, the one that was asked for last.
 */
#include "arch/x86/machine/cpu.h"
#include "arch/x86/machine/paging.h"
#include "drivers/pci.h"

#define ADDRESS_PORT   0xcf8
#define DATA_PORT      0xcfc
#define ADDRESS_ENABLE BIT(31)

#define ECAM_BUS      0x100000u
#define ECAM_FUNCTION 0x1000u

static const struct acpi_info *acpi;
static struct {
    const void *at; /* NULL: nothing is shown */
    u8 bus;
} window;

void host_pci_access_init(const struct acpi_info *info)
{
    acpi = info;
}

/* Segment 0 alone: what has another one is a large server's. */
static hpa_t ecam_of(u8 bus)
{
    for (u32 i = 0; i < acpi->mcfg_count; i++) {
        const struct acpi_mcfg_range *range = &acpi->mcfg[i];

        if (range->segment == 0 && bus >= range->first_bus && bus <= range->last_bus)
            return range->base + (u64)bus * ECAM_BUS;
    }
    return 0;
}

/* NULL: there is no ECAM for it, or no memory to show it. */
static volatile u32 *ecam_dword(u16 address, unsigned offset)
{
    u8 bus = (u8)(address >> 8);
    hpa_t hpa = ecam_of(bus);

    if (!hpa)
        return NULL;
    if (!window.at || window.bus != bus) {
        if (window.at)
            paging_unmap_device(window.at, ECAM_BUS);
        window.at = paging_map_device(hpa, ECAM_BUS, CACHE_UNCACHED, MAP_WRITE);
        window.bus = bus;
    }
    if (!window.at)
        return NULL;
    return (volatile u32 *)((u64)window.at + (address & 0xff) * ECAM_FUNCTION + (offset & ~3u));
}

static void port_select(u16 address, unsigned offset)
{
    out32(ADDRESS_PORT, (u32)(ADDRESS_ENABLE | (u32)address << 8 | (offset & 0xfc)));
}

u32 host_pci_access_read(u16 address, unsigned offset)
{
    volatile u32 *at = ecam_dword(address, offset);

    if (at)
        return *at;
    port_select(address, offset);
    return in32(DATA_PORT);
}

void host_pci_access_write(u16 address, unsigned offset, u32 value)
{
    volatile u32 *at = ecam_dword(address, offset);

    if (at) {
        *at = value;
        return;
    }
    port_select(address, offset);
    out32(DATA_PORT, value);
}

const char *host_pci_access_name(void)
{
    return ecam_of(0) ? "memory" : "ports";
}
