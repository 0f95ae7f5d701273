/* SPDX-License-Identifier: MIT */
/* Which PCI functions the machine has (contract in the header). What they say is bounded, not believed. */
#include "drivers/pci.h"

#include <linux/pci_regs.h>

#include "hv/lib/log.h"
#include "hv/operator/console.h"

#define BUSES            256u
#define DEVICES          32u
#define FUNCTIONS        8u
#define NOBODY           0xffff
#define MULTI_FUNCTION   0x80
#define HEADER_TYPE      0x7f
#define CAPABILITIES_MAX 48u /* as many as there is room for */
#define BARS             6u

struct host_pci_function host_pci_functions[HOST_PCI_FUNCTIONS];
u32 host_pci_count;

u32 host_pci_read_32(u16 address, unsigned offset)
{
    return host_pci_access_read(address, offset);
}

u16 host_pci_read_16(u16 address, unsigned offset)
{
    return (u16)(host_pci_access_read(address, offset) >> 8 * (offset & 2));
}

u8 host_pci_read_8(u16 address, unsigned offset)
{
    return (u8)(host_pci_access_read(address, offset) >> 8 * (offset & 3));
}

/* ---------------------------------------------------------------- who is there */

struct scan {
    bool wanted[BUSES]; /* buses that somebody leads to; all lie behind the one that leads there */
    u32 buses, left_out;
};

static void function_note(struct scan *scan, u16 address)
{
    u32 id = host_pci_read_32(address, PCI_VENDOR_ID);

    if (host_pci_count == HOST_PCI_FUNCTIONS) {
        scan->left_out++;
        return;
    }
    host_pci_functions[host_pci_count++] =
        (struct host_pci_function){.address = address,
                                   .vendor = (u16)id,
                                   .device = (u16)(id >> 16),
                                   .class = host_pci_read_32(address, PCI_CLASS_REVISION) >> 8};
}

/* The type of its header; NOBODY: there is none. */
static unsigned function_look(struct scan *scan, u16 address)
{
    unsigned type;

    if (host_pci_read_16(address, PCI_VENDOR_ID) == NOBODY)
        return NOBODY;
    function_note(scan, address);
    type = host_pci_read_8(address, PCI_HEADER_TYPE);
    if ((type & HEADER_TYPE) == PCI_HEADER_TYPE_BRIDGE)
        scan->wanted[host_pci_read_8(address, PCI_SECONDARY_BUS)] = true;
    return type;
}

static void bus_look(struct scan *scan, u32 bus)
{
    scan->buses++;
    for (u32 device = 0; device < DEVICES; device++) {
        u16 first = (u16)(bus << 8 | device << 3);
        unsigned type = function_look(scan, first);

        if (type == NOBODY || !(type & MULTI_FUNCTION))
            continue;
        for (u32 function = 1; function < FUNCTIONS; function++)
            function_look(scan, (u16)(first | function));
    }
}

void host_pci_init(const struct acpi_info *acpi)
{
    struct scan scan = {.wanted = {[0] = true}};

    host_pci_access_init(acpi);
    host_pci_count = 0;
    for (u32 i = 0; i < acpi->mcfg_count; i++) /* a bus of its own behind another root */
        if (acpi->mcfg[i].segment == 0)
            scan.wanted[acpi->mcfg[i].first_bus] = true;
    for (u32 bus = 0; bus < BUSES; bus++)
        if (scan.wanted[bus])
            bus_look(&scan, bus);
    log_info("PCI: %u functions on %u buses, seen through %s", host_pci_count, scan.buses,
             host_pci_access_name());
    if (scan.left_out)
        log_warning("PCI: %u more functions are left out, as there is room for %u", scan.left_out,
                    HOST_PCI_FUNCTIONS);
}

void host_pci_show(void)
{
    console_printf("ADDRESS  VENDOR:DEVICE  CLASS\n");
    for (u32 i = 0; i < host_pci_count; i++) {
        const struct host_pci_function *function = &host_pci_functions[i];

        console_printf("%02x:%02x.%x  %04x:%04x      %06x\n", function->address >> 8,
                       function->address >> 3 & 0x1f, function->address & 7, function->vendor,
                       function->device, function->class);
    }
}

/* ---------------------------------------------------------------- one function */

u8 host_pci_capability(u16 address, u8 kind, u8 behind)
{
    u8 at = behind ? behind : PCI_CAPABILITY_LIST;

    if (!(host_pci_read_16(address, PCI_STATUS) & PCI_STATUS_CAP_LIST))
        return 0;
    at = host_pci_read_8(address, behind ? at + PCI_CAP_LIST_NEXT : at) & ~3u;
    for (u32 i = 0; i < CAPABILITIES_MAX && at >= PCI_STD_HEADER_SIZEOF; i++) {
        if (host_pci_read_8(address, at + PCI_CAP_LIST_ID) == kind)
            return at;
        at = host_pci_read_8(address, at + PCI_CAP_LIST_NEXT) & ~3u;
    }
    return 0;
}

hpa_t host_pci_bar(u16 address, unsigned bar)
{
    u32 low;
    u64 high = 0;

    if (bar >= BARS)
        return 0;
    low = host_pci_read_32(address, PCI_BASE_ADDRESS_0 + 4 * bar);
    if (low & PCI_BASE_ADDRESS_SPACE_IO)
        return 0;
    if ((low & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64) {
        if (bar + 1 == BARS)
            return 0;
        high = host_pci_read_32(address, PCI_BASE_ADDRESS_0 + 4 * (bar + 1));
    }
    return (high << 32 | (low & (u32)PCI_BASE_ADDRESS_MEM_MASK)) & BITS(51, 0);
}

u16 host_pci_port_bar(u16 address, unsigned bar)
{
    u32 low = host_pci_read_32(address, PCI_BASE_ADDRESS_0 + 4 * bar);

    return low & PCI_BASE_ADDRESS_SPACE_IO ? (u16)(low & (u32)PCI_BASE_ADDRESS_IO_MASK) : 0;
}

/* The status register stands above it, and would clear where it is written with ones. */
void host_pci_enable(u16 address, bool master)
{
    u32 command = host_pci_read_16(address, PCI_COMMAND);
    u8 msix = host_pci_capability(address, PCI_CAP_ID_MSIX, 0),
       msi = host_pci_capability(address, PCI_CAP_ID_MSI, 0);

    command |= PCI_COMMAND_MEMORY | PCI_COMMAND_IO | PCI_COMMAND_INTX_DISABLE;
    command = master ? command | PCI_COMMAND_MASTER : command & ~(u32)PCI_COMMAND_MASTER;
    if (msix)
        host_pci_access_write(address, msix,
                              host_pci_read_32(address, msix) & ~((u32)PCI_MSIX_FLAGS_ENABLE << 16));
    if (msi)
        host_pci_access_write(address, msi,
                              host_pci_read_32(address, msi) & ~((u32)PCI_MSI_FLAGS_ENABLE << 16));
    host_pci_access_write(address, PCI_COMMAND, command);
}
