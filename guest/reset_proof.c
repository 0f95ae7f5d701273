/* SPDX-License-Identifier: MIT */
/* What a VM is after its creation and after a reset, side by side (contract in the header). */
#include "guest/reset_proof.h"

#ifdef LINTEL_DEBUG
#include "guest/machine.h"
#include "hv/lib/panic.h"
#include "hv/lib/string.h"
#include "hv/memory/memory_audit.h"
#include "hv/run/vcpu_snapshot.h"

/*
 * What a reset does not bring back, because a real machine keeps it too, or because it is no state of the
 * machine: everything else must be as it was.
 */
struct kept {
    u32 at, bytes;
    const char *reason;
};
#define KEPT(type, member, reason)                                                \
    {                                                                             \
        offsetof(struct type, member), sizeof(((struct type *)0)->member), reason \
    }

/* clang-format off */
#define KEPT_TIMER(type, timer)                                                                       \
    KEPT(type, timer.queue, "on which CPU it waits"),                                                 \
    KEPT(type, timer.child, "its place in the queue"), KEPT(type, timer.sibling, "likewise"),         \
    KEPT(type, timer.link, "likewise")

static const struct kept kept_machine[] = {
    KEPT(machine, start_tsc, "when the guest's clocks were 0, in the host's time"),
    KEPT(machine, acpi_pm.start, "when the PM timer was 0, in the host's time"),
    KEPT(machine, rtc.base_tsc, "when the time of day was read, in the host's time"),
    KEPT(machine, rtc.base_seconds, "the time of day goes on"),
    KEPT(machine, rtc.cmos[0], "the time of day: seconds"),
    KEPT(machine, rtc.cmos[2], "minutes"),
    KEPT(machine, rtc.cmos[4], "hours"),
    KEPT(machine, rtc.cmos[6], "day of the week"),
    KEPT(machine, rtc.cmos[7], "day"),
    KEPT(machine, rtc.cmos[8], "month"),
    KEPT(machine, rtc.cmos[9], "year"),
    KEPT(machine, rtc.cmos[0x32], "century"),
    KEPT_TIMER(machine, pit.timer),
    KEPT_TIMER(machine, rtc.timer),
    KEPT_TIMER(machine, acpi_pm.timer),
    KEPT(machine, balloon.connection, "tells batches of an earlier connection from those of this one"),
    KEPT(machine, pci.bridge.lock, "counts who has taken it"),
    KEPT(machine, proof, "this proof's own"),
};

static const struct kept kept_vcpu[] = {
    KEPT(machine_vcpu, lapic.lock, "counts who has taken it"),
    KEPT_TIMER(machine_vcpu, lapic.timer),
};

/* A device on the PCI bus begins with it. */
static const struct kept kept_virtio[] = {
    KEPT(virtio, pci.lock, "counts who has taken it"),
    KEPT(virtio, log_limit, "what was said of it of late"),
};

static const struct kept kept_snapshot[] = {
    KEPT(vcpu_snapshot, tsc_offset, "the TSC is 0 again, and the host's has gone on"),
};
/* clang-format on */

/*
 * A device on the PCI bus. What is on a disk, or which medium is in, stays, too, and is not looked at: of
 * those only the virtio part.
 */
struct device {
    const char *what;
    const void *at;
    u64 bytes;
};
#define DEVICES_MOST (VM_DISKS_MAX + 4)

struct reset_proof {
    struct mmio_bus mmio;
    u64 ram;
    u32 requests[VM_VCPUS_MAX];
    struct vcpu_apic apic[VM_VCPUS_MAX];
    u8 *machine;                 /* the bytes of struct machine */
    u8 *snapshots;               /* one behind the other */
    u8 *pages;                   /* of the local APICs, where CPUs have them */
    void *devices[DEVICES_MOST]; /* in the order of devices_list */
};

/* Compared so far, or the first difference. */
struct comparison {
    const char *what;
    u32 vcpu; /* none: VM_VCPUS_MAX */
    u64 at, bytes;
    bool differs;
};

