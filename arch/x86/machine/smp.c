/* SPDX-License-Identifier: MIT */
/*
 * Starting the other CPUs: INIT to all of them, then one after the other a start-up IPI, until it has come
 * here (boot/ap_trampoline.asm leads it) and its time stamp counter has been compared. One at a time, so that
 * there is one mailbox and no lock: the boot CPU fills it, the new CPU empties it. Intel SDM 3A, 9.4.4.
 *
 * A new CPU takes its first steps on the boot tables, as the boot CPU did, and all others on lintel's own. It
 * changes no MTRR: the firmware has made them alike.
 */
#include "arch/x86/machine/smp.h"

#include "arch/x86/machine/descriptors.h"
#include "arch/x86/machine/exception.h"
#include "arch/x86/machine/image.h"
#include "arch/x86/machine/lapic.h"
#include "arch/x86/machine/paging.h"
#include "arch/x86/machine/tsc.h"
#include "arch/x86/machine/tsc_offset.h"
#include "hv/lib/errno.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"

#define INIT_US     10000   /* between INIT and start-up IPI (SDM 3A, 9.4.4.1) */
#define AGAIN_US    200     /* until the start-up IPI is sent once more */
#define PATIENCE_US 5000000 /* a CPU that is not there by then does not come; emulators may be slow */

/* How far the CPU that is being started has come. */
enum step { STEP_CALLED, STEP_ARRIVED, STEP_FAILED, STEP_READY };

/*
 * The mailbox. The stack can be taken once: a CPU that wakes up late finds none and rests, unless the next
 * one's is there already; then its local APIC's number gives it away.
 */
u64 smp_root;  /* CR3 for lintel's own tables */
u64 smp_stack; /* 0: nobody is called */
static u32 step;
static const struct smp_hooks *hooks;
bool tsc_unsynchronised;

void smp_cpu_main(struct cpu *cpu);

static void step_reach(enum step reached)
{
    __atomic_store_n(&step, reached, __ATOMIC_RELEASE);
}

static enum step step_reached(void)
{
    return __atomic_load_n(&step, __ATOMIC_ACQUIRE);
}

/* ---------------------------------------------------------------- on the new CPU */

/* Called by boot/ap_trampoline.asm on the CPU's own stack. */
void smp_cpu_main(struct cpu *cpu)
{
    paging_load();
    descriptors_load(cpu);
    exception_load();
    host_lapic_enable();
    lapic_timer_start();
    if (host_lapic_id() != cpu->apic_id)
        cpu_halt_for_ever();
    step_reach(STEP_ARRIVED);
    if (hooks->start()) {
        step_reach(STEP_FAILED);
        cpu_halt_for_ever();
    }
    step_reach(STEP_READY);
    tsc_offset_answer();
    hooks->run();
}

/* ---------------------------------------------------------------- on the boot CPU */

static bool step_wait(enum step wanted, u64 patience)
{
    u64 start = read_tsc();

    while (step_reached() < wanted) {
        if (read_tsc() - start > patience)
            return false;
        cpu_pause();
    }
    return true;
}

/* 0, or what went wrong: -EIO when it does not answer, -ENODEV when it can't do what lintel needs. */
static int cpu_call(struct cpu *cpu, hpa_t page, struct tsc_offset *offset)
{
    u64 patience = tsc_from_us(PATIENCE_US);

    tsc_offset_prepare();
    step_reach(STEP_CALLED);
    __atomic_store_n(&smp_stack, cpu->stack_top, __ATOMIC_RELEASE);
    lapic_send_startup(cpu->apic_id, page);
    if (!step_wait(STEP_ARRIVED, tsc_from_us(AGAIN_US)))
        lapic_send_startup(cpu->apic_id, page);
    if (!step_wait(STEP_FAILED, patience))
        return -EIO;
    if (step_reached() == STEP_FAILED)
        return -ENODEV;
    return tsc_offset_measure(offset, patience);
}

/* Back to where it waits for a start-up IPI: whatever it was doing, it must not go on. */
static void cpu_withdraw(const struct cpu *cpu, int error)
{
    __atomic_store_n(&smp_stack, 0, __ATOMIC_RELEASE);
    lapic_send_init(cpu->apic_id);
    tsc_delay_us(INIT_US);
    if (error == -EIO)
        log_warning("The CPU with APIC number %u has not answered within %u s; it is left out.", cpu->apic_id,
                    PATIENCE_US / 1000000);
    else
        log_warning("The CPU with APIC number %u can't be used; it is left out.", cpu->apic_id);
}

static void cpu_welcome(struct cpu *cpu, const struct tsc_offset *offset)
{
    if (!tsc_offset_synchronised(offset)) {
        cpu->tsc_offset = (u64)offset->ticks;
        tsc_unsynchronised = true;
        log_warning("CPU %u: its time stamp counter is %lld ticks behind the boot CPU's (measured to within "
                    "%llu); lintel reckons with that.",
                    cpu->index, (long long)offset->ticks, (unsigned long long)offset->error);
    }
    cpu->online = true;
    WRITE_ONCE(cpu_count, cpu->index + 1);
    tsc_offset_finish();
}

/* The record of the next CPU, with its stacks; those of one that failed are not used again. */
static struct cpu *cpu_prepare(u32 apic_id)
{
    struct cpu *cpu = &cpus[cpu_count];

    *cpu = (struct cpu){.index = cpu_count, .apic_id = apic_id};
    if (descriptors_create_stacks(cpu)) {
        log_warning("The CPU with APIC number %u is left out: no memory is left for its stacks.", apic_id);
        return NULL;
    }
    return cpu;
}

/* Returns how far off the measurement of its time stamp counter may be; 0 when it does not run. */
static u64 cpu_start(u32 apic_id, hpa_t page)
{
    struct cpu *cpu = cpu_prepare(apic_id);
    struct tsc_offset offset;
    int error;

    if (!cpu)
        return 0;
    error = cpu_call(cpu, page, &offset);
    if (error) {
        cpu_withdraw(cpu, error);
        return 0;
    }
    cpu_welcome(cpu, &offset);
    return offset.error;
}

static bool is_other(u32 apic_id)
{
    if (apic_id == cpu_this()->apic_id)
        return false;
    if (lapic_can_reach(apic_id))
        return true;
    log_warning("The CPU with APIC number %u is left out: numbers above 254 need x2APIC mode.", apic_id);
    return false;
}

void smp_start(const u32 *apic_ids, u32 count, hpa_t page, const struct smp_hooks *new_hooks)
{
    u32 others[CPU_MAX], other_count = 0;
    u64 error = 0;

    for (u32 i = 0; i < count && other_count < CPU_MAX - 1; i++)
        if (is_other(apic_ids[i]))
            others[other_count++] = apic_ids[i];
    if (!other_count)
        return;
    if (!page) {
        log_warning("%u CPUs are left out: no memory below 1 MiB is free to start them from.", other_count);
        return;
    }
    hooks = new_hooks;
    smp_root = paging_root();
    memcpy(phys_to_virt(page), ap_trampoline, ap_trampoline_size);
    for (u32 i = 0; i < other_count; i++)
        lapic_send_init(others[i]);
    tsc_delay_us(INIT_US);
    for (u32 i = 0; i < other_count; i++) {
        u64 one = cpu_start(others[i], page);

        error = MAX(error, one);
    }
    log_info("%u of %u CPUs run; their time stamp counters were compared to within %llu ns", cpu_count,
             other_count + 1, (unsigned long long)tsc_to_ns(error));
}
