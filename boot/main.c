/* SPDX-License-Identifier: MIT */
/*
 * From the boot loader's hand to the first guest: the one place that knows every floor. Read it as a table of
 * contents. Runs on the boot CPU, interrupts off, on the stack that boot/entry.asm made. docs/tour.md starts
 * here.
 */
#include "arch/x86/machine/cpu.h"
#include "arch/x86/machine/descriptors.h"
#include "arch/x86/machine/exception.h"
#include "arch/x86/machine/fpu.h"
#include "arch/x86/machine/image.h"
#include "arch/x86/machine/ioapic.h"
#include "arch/x86/machine/lapic.h"
#include "arch/x86/machine/paging.h"
#include "arch/x86/machine/percpu.h"
#include "arch/x86/machine/smp.h"
#include "arch/x86/machine/tsc.h"
#include "boot/boot_info.h"
#include "boot/memory.h"
#include "drivers/acpi.h"
#include "drivers/drives.h"
#include "drivers/pci.h"
#include "drivers/power.h"
#include "drivers/screen.h"
#include "drivers/serial.h"
#include "drivers/vga_text.h"
#include "drivers/wall_clock.h"
#include "guest/machine.h"
#include "hv/lib/lock.h"
#include "hv/lib/panic.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"
#include "hv/operator/config.h"
#include "hv/operator/console.h"
#include "hv/operator/monitor.h"
#include "hv/operator/monitor_media.h"
#include "hv/run/memory_wait.h"
#include "hv/run/sched.h"
#include "hv/storage/media.h"

#define CONFIG_NAME "lintel.conf"

static struct boot_info boot_info;
static struct acpi_info acpi_info;
static struct config config;
static struct timer media_timer;

/*
 * A machine lintel can't run on is no fault of lintel's: one sentence, and the CPU rests. The last line says
 * "halted".
 */
NORETURN static void refuse(const char *sentence)
{
    log_error("halted: %s", sentence);
    screen_draw();
    serial_flush();
    cpu_halt_for_ever();
}

static bool describe_served(char *text, size_t size)
{
    const struct vcpu *vcpu = sched_cpus[cpu_this()->index].running;

    if (!vcpu)
        return false;
    snprintf(text, size, "VM %s, vCPU %u", vcpu->vm->name, vcpu->index);
    return true;
}

static u32 current_cpu(void)
{
    return cpu_this()->index;
}

static u64 log_clock(void)
{
    return tsc_to_ns(tsc_boot_now());
}

static void consoles_start(u32 tags)
{
    static const struct panic_hooks hooks = {.dump = exception_dump_trace,
                                             .cpu = current_cpu,
                                             .served = describe_served,
                                             .stop = exception_stop_cpus};
    char why[160];

    panic_hooks_set(&hooks);
    if (LOCKS_CHECKED)
        lock_check_start(current_cpu);
    descriptors_load(&cpus[0]);
    exception_init();
    exception_load();
    serial_init(serial_port("com1"));
    if (multiboot2_parse(phys_to_virt(tags), BOOT_TAGS_MAX, &boot_info, why, sizeof(why)))
        refuse(why);
    if (why[0])
        log_warning("%s", why); /* the first thing that was left out */
    if (framebuffer_early(&boot_info.framebuffer) && !boot_info.efi)
        vga_text_early();
    cpu_features_read();
    log_info("lintel " LINTEL_VERSION ", CPU %s, engine %s, memory %lluM", cpu_features.brand,
             cpu_features.svm   ? "AMD SVM"
             : cpu_features.vmx ? "Intel VMX"
                                : "none",
             (unsigned long long)boot_memory_total(&boot_info) >> 20);
    log_info("loaded by %s with %u module%s%s", boot_info.loader, boot_info.file_count,
             boot_info.file_count == 1 ? "" : "s", boot_info.efi ? ", by UEFI" : "");
}

static void machine_start(void)
{
    struct ioapic_description ioapics[ACPI_IOAPICS];
    struct tsc_reference reference = {0};

    boot_memory_init(&boot_info);
    framebuffer_remap();
    vga_text_remap();
    log_info("own page tables are on: %llu entries, none both writable and executable",
             (unsigned long long)paging_verify());
    acpi_init(boot_info.has_rsdp ? boot_info.rsdp_bytes : NULL, boot_info.efi, &acpi_info);
    power_init(&acpi_info);
    host_lapic_init();
    host_lapic_enable();
    cpus[0].apic_id = host_lapic_id();
    cpus[0].online = true;
    for (u32 i = 0; i < acpi_info.ioapic_count; i++)
        ioapics[i] = (struct ioapic_description){acpi_info.ioapics[i].address, acpi_info.ioapics[i].gsi_base};
    host_ioapic_init(ioapics, acpi_info.ioapic_count);
    reference.pm_timer_port = acpi_info.pm_timer;
    if (acpi_info.hpet_address)
        reference.hpet = paging_map_device(acpi_info.hpet_address, PAGE_SIZE, CACHE_UNCACHED, MAP_WRITE);
    tsc_calibrate(&reference);
    log_clock_set(log_clock);
    wall_clock_init();
    fpu_enable();
    host_pci_init(&acpi_info);
    log_info("time stamp counter %llu kHz, local APIC timer %llu kHz", (unsigned long long)tsc_khz,
             (unsigned long long)lapic_timer_khz);
}

