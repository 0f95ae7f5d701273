/* SPDX-License-Identifier: MIT */
/*
 * The local APIC of this CPU through its registers (xAPIC) or MSRs (x2APIC), and the 8259 pair that it
 * replaces. host_lapic_init runs on the boot CPU after paging_init; everything else on any CPU, for that CPU
 * alone, so there is no lock. Intel SDM 3A, chapter 10 (xAPIC, x2APIC, TSC deadline); AMD APM 2, chapter 16.
 */
#include "arch/x86/machine/lapic.h"

#include "hv/lib/errno.h"

#include "arch/x86/machine/cpu.h"
#include "arch/x86/machine/exception.h"
#include "arch/x86/machine/paging.h"

/* Registers, as offsets into the xAPIC page; the x2APIC MSR is 0x800 + offset / 16. */
enum lapic_register {
    LAPIC_ID = 0x20,
    LAPIC_TPR = 0x80,
    LAPIC_EOI = 0xb0,
    LAPIC_SPURIOUS = 0xf0,
    LAPIC_IN_SERVICE = 0x100, /* eight of 32 bits, 0x10 apart */
    LAPIC_ERROR_STATUS = 0x280,
    LAPIC_ICR_LOW = 0x300,
    LAPIC_ICR_HIGH = 0x310,
    LAPIC_LVT_TIMER = 0x320,
    LAPIC_LVT_LINT0 = 0x350,
    LAPIC_LVT_LINT1 = 0x360,
    LAPIC_LVT_ERROR = 0x370,
    LAPIC_INITIAL_COUNT = 0x380,
    LAPIC_CURRENT_COUNT = 0x390,
    LAPIC_DIVIDE = 0x3e0,
};

#define APIC_BASE_X2APIC  BIT(10)
#define APIC_BASE_ENABLE  BIT(11)
#define APIC_BASE_ADDRESS BITS(51, 12)
#define X2APIC_MSR(reg)   (0x800 + (reg) / 16)
#define XAPIC_PAGE_SIZE   0x1000
#define XAPIC_ID_ALL      0xff /* every CPU */

#define SPURIOUS_ENABLE    BIT(8)
#define LVT_MASKED         BIT(16)
#define LVT_NMI            (4u << 8)
#define LVT_TIMER_DEADLINE (2u << 17)
#define ICR_NMI            (4u << 8)
#define ICR_INIT           (5u << 8)
#define ICR_STARTUP        (6u << 8)
#define ICR_ASSERT         BIT(14)
#define ICR_PENDING        BIT(12)
#define ICR_WAIT_MOST      100000 /* reads; an IPI that is not accepted by then is lost anyway */
#define DIVIDE_BY_1        0xb
#define COUNT_MOST         0xffffffffu

/* 8259A (Intel 231468): the pair must be initialised before its mask means anything. */
#define PIC_MASTER  0x20
#define PIC_SLAVE   0xa0
#define PIC_VECTORS 0x20 /* where spurious interrupts of the masked pair may still appear */

static bool use_x2apic;
static volatile u8 *xapic; /* NULL with x2APIC */

/* Timer ticks per TSC tick, 32 bits behind the point; 0 until calibrated. */
static u64 timer_ratio;

static u32 lapic_read(u32 reg)
{
    if (use_x2apic)
        return (u32)rdmsr(X2APIC_MSR(reg));
    return *(volatile u32 *)(xapic + reg);
}

static void lapic_write(u32 reg, u32 value)
{
    if (use_x2apic)
        wrmsr(X2APIC_MSR(reg), value);
    else
        *(volatile u32 *)(xapic + reg) = value;
}

static void pic_init(u16 port, u8 vectors, u8 cascade)
{
    out8(port, 0x11);        /* ICW1: edge, cascade, ICW4 follows */
    out8(port + 1, vectors); /* ICW2 */
    out8(port + 1, cascade); /* ICW3 */
    out8(port + 1, 0x01);    /* ICW4: 8086 mode */
    out8(port + 1, 0xff);    /* mask all */
}

int host_lapic_init(void)
{
    u64 base = rdmsr(MSR_APIC_BASE);

    pic_init(PIC_MASTER, PIC_VECTORS, BIT(2));
    pic_init(PIC_SLAVE, PIC_VECTORS + 8, 2);
    use_x2apic = cpu_features.x2apic || (base & APIC_BASE_X2APIC);
    if (use_x2apic)
        return 0;
    xapic = paging_map_device(base & APIC_BASE_ADDRESS, XAPIC_PAGE_SIZE, CACHE_UNCACHED, MAP_WRITE);
    return xapic ? 0 : -ENOMEM;
}