static u64 machine_size(const struct machine *m)
{
    return sizeof(*m) + m->vm->vcpu_count * sizeof(struct machine_vcpu);
}

static bool is_kept(const struct kept *list, unsigned count, u64 at)
{
    for (unsigned i = 0; i < count; i++)
        if (at >= list[i].at && at < (u64)list[i].at + list[i].bytes)
            return true;
    return false;
}

static void compare(struct comparison *c, const char *what, u32 vcpu, const void *was, const void *is,
                    u64 bytes, const struct kept *list, unsigned count)
{
    const u8 *a = was, *b = is;

    for (u64 i = 0; i < bytes && !c->differs; i++) {
        if (a[i] == b[i] || is_kept(list, count, i))
            continue;
        c->differs = true;
        c->what = what;
        c->vcpu = vcpu;
        c->at = i;
    }
    c->bytes += bytes;
}
#define COMPARE(c, what, vcpu, was, is, bytes, list) \
    compare(c, what, vcpu, was, is, bytes, list, ARRAY_SIZE(list))

static void *keep(const struct machine *m, const void *from, u64 bytes)
{
    void *copy = memory_alloc(bytes, frame_owner_support(m->vm->index));

    assert(copy); /* a debug build's machine has that much */
    if (from)
        memcpy(copy, from, bytes);
    return copy;
}

static void drop(const struct machine *m, void *copy, u64 bytes)
{
    memory_free(copy, bytes, frame_owner_support(m->vm->index));
}

static struct vcpu_snapshot *snapshot_of(const struct reset_proof *proof, u32 vcpu)
{
    return (struct vcpu_snapshot *)(proof->snapshots + vcpu * ALIGN_UP(vcpu_snapshot_bytes(), 64));
}

static u64 snapshots_size(const struct machine *m)
{
    return (m->vm->vcpu_count + 1) * ALIGN_UP(vcpu_snapshot_bytes(), 64); /* one more to compare with */
}

static u32 devices_list(const struct machine *m, struct device *list)
{
    u32 count = 0;

    for (u32 i = 0; i < m->disk_count; i++)
        list[count++] = (struct device){"a disk", &m->disks[i]->virtio, sizeof(struct virtio)};
    if (m->scsi)
        list[count++] = (struct device){"the CD drives' controller", &m->scsi->virtio, sizeof(struct virtio)};
    if (m->rng)
        list[count++] = (struct device){"the random number generator", m->rng, sizeof(*m->rng)};
    if (m->console)
        list[count++] = (struct device){"the virtio console", m->console, sizeof(*m->console)};
    if (m->virtio_balloon)
        list[count++] = (struct device){"the virtio balloon", m->virtio_balloon, sizeof(*m->virtio_balloon)};
    return count;
}

void reset_proof_begin(struct machine *m)
{
    struct reset_proof *proof = keep(m, NULL, sizeof(*proof));
    struct device devices[DEVICES_MOST];
    u32 device_count = devices_list(m, devices);
    struct vm *vm = m->vm;

    proof->mmio = vm->mmio;
    proof->ram = guest_memory_digest(&vm->memory);
    proof->snapshots = keep(m, NULL, snapshots_size(m));
    proof->pages = keep(m, NULL, vm->vcpu_count * PAGE_SIZE);
    for (u32 i = 0; i < device_count; i++)
        proof->devices[i] = keep(m, devices[i].at, devices[i].bytes);
    for (u32 i = 0; i < vm->vcpu_count; i++) {
        const struct vcpu *vcpu = vm->vcpus[i];

        vcpu_snapshot_read(vm->vcpus[i], snapshot_of(proof, i));
        proof->requests[i] = vcpu->requests;
        proof->apic[i] = vcpu->apic;
        if (vcpu->apic.page)
            memcpy(proof->pages + i * PAGE_SIZE, vcpu->apic.page, PAGE_SIZE);
    }
    proof->machine = keep(m, m, machine_size(m));
    m->proof = proof;
}

