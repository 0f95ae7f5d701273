/* SPDX-License-Identifier: MIT */
/*
 * How many vCPUs there are, told four ways that must agree: MADT, MP table, CPUID, and who answers a SIPI.
 * Each one's numbers; and one that is taken away by INIT and started again, many times.
 */
// conf: vcpus = 6
#include "lib/smp.h"
#include "lib/tap.h"

#define VECTOR   0x50
#define RESTARTS 100

/* ---------------------------------------------------------------- tables in memory */

static u64 find(u64 from, u64 to, const char *signature, unsigned length)
{
    for (u64 at = from; at < to; at += 16)
        if (__builtin_memcmp((const void *)at, signature, length) == 0)
            return at;
    return 0;
}

/* Local APICs that are enabled, by the MADT of the XSDT. */
static unsigned count_in_madt(void)
{
    u64 rsdp = find(0xe0000, 0x100000, "RSD PTR ", 8);
    const u8 *xsdt = *(const u8 *const *)(rsdp + 24);
    unsigned found = 0;

    for (u32 i = 36; i + 8 <= *(const u32 *)(xsdt + 4); i += 8) {
        const u8 *table = *(const u8 *const *)(xsdt + i);

        if (__builtin_memcmp(table, "APIC", 4) != 0)
            continue;
        for (u32 at = 44; at < *(const u32 *)(table + 4); at += table[at + 1])
            found += table[at] == 0 && table[at + 3] == found && (table[at + 4] & 1);
    }
    return found;
}

static unsigned count_in_mp_table(void)
{
    u64 pointer = find(0xf0000, 0x100000, "_MP_", 4);
    const u8 *table = (const u8 *)(u64) * (const u32 *)(pointer + 4);
    unsigned found = 0;

    while (table[44 + 20 * found] == 0 && table[44 + 20 * found + 1] == found)
        found++;
    return found;
}

/* ---------------------------------------------------------------- each vCPU's own numbers */

enum { ID_LEAF_1, ID_LEAF_B, ID_LAPIC, ID_AMD, COUNT_LEAF_1, COUNT_LEAF_B };

static bool is_amd_topology(void)
{
    return cpuid(0x80000001u, 0).ecx & BIT(22);
}

static void look(void)
{
    u64 *seen = smp_this()->private;

    seen[ID_LEAF_1] = cpuid(1, 0).ebx >> 24;
    seen[ID_LEAF_B] = cpuid(0xb, 1).edx;
    seen[ID_LAPIC] = lapic_read(LAPIC_ID) >> 24;
    seen[ID_AMD] = is_amd_topology() ? cpuid(0x8000001eu, 0).eax : seen[ID_LEAF_1];
    seen[COUNT_LEAF_1] = cpuid(1, 0).ebx >> 16 & 0xff;
    seen[COUNT_LEAF_B] = cpuid(0xb, 1).ebx;
}

static bool numbers_are_right(unsigned cpu)
{
    const u64 *seen = smp_cpus[cpu].private;

    for (unsigned i = ID_LEAF_1; i <= ID_AMD; i++)
        if (seen[i] != cpu)
            return false;
    return seen[COUNT_LEAF_1] == smp_count && seen[COUNT_LEAF_B] == smp_count;
}

static void check_numbers(void)
{
    unsigned right = 0, bits = cpuid(0xb, 1).eax;

    smp_run_all(look);
    for (unsigned i = 0; i < smp_count; i++)
        right += numbers_are_right(i);
    ok(right == smp_count, "APIC IDs and counts agree on %u vCPUs", right);
    ok(cpuid(0xb, 0).ebx == 1 && 1u << bits >= smp_count && 1u << bits < 2 * smp_count,
       "one thread per core, %u bits of core number", bits);
    ok((cpuid(0x80000008u, 0).ecx & 0xff) == smp_count - 1 && (cpuid(1, 0).edx & BIT(28)),
       "80000008 and the HTT bit tell of as many");
}

/* ---------------------------------------------------------------- INIT and back */

static bool answers(unsigned cpu, unsigned patience)
{
    u32 before = READ_ONCE(smp_cpus[cpu].interrupts[VECTOR]);

    smp_send(cpu, ICR_FIXED | VECTOR);
    for (unsigned wait = 0; wait < patience; wait++) {
        if (READ_ONCE(smp_cpus[cpu].interrupts[VECTOR]) != before)
            return true;
        delay_us(50);
    }
    return false;
}

static void check_restarts(void)
{
    unsigned silent = 0, back = 0;

    for (unsigned i = 0; i < RESTARTS; i++) {
        unsigned cpu = 1 + i % (smp_count - 1);

        smp_send(cpu, ICR_INIT);
        if (i < smp_count)
            silent += !answers(cpu, 100);
        back += smp_start(cpu) && answers(cpu, 20000);
    }
    ok(silent == smp_count, "after INIT a vCPU takes nothing");
    ok(back == RESTARTS, "%u times away and back", back);
}

void guest_main(void)
{
    unsigned started = 1;

    plan(8);
    smp_setup();
    interrupt_handle(VECTOR, smp_counted);
    ok(count_in_madt() == smp_count, "the MADT has %u local APICs", count_in_madt());
    ok(count_in_mp_table() == smp_count, "the MP table has %u processors", count_in_mp_table());
    for (unsigned i = 1; i < smp_count; i++)
        started += smp_start(i);
    ok(started == smp_count, "%u vCPUs run", started);
    check_numbers();
    check_restarts();
}