/* The firmware may have left anything behind: its timer runs on, its inputs are routed. */
void host_lapic_enable(void)
{
    u64 base = rdmsr(MSR_APIC_BASE) | APIC_BASE_ENABLE;

    wrmsr(MSR_APIC_BASE, base); /* x2APIC may only be entered from enabled xAPIC */
    if (use_x2apic)
        wrmsr(MSR_APIC_BASE, base | APIC_BASE_X2APIC);
    lapic_write(LAPIC_SPURIOUS, SPURIOUS_ENABLE | HOST_VECTOR_SPURIOUS);
    lapic_write(LAPIC_TPR, 0);
    lapic_write(LAPIC_LVT_TIMER, LVT_MASKED | HOST_VECTOR_TIMER);
    lapic_write(LAPIC_INITIAL_COUNT, 0);
    lapic_write(LAPIC_DIVIDE, DIVIDE_BY_1);
    lapic_write(LAPIC_LVT_LINT0, LVT_MASKED);
    lapic_write(LAPIC_LVT_LINT1, LVT_NMI);
    lapic_write(LAPIC_LVT_ERROR, LVT_MASKED);
    lapic_write(LAPIC_ERROR_STATUS, 0);
}

u32 host_lapic_id(void)
{
    u32 id = lapic_read(LAPIC_ID);

    return use_x2apic ? id : id >> 24;
}

void host_lapic_look_again(void)
{
    lapic_write(LAPIC_TPR, 0);
}

void host_lapic_eoi(void)
{
    lapic_write(LAPIC_EOI, 0);
}

bool lapic_in_service(u8 vector)
{
    return lapic_read(LAPIC_IN_SERVICE + vector / 32 * 0x10) >> vector % 32 & 1;
}

static void icr_write(u32 apic_id, u32 command)
{
    if (use_x2apic) {
        wrmsr(X2APIC_MSR(LAPIC_ICR_LOW), (u64)apic_id << 32 | command);
        return;
    }
    for (unsigned i = 0; i < ICR_WAIT_MOST && (lapic_read(LAPIC_ICR_LOW) & ICR_PENDING); i++)
        cpu_pause();
    lapic_write(LAPIC_ICR_HIGH, apic_id << 24);
    lapic_write(LAPIC_ICR_LOW, command);
}

void host_lapic_send_ipi(u32 apic_id, u8 vector)
{
    icr_write(apic_id, ICR_ASSERT | vector);
}

void lapic_send_nmi(u32 apic_id)
{
    icr_write(apic_id, ICR_ASSERT | ICR_NMI);
}

void lapic_send_init(u32 apic_id)
{
    icr_write(apic_id, ICR_ASSERT | ICR_INIT);
}

void lapic_send_startup(u32 apic_id, hpa_t page)
{
    icr_write(apic_id, ICR_ASSERT | ICR_STARTUP | (u32)(page >> PAGE_SHIFT));
}

bool lapic_can_reach(u32 apic_id)
{
    return use_x2apic || apic_id < XAPIC_ID_ALL;
}

/* ---------------------------------------------------------------- timer */

void lapic_timer_run_free(void)
{
    lapic_write(LAPIC_LVT_TIMER, LVT_MASKED | HOST_VECTOR_TIMER);
    lapic_write(LAPIC_INITIAL_COUNT, COUNT_MOST);
}

u32 lapic_timer_count(void)
{
    return lapic_read(LAPIC_CURRENT_COUNT);
}

void lapic_timer_set_rate(u64 timer_khz, u64 ticks_khz)
{
    timer_ratio = (timer_khz << 32) / ticks_khz;
}

/* From here on the timer's interrupts are let through. */
void lapic_timer_start(void)
{
    lapic_write(LAPIC_INITIAL_COUNT, 0);
    lapic_write(LAPIC_LVT_TIMER, HOST_VECTOR_TIMER | (cpu_features.tsc_deadline ? LVT_TIMER_DEADLINE : 0));
    asm volatile("mfence" : : : "memory"); /* SDM 3A, 10.5.4.1: before the first write to the deadline MSR */
}

/* Initial count for a distance in TSC ticks: at least 1, as 0 stops the timer. */
static u32 count_for(u64 ticks)
{
    unsigned __int128 count = (unsigned __int128)ticks * timer_ratio >> 32;

    return (u32)MIN(MAX(count, 1), COUNT_MOST);
}

void host_lapic_timer_set(u64 deadline_tsc)
{
    u64 now;

    if (cpu_features.tsc_deadline) {
        wrmsr(MSR_TSC_DEADLINE, deadline_tsc == ~0ull ? 0 : MAX(deadline_tsc, 1));
        return;
    }
    if (deadline_tsc == ~0ull) {
        lapic_write(LAPIC_INITIAL_COUNT, 0);
        return;
    }
    now = read_tsc();
    lapic_write(LAPIC_INITIAL_COUNT, deadline_tsc > now ? count_for(deadline_tsc - now) : 1);
}
