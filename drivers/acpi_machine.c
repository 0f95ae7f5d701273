/* SPDX-License-Identifier: MIT */
/* The parser of acpi.c on this machine's memory. Boot CPU, once, after paging_init. */
#include <asm-generic/errno.h>

#include "arch/x86/machine/paging.h"
#include "drivers/acpi.h"
#include "hv/lib/log.h"

static const void *map(hpa_t address, u64 size)
{
    return paging_map_device(address, size, CACHE_WRITE_BACK, 0);
}

static const struct acpi_memory machine_memory = {map, paging_unmap_device};

static void report(const struct acpi_info *info)
{
    log_info("ACPI: %u of %u CPUs usable, %u IOAPICs, power-off %s, HPET %s", info->cpu_count,
             info->cpu_count + info->cpus_disabled, info->ioapic_count,
             info->pm1a_control && info->sleep_type_a != ACPI_SLEEP_UNKNOWN ? "known" : "unknown",
             info->hpet_address ? "present" : "absent");
}

int acpi_init(const u8 *rsdp, bool efi, struct acpi_info *info)
{
    u8 found[36];
    int error;

    if (!rsdp && !efi && acpi_find_rsdp(&machine_memory, found) == 0)
        rsdp = found;
    if (!rsdp)
        log_warning("ACPI: neither the boot loader nor the BIOS area has a root pointer");
    error = acpi_parse(rsdp, &machine_memory, info);
    if (!error)
        report(info);
    return error;
}
