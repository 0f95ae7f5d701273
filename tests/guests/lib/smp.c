/* SPDX-License-Identifier: MIT */
/* Starting vCPUs, giving them work, meeting them (contract in the header). */
#include "lib/smp.h"

#include "lib/tap.h"

#define MSR_GS_BASE   0xc0000101u
#define LEAF_TOPOLOGY 0xb
#define PATIENCE_S    60

struct smp_cpu smp_cpus[SMP_MAX];
unsigned smp_count;

/* ---------------------------------------------------------------- local APIC */

static void lapic_begin(void)
{
    if (smp_this()->x2apic) {
        wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | APIC_BASE_X2);
        wrmsr(MSR_X2APIC + LAPIC_SVR / 16, 0x1ff);
    } else {
        lapic_write(LAPIC_SVR, 0x1ff);
    }
}

void smp_use_x2apic(void)
{
    smp_this()->x2apic = true;
    lapic_begin();
}

void smp_send(u32 destination, u32 low)
{
    if (smp_this()->x2apic) {
        wrmsr(MSR_X2APIC + LAPIC_ICR / 16, (u64)destination << 32 | low);
        return;
    }
    lapic_write(LAPIC_ICR_HIGH, destination << 24);
    lapic_write(LAPIC_ICR, low);
}

void smp_eoi(void)
{
    if (smp_this()->x2apic)
        wrmsr(MSR_X2APIC + LAPIC_EOI / 16, 0);
    else
        lapic_eoi();
}

void smp_counted(struct frame *frame)
{
    WRITE_ONCE(smp_this()->interrupts[frame->vector], smp_this()->interrupts[frame->vector] + 1);
    if (frame->vector != VECTOR_NMI)
        smp_eoi();
}

/* ---------------------------------------------------------------- life of a vCPU */

static void cpu_begin(u32 id)
{
    struct smp_cpu *cpu = &smp_cpus[id];

    cpu->self = cpu;
    cpu->id = id;
    cpu->x2apic = smp_cpus[0].x2apic; /* as whoever started it */
    wrmsr(MSR_GS_BASE, (u64)cpu);
    lapic_begin();
    __atomic_store_n(&cpu->online, 1, __ATOMIC_RELEASE);
}

/* The job that vcpus.c starts. */
static void wait_for_jobs(u32 id)
{
    struct smp_cpu *cpu = &smp_cpus[id];

    cpu_begin(id);
    for (;;) {
        void (*job)(void) = __atomic_load_n(&cpu->job, __ATOMIC_ACQUIRE);

        if (!job) {
            interrupt_wait();
            continue;
        }
        interrupts_on();
        job();
        interrupts_off();
        __atomic_store_n(&cpu->job, NULL, __ATOMIC_RELEASE);
    }
}

void smp_setup(void)
{
    vcpus_setup();
    interrupt_handle(SMP_WAKE, smp_counted);
    smp_count = cpuid(LEAF_TOPOLOGY, 1).ebx;
    if (smp_count < 1 || smp_count > SMP_MAX)
        bail_out("CPUID 0xb tells of %u vCPUs", smp_count);
    cpu_begin(0);
}

bool smp_start(unsigned cpu)
{
    WRITE_ONCE(smp_cpus[cpu].online, 0);
    smp_cpus[cpu].job = NULL;
    vcpus[cpu].job = wait_for_jobs;
    smp_send(cpu, ICR_INIT);
    smp_send(cpu, ICR_SIPI | VCPU_VECTOR);
    smp_send(cpu, ICR_SIPI | VCPU_VECTOR);
    for (u32 i = 0; i < 100000 && !__atomic_load_n(&smp_cpus[cpu].online, __ATOMIC_ACQUIRE); i++)
        delay_us(100);
    return smp_cpus[cpu].online;
}

void smp_start_all(void)
{
    for (unsigned i = 1; i < smp_count; i++)
        if (!smp_start(i))
            bail_out("vCPU %u did not start", i);
}

/* ---------------------------------------------------------------- work */

void smp_run(unsigned cpu, void (*job)(void))
{
    __atomic_store_n(&smp_cpus[cpu].job, job, __ATOMIC_RELEASE);
    smp_send(cpu, ICR_FIXED | SMP_WAKE);
}

void smp_wait(unsigned cpu)
{
    for (u32 i = 0; i < PATIENCE_S * 10000; i++) {
        if (!__atomic_load_n(&smp_cpus[cpu].job, __ATOMIC_ACQUIRE))
            return;
        smp_yield();
        delay_us(100);
    }
    bail_out("vCPU %u has not finished its job", cpu);
}

void smp_run_all(void (*job)(void))
{
    for (unsigned i = 1; i < smp_count; i++)
        if (smp_cpus[i].online)
            smp_run(i, job);
    job();
    for (unsigned i = 1; i < smp_count; i++)
        if (smp_cpus[i].online)
            smp_wait(i);
}

void smp_barrier(void)
{
    static u32 arrived, generation;
    u32 before = __atomic_load_n(&generation, __ATOMIC_ACQUIRE), all = 0;

    for (unsigned i = 0; i < smp_count; i++)
        all += smp_cpus[i].online;
    if (__atomic_add_fetch(&arrived, 1, __ATOMIC_ACQ_REL) == all) {
        __atomic_store_n(&arrived, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&generation, before + 1, __ATOMIC_RELEASE);
        return;
    }
    while (__atomic_load_n(&generation, __ATOMIC_ACQUIRE) == before)
        smp_yield();
}
