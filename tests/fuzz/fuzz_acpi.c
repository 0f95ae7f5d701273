/* SPDX-License-Identifier: MIT */
/*
 * The parser of the machine's ACPI tables on arbitrary memory: the input is physical memory from 0 on, the
 * root pointer at its beginning. Signature and checksums are put right in what the parser sees; otherwise
 * hardly any input would get past them.
 */
// sources: drivers/acpi.c hv/lib/string.c
#include <stdlib.h>
#include <string.h>

#include "drivers/acpi.h"
#include "hv/lib/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t *memory;
static size_t memory_size;

void log_line(enum log_level level, const char *format, ...)
{
    (void)level;
    (void)format;
}

static void fix_sum(u8 *at, u64 size, u64 sum_offset)
{
    u8 sum = 0;
    u64 i;

    at[sum_offset] = 0;
    for (i = 0; i < size; i++)
        sum = (u8)(sum + at[i]);
    at[sum_offset] = (u8)-sum;
}

static const void *map(hpa_t address, u64 size)
{
    u8 *copy;

    if (address > memory_size || size > memory_size - address)
        return NULL;
    copy = malloc(size);
    memcpy(copy, memory + address, size);
    if (size >= 36)
        fix_sum(copy, size, 9);
    return copy;
}

static void unmap(const void *at, u64 size)
{
    (void)size;
    free((void *)(uintptr_t)at);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct acpi_memory access = {map, unmap};
    struct acpi_info info;
    u8 rsdp[36];

    if (size < sizeof(rsdp))
        return 0;
    memory = data;
    memory_size = size;
    memcpy(rsdp, data, sizeof(rsdp));
    memcpy(rsdp, "RSD PTR ", 8);
    fix_sum(rsdp, 20, 8);
    fix_sum(rsdp, 36, 32);
    acpi_parse(rsdp, &access, &info);
    if (info.cpu_count > ACPI_CPUS || info.ioapic_count > ACPI_IOAPICS || info.mcfg_count > ACPI_MCFG_RANGES)
        abort();
    acpi_find_rsdp(&access, rsdp);
    return 0;
}