void reset_proof_end(struct machine *m)
{
    struct reset_proof *proof = m->proof;
    struct device devices[DEVICES_MOST];
    u32 device_count = devices_list(m, devices);

    if (!proof)
        return;
    drop(m, proof->machine, machine_size(m));
    for (u32 i = 0; i < device_count; i++)
        drop(m, proof->devices[i], devices[i].bytes);
    drop(m, proof->pages, m->vm->vcpu_count * PAGE_SIZE);
    drop(m, proof->snapshots, snapshots_size(m));
    drop(m, proof, sizeof(*proof));
    m->proof = NULL;
}

static void vcpu_compare(struct comparison *c, const struct reset_proof *proof, struct machine *m, u32 i)
{
    struct vcpu_snapshot *now = snapshot_of(proof, m->vm->vcpu_count);
    struct vcpu *vcpu = m->vm->vcpus[i];
    u64 at = sizeof(*m) + i * sizeof(m->vcpus[0]);

    vcpu_snapshot_read(vcpu, now);
    COMPARE(c, "the snapshot", i, snapshot_of(proof, i), now, now->bytes, kept_snapshot);
    COMPARE(c, "what the machine keeps", i, proof->machine + at, &m->vcpus[i], sizeof(m->vcpus[0]),
            kept_vcpu);
    compare(c, "what it is asked to look at", i, &proof->requests[i], &vcpu->requests, sizeof(vcpu->requests),
            NULL, 0);
    compare(c, "the use of the CPU's local APIC", i, &proof->apic[i], &vcpu->apic, sizeof(vcpu->apic), NULL,
            0);
    if (vcpu->apic.page)
        compare(c, "the local APIC's page", i, proof->pages + i * PAGE_SIZE, vcpu->apic.page, PAGE_SIZE, NULL,
                0);
}

void reset_proof_check(struct machine *m)
{
    const struct reset_proof *proof = m->proof;
    struct comparison c = {.vcpu = VM_VCPUS_MAX};
    struct device devices[DEVICES_MOST];
    u32 device_count = devices_list(m, devices);
    struct vm *vm = m->vm;

    COMPARE(&c, "the machine", VM_VCPUS_MAX, proof->machine, m, sizeof(*m), kept_machine);
    for (u32 i = 0; i < vm->vcpu_count; i++)
        vcpu_compare(&c, proof, m, i);
    for (u32 i = 0; i < device_count; i++)
        COMPARE(&c, devices[i].what, VM_VCPUS_MAX, proof->devices[i], devices[i].at, devices[i].bytes,
                kept_virtio);
    compare(&c, "the map of devices", VM_VCPUS_MAX, &proof->mmio, &vm->mmio, sizeof(vm->mmio), NULL, 0);
    if (c.differs && c.vcpu != VM_VCPUS_MAX)
        log_error("VM %s: after the reset it is not as new: %s of vCPU %u, byte %#llx", vm->name, c.what,
                  c.vcpu, (unsigned long long)c.at);
    else if (c.differs)
        log_error("VM %s: after the reset it is not as new: %s, byte %#llx", vm->name, c.what,
                  (unsigned long long)c.at);
    else if (vm->memory.frames != vm->memory.frames_most)
        /* The host had no more, and the guest's memory map, a part of the digest, says so. */
        log_debug("VM %s: is as new, with %llu of its %llu KiB of memory", vm->name,
                  (unsigned long long)guest_memory_bytes_of(&vm->memory, vm->memory.frames) / 1024,
                  (unsigned long long)vm->memory.bytes / 1024);
    else if (guest_memory_digest(&vm->memory) != proof->ram)
        log_error("VM %s: after the reset it is not as new: memory", vm->name);
    else
        log_debug("VM %s: is as new: memory, and %llu bytes of devices and vCPUs", vm->name,
                  (unsigned long long)c.bytes);
}
#endif
