/* SPDX-License-Identifier: MIT */
/*
 * Every kind of interrupt between vCPUs, by xAPIC and x2APIC: who takes it, and that nobody else does (Intel
 * SDM 3A, 11.6 and 11.12.10).
 */
// conf: vcpus = 4
#include "lib/smp.h"
#include "lib/tap.h"

#define VECTOR    0x50
#define EVERYBODY 0xfu
#define OTHERS    0xeu
#define SETTLE_US 300

struct row {
    const char *name;
    u32 destination, low;
    u32 takers; /* one bit per vCPU */
};

/* LDR = 1 << ID. */
static const struct row flat_rows[] = {
    {"fixed, physical, 2", 2, ICR_FIXED | VECTOR, 1 << 2},
    {"fixed, physical, itself", 0, ICR_FIXED | VECTOR, 1 << 0},
    {"fixed, physical, nobody", 9, ICR_FIXED | VECTOR, 0},
    {"fixed, physical, broadcast", 0xff, ICR_FIXED | VECTOR, EVERYBODY},
    {"fixed, without assert", 2, VECTOR, 1 << 2},
    {"fixed, flat, 1 and 2", 0x06, ICR_LOGICAL | VECTOR, 1 << 1 | 1 << 2},
    {"fixed, flat, broadcast", 0xff, ICR_LOGICAL | VECTOR, EVERYBODY},
    {"fixed, flat, nobody", 0x30, ICR_LOGICAL | VECTOR, 0},
    {"lowest priority, flat", 0x0f, ICR_LOWEST | ICR_LOGICAL | VECTOR, 1 << 2},
    {"lowest priority, flat, 0 and 1", 0x03, ICR_LOWEST | ICR_LOGICAL | VECTOR, 1 << 1},
    {"lowest priority, others", 0, ICR_LOWEST | ICR_OTHERS | VECTOR, 1 << 2},
    {"fixed, self", 3, ICR_FIXED | ICR_SELF | VECTOR, 1 << 0},
    {"fixed, all", 3, ICR_FIXED | ICR_ALL | VECTOR, EVERYBODY},
    {"fixed, others", 3, ICR_FIXED | ICR_OTHERS | VECTOR, OTHERS},
    {"NMI, physical, 1", 1, ICR_NMI, 1 << 1},
    {"NMI, physical, itself", 0, ICR_NMI, 1 << 0},
    {"NMI, physical, broadcast", 0xff, ICR_NMI, EVERYBODY},
    {"NMI, flat, 0 and 3", 0x09, ICR_NMI | ICR_LOGICAL, 1 << 0 | 1 << 3},
    {"NMI, others", 0, ICR_NMI | ICR_OTHERS, OTHERS},
    {"NMI, self: no such shorthand", 0, ICR_NMI | ICR_SELF, 0},
    {"SMI: nobody has SMM", 0xff, ICR_SMI | ICR_OTHERS, 0},
    {"the reserved mode", 0xff, 3 << 8 | ICR_OTHERS | VECTOR, 0},
    {"INIT, de-asserted", 0, 5 << 8 | ICR_OTHERS | 1u << 15, 0},
};

/* Two clusters of two: LDR = ID / 2 << 4 | 1 << ID % 2. */
static const struct row cluster_rows[] = {
    {"fixed, cluster 0, first", 0x01, ICR_LOGICAL | VECTOR, 1 << 0},
    {"fixed, cluster 1, second", 0x12, ICR_LOGICAL | VECTOR, 1 << 3},
    {"fixed, cluster 1, both", 0x13, ICR_LOGICAL | VECTOR, 1 << 2 | 1 << 3},
    {"fixed, all clusters, first", 0xf1, ICR_LOGICAL | VECTOR, 1 << 0 | 1 << 2},
    {"fixed, all clusters, all", 0xff, ICR_LOGICAL | VECTOR, EVERYBODY},
    {"fixed, cluster 2: nobody", 0x23, ICR_LOGICAL | VECTOR, 0},
    {"lowest priority, cluster 0", 0x03, ICR_LOWEST | ICR_LOGICAL | VECTOR, 1 << 1},
};

/* x2APIC: cluster 0 has all four. */
static const struct row x2apic_rows[] = {
    {"fixed, physical, 3", 3, ICR_FIXED | VECTOR, 1 << 3},
    {"fixed, physical, 255 is nobody", 0xff, ICR_FIXED | VECTOR, 0},
    {"fixed, physical, broadcast", ICR_TO_EVERY, ICR_FIXED | VECTOR, EVERYBODY},
    {"fixed, logical, 1 and 2", 0x06, ICR_LOGICAL | VECTOR, 1 << 1 | 1 << 2},
    {"fixed, logical, cluster 1: nobody", 0x1000f, ICR_LOGICAL | VECTOR, 0},
    {"fixed, logical, broadcast", ICR_TO_EVERY, ICR_LOGICAL | VECTOR, EVERYBODY},
    {"lowest priority, logical", 0x0f, ICR_LOWEST | ICR_LOGICAL | VECTOR, 1 << 2},
    {"fixed, self", 0, ICR_FIXED | ICR_SELF | VECTOR, 1 << 0},
    {"fixed, all", 0, ICR_FIXED | ICR_ALL | VECTOR, EVERYBODY},
    {"fixed, others", 0, ICR_FIXED | ICR_OTHERS | VECTOR, OTHERS},
    {"NMI, physical, 2", 2, ICR_NMI, 1 << 2},
    {"NMI, logical, itself", 1, ICR_NMI | ICR_LOGICAL, 1 << 0},
    {"NMI, others", 0, ICR_NMI | ICR_OTHERS, OTHERS},
};

