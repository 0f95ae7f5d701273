/* SPDX-License-Identifier: MIT */
/*
 * One guest's machine: its devices and how their interrupt lines are wired. guest/machine.c puts it
 * together; device lock.
 */
#ifndef GUEST_MACHINE_H
#define GUEST_MACHINE_H

#include "guest/devices/acpi_pm.h"
#include "guest/devices/ioapic.h"
#include "guest/devices/lapic.h"
#include "guest/devices/pci.h"
#include "guest/devices/pic.h"
#include "guest/devices/pit.h"
#include "guest/devices/reset.h"
#include "guest/devices/rtc.h"
#include "guest/devices/uart.h"
#include "guest/devices/virtio_balloon.h"
#include "guest/devices/virtio_blk.h"
#include "guest/devices/virtio_console.h"
#include "guest/devices/virtio_rng.h"
#include "guest/devices/virtio_scsi.h"
#include "guest/devices/vmw_balloon.h"
#include "guest/policy/cpuid.h"
#include "guest/policy/kvmclock.h"
#include "guest/policy/msr.h"
#include "guest/policy/stealtime.h"
#include "guest/policy/vmware.h"
#include "hv/run/vm.h"

/* Where things are in guest-physical space and which lines they use: the one place that says so. */
#define MACHINE_LAPIC_BASE   0xfee00000ull
#define MACHINE_IOAPIC_BASE  0xfec00000ull
#define MACHINE_HOLE_START   0xc0000000ull
#define MACHINE_PCI_END      0xfec00000ull /* the hole up to here belongs to PCI */
#define MACHINE_PCI_BASE     0xfe000000ull /* BAR 0 of slot n is n steps above, until the guest moves it */
#define MACHINE_PCI_STEP     0x10000u
#define MACHINE_ACPI_BASE    0x000e0000ull /* tables, in RAM shown as reserved */
#define MACHINE_PM_BASE      0x600         /* PM1a event 0x600, control 0x604, timer 0x608 */
#define MACHINE_SCI          9
#define MACHINE_RESET_PORT   0xcf9
#define MACHINE_DISK_SLOT    1 /* of disk0 on the PCI bus; the next one is in the next slot */
#define MACHINE_SCSI_SLOT    9 /* of the controller of all CD drives */
#define MACHINE_RNG_SLOT     10
#define MACHINE_HVC_SLOT     11 /* of the virtio console */
#define MACHINE_BALLOON_SLOT 12

/* What the machine keeps for each vCPU. */
struct machine_vcpu {
    struct lapic lapic;
    struct kvmclock clock;
    struct stealtime steal;
    struct msr_state msrs;
};

struct machine {
    struct vm *vm;
    struct pic pic;
    struct pit pit;
    struct rtc rtc;
    struct uart uart;
    struct ioapic ioapic;
    struct acpi_pm acpi_pm;
    struct pci_host pci;
    struct reset_ports reset;
    struct vmw_balloon balloon;
    struct virtio_balloon *virtio_balloon; /* NULL: it has the other one */
    struct virtio_blk *disks[VM_DISKS_MAX];
    u32 disk_count;
    struct virtio_scsi *scsi;       /* NULL: no CD drive */
    struct virtio_console *console; /* NULL: not wanted */
    struct virtio_rng *rng;         /* NULL: not wanted, or the CPU has none */
    struct cpuid_policy cpuid;
    bool lapic_window_shown; /* spares the look whether it is; guest/devices/lapic_page.c */
#ifdef LINTEL_DEBUG
    struct reset_proof *proof; /* reset_proof.c */
#endif
    u64 start_tsc;               /* host TSC at which the guest's clocks were 0 */
    struct machine_vcpu vcpus[]; /* as many as the VM has */
};

/* Drive an ISA interrupt line (0 .. 15): PIC input and IOAPIC pin (line 0 is pin 2). Device lock held. */
void machine_set_line(struct machine *machine, unsigned line, bool level);

_Static_assert(MACHINE_DISK_SLOT + VM_DISKS_MAX <= MACHINE_SCSI_SLOT && MACHINE_BALLOON_SLOT < PCI_BUS_SLOTS,
               "a slot for each");

extern const struct machine_ops guest_machine_ops;

#endif