/* By feature bits alone: a vendor's name proves nothing. A CPU has one of the two, if any. */
static void engine_start(void)
{
    char why[240];

    if (!cpu_features.svm && !cpu_features.vmx)
        refuse(
            "this CPU has neither AMD SVM (CPUID 80000001 ECX, bit 2, is clear) nor Intel VMX (CPUID 1 ECX, "
            "bit 5); if it should, look for virtualisation in the firmware's set-up");
    engine = cpu_features.vmx && !cpu_features.svm ? &engine_vmx : &engine_svm;
    if (engine->probe(why, sizeof(why)))
        refuse(why);
    if (engine->cpu_start())
        refuse("virtualisation could not be switched on");
}

static void config_error(const char *sentence)
{
    log_error("%s", sentence);
}

static void config_read(void)
{
    for (unsigned i = 0; i < boot_info.file_count; i++) {
        const struct boot_file *file = &boot_info.files[i];

        if (strcmp(file->name, CONFIG_NAME) != 0)
            continue;
        config_parse(CONFIG_NAME, (const char *)file->start, file->size, boot_info.files,
                     boot_info.file_count, &config, config_error);
        log_level_set(config.log_level);
        monitor_set_grace(config.shutdown_grace);
        monitor_set_files(boot_info.files, boot_info.file_count);
        media_set_default(config.media_poll_ms);
        if (serial_port(config.console) != serial_port("com1") && serial_init(serial_port(config.console)))
            log_warning(CONFIG_NAME ": console = %s is not there; the line stays where it is",
                        config.console);
        return;
    }
    log_error("there is no module named " CONFIG_NAME
              "; tools/mkiso packs it, or grub.cfg names it in a module2 line");
}

/* Returns how many VMs run. */
static u32 vms_start(void)
{
    u32 running = 0;

    for (u32 i = 0; i < config.vm_count; i++) {
        struct console *console = console_create(config.vms[i].name, i);
        struct vm *vm = console ? vm_create(&config.vms[i], console) : NULL;

        if (!vm) {
            log_error("VM %s: no memory is left to describe it", config.vms[i].name);
            continue;
        }
        if (!running)
            console_focus(console); /* the first VM that runs has the line */
        if (vm_start(vm) == 0)
            running++;
    }
    if (running)
        return running;
    log_warning("no VM runs; the monitor is at the prompt below (help lists its commands)");
    console_focus(NULL);
    return 0;
}

static u64 clock_ms(void)
{
    return tsc_to_ns(tsc_boot_now()) / 1000000;
}

static void media_fire(struct timer *timer)
{
    (void)timer;
    media_alarm();
}

/* Under a lock of media.c's, which the timer is the property of. */
static void media_alarm_set(u64 ms)
{
    if (ms == ~0ull)
        timer_cancel(&media_timer);
    else
        timer_set(&media_timer, ms * tsc_khz);
}

static void storage_start(void)
{
    static const struct media_host media_host = {clock_ms, media_alarm_set};

    timer_init(&media_timer, sched_timers(0), media_fire);
    media_start(&media_host);
}

static void operator_start(void)
{
    static const struct monitor_host host = {
        .power_off = power_off, .reset = machine_reset, .pci_show = host_pci_show};

    sched_init();
    memory_wait_init();
    screen_draw_by(sched_timers(0));
    if (serial_take_interrupts(&acpi_info, cpus[0].apic_id))
        log_warning("the serial line's interrupt can't be routed: nothing can be typed");
    monitor_init(&host);
    vm_set_ended_hook(monitor_vm_ended);
}

static int cpu_join(void)
{
    fpu_enable();
    return engine->cpu_start();
}

static void cpus_start(void)
{
    static const struct smp_hooks hooks = {.start = cpu_join, .run = sched_loop};

    smp_start(acpi_info.apic_ids, acpi_info.cpu_count, boot_memory_start_page(), &hooks);
    boot_memory_free_start_page();
}

static void windows_flush(void)
{
    sched_call_all(p2m_windows_forget);
}

/* What the start cost and what lintel took, for docs and benchmarks. */
static void say_ready(u64 entry, u32 running)
{
    log_info("ready: %s %llu ticks after lintel's entry; lintel itself holds %llu bytes of %llu bytes of RAM",
             running ? "the first guest enters" : "without a guest,",
             (unsigned long long)(read_tsc() - entry),
             (unsigned long long)(frame_owned(FRAME_OWNER_HYPERVISOR) * PAGE_SIZE),
             (unsigned long long)boot_memory_total(&boot_info));
}

/*
 * Called by boot/entry.asm, which has checked the loader's magic already. tags: where the loader left them.
 */
NORETURN void boot_main(u32 magic, u32 tags)
{
    u64 entry = read_tsc();
    u32 running;

    (void)magic;
    consoles_start(tags);
    machine_start();
    engine_start();
    operator_start();
    storage_start();
    cpus_start();
    if (p2m_global_init())
        refuse("there is not even memory for the shared pages of p2m lists");
    p2m_set_flush_hook(windows_flush);
    machine = &guest_machine_ops;
    rtc_wall_clock_seconds = wall_clock_seconds;
    config_read();
    host_drives_start(&config);
    running = vms_start();
    say_ready(entry, running);
    sched_loop();
}