/* Task priorities for the arbitration: 2 is the least busy, then 1. All below VECTOR's class. */
static const u8 priorities[] = {0x40, 0x20, 0x10, 0x40};

/* ---------------------------------------------------------------- what each vCPU does */

static void set_flat(void)
{
    lapic_write(LAPIC_DFR, ~0u);
    lapic_write(LAPIC_LDR, 1u << (24 + smp_this()->id));
    lapic_write(LAPIC_TPR, priorities[smp_this()->id]);
}

static void set_cluster(void)
{
    u32 id = smp_this()->id;

    lapic_write(LAPIC_DFR, 0x0fffffff);
    lapic_write(LAPIC_LDR, (id / 2 << 4 | 1u << id % 2) << 24);
}

static void set_x2apic(void)
{
    smp_use_x2apic();
    wrmsr(MSR_X2APIC + LAPIC_TPR / 16, priorities[smp_this()->id]);
}

/* ---------------------------------------------------------------- checks */

static u32 taken(unsigned cpu)
{
    return READ_ONCE(smp_cpus[cpu].interrupts[VECTOR]) + READ_ONCE(smp_cpus[cpu].interrupts[VECTOR_NMI]);
}

static void forget(void)
{
    for (unsigned i = 0; i < smp_count; i++)
        smp_cpus[i].interrupts[VECTOR] = smp_cpus[i].interrupts[VECTOR_NMI] = 0;
}

/* Until each taker has it, or for so long that the others would have it too. */
static bool arrives(u32 takers)
{
    for (unsigned i = 0; i < smp_count; i++)
        for (unsigned wait = 0; (takers >> i & 1) && !taken(i) && wait < 20000; wait++)
            delay_us(50);
    delay_us(SETTLE_US);
    for (unsigned i = 0; i < smp_count; i++)
        if (taken(i) != (takers >> i & 1))
            return false;
    return true;
}

static void check_rows(const char *mode, const struct row *rows, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        bool right;

        forget();
        smp_send(rows[i].destination, rows[i].low);
        right = arrives(rows[i].takers);
        ok(right, "%s: %s (taken %u %u %u %u)", mode, rows[i].name, taken(0), taken(1), taken(2), taken(3));
    }
}

static void check_status(void)
{
    forget();
    smp_send(2, ICR_FIXED | VECTOR);
    ok(lapic_read(LAPIC_ICR) == (ICR_LEVEL | VECTOR) && lapic_read(LAPIC_ICR_HIGH) == 2u << 24 &&
           arrives(1 << 2),
       "ICR reads as written, and idle");
    lapic_write(LAPIC_ESR, 0);
    forget();
    smp_send(1, ICR_FIXED | 5);
    lapic_write(LAPIC_ESR, 0);
    ok(lapic_read(LAPIC_ESR) == 0x20 && arrives(0), "vector 5 is an error of the sender");
}

static bool is_off, be_on;

static void be_off(void)
{
    lapic_write(LAPIC_SVR, 0xff);
    __atomic_store_n(&is_off, true, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&be_on, __ATOMIC_ACQUIRE))
        smp_yield();
    lapic_write(LAPIC_SVR, 0x1ff);
}

/* A local APIC that its SVR switched off takes no fixed interrupt, but an NMI. */
static void check_switched_off(void)
{
    smp_run(1, be_off);
    while (!__atomic_load_n(&is_off, __ATOMIC_ACQUIRE))
        smp_yield();
    forget();
    smp_send(0, ICR_FIXED | ICR_OTHERS | VECTOR);
    ok(arrives(1 << 2 | 1 << 3), "a local APIC that is off takes no fixed interrupt");
    forget();
    smp_send(1, ICR_NMI);
    ok(arrives(1 << 1), "but it takes an NMI");
    __atomic_store_n(&be_on, true, __ATOMIC_RELEASE);
    smp_wait(1);
}

static void check_self_msr(void)
{
    u64 icr = 3ull << 32 | VECTOR;

    forget();
    wrmsr(MSR_X2APIC + 0x3f, VECTOR);
    ok(arrives(1 << 0), "x2APIC: SELF IPI");
    forget();
    wrmsr(MSR_X2APIC + LAPIC_ICR / 16, icr);
    ok(rdmsr(MSR_X2APIC + LAPIC_ICR / 16) == icr && arrives(1 << 3),
       "x2APIC: ICR reads as written, and idle");
}

void guest_main(void)
{
    plan(ARRAY_SIZE(flat_rows) + ARRAY_SIZE(cluster_rows) + ARRAY_SIZE(x2apic_rows) + 6);
    smp_setup();
    interrupt_handle(VECTOR, smp_counted);
    interrupt_handle(VECTOR_NMI, smp_counted);
    smp_start_all();
    interrupts_on();
    smp_run_all(set_flat);
    check_rows("xAPIC", flat_rows, ARRAY_SIZE(flat_rows));
    check_status();
    check_switched_off();
    smp_run_all(set_cluster);
    check_rows("xAPIC", cluster_rows, ARRAY_SIZE(cluster_rows));
    smp_run_all(set_x2apic);
    check_rows("x2APIC", x2apic_rows, ARRAY_SIZE(x2apic_rows));
    check_self_msr();
}
