/* SPDX-License-Identifier: MIT */
/*
 * `balloon`: how much memory each VM is to keep, and the operator's word about it. As sched_work on the boot
 * CPU.
 */
#include "hv/operator/monitor_balloon.h"

#include <linux/virtio_balloon.h>

#include "arch/x86/machine/tsc.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"
#include "hv/operator/config_values.h"
#include "hv/operator/console.h"
#include "hv/run/vm.h"

typedef unsigned long long ull;

#define MIB(frames) ((ull)(frames) >> (20 - PAGE_SHIFT))

/* Rounded up: the frames that a PC's memory map lacks below 1 MiB are counted as `memory` does. */
static ull mebibytes(const struct guest_memory *memory, u64 frames)
{
    return (ull)guest_memory_bytes_of(memory, frames) >> 20;
}

static void head_show(void)
{
    console_printf("%-20s %10s %10s %10s %12s %10s\n", "NAME", "TARGET", "CURRENT", "LIMIT", "RATE",
                   "REFUSED");
}

static void vm_show(struct vm *vm)
{
    const struct guest_memory *memory = &vm->memory;
    const struct balloon *balloon = &memory->balloon;
    u64 target, current, limit, rate, refused;

    if (!vm->built) {
        console_printf("%-20s does not run\n", vm->name);
        return;
    }
    spinlock_take(&vm->lock);
    target = balloon->target;
    current = memory->frames - balloon->locked;
    limit = balloon->limit;
    rate = balloon->rate;
    refused = balloon->refused;
    spinlock_release(&vm->lock);
    console_printf("%-20s %6llu MiB %6llu MiB ", vm->name, mebibytes(memory, target),
                   mebibytes(memory, current));
    if (limit)
        console_printf("%6llu MiB ", MIB(limit));
    else
        console_printf("%10s ", "unknown");
    console_printf("%8llu p/s %10llu\n", (ull)rate, (ull)refused);
}

/* What its driver has said of its memory; a virtio balloon's alone does. */
static void statistics_show(struct vm *vm)
{
    static const struct {
        u32 number;
        unsigned shift; /* bytes are shown in MiB */
        const char *what;
    } rows[] = {
        {VIRTIO_BALLOON_S_MEMTOT, 20, "MiB in all"},      {VIRTIO_BALLOON_S_MEMFREE, 20, "MiB free"},
        {VIRTIO_BALLOON_S_AVAIL, 20, "MiB available"},    {VIRTIO_BALLOON_S_CACHES, 20, "MiB of caches"},
        {VIRTIO_BALLOON_S_SWAP_IN, 20, "MiB swapped in"}, {VIRTIO_BALLOON_S_SWAP_OUT, 20, "MiB swapped out"},
        {VIRTIO_BALLOON_S_MINFLT, 0, "faults"},           {VIRTIO_BALLOON_S_MAJFLT, 0, "faults with reads"},
    };
    struct balloon_statistics said;
    char text[CONSOLE_PRINTF_MAX / 2];
    u64 now = read_tsc();
    size_t used = 0;

    spinlock_take(&vm->lock);
    said = vm->memory.balloon.statistics;
    spinlock_release(&vm->lock);
    if (!said.known)
        return;
    for (u32 i = 0; i < ARRAY_SIZE(rows); i++)
        if (said.known & BIT(rows[i].number))
            used += (size_t)snprintf(text + used, sizeof(text) - used, ", %llu %s",
                                     (ull)said.values[rows[i].number] >> rows[i].shift, rows[i].what);
    if (now < said.at) /* another CPU's clock may be a little ahead */
        now = said.at;
    console_printf("VM %s's driver said %llu s ago: %s. It is asked anew.\n", vm->name,
                   (ull)(now - said.at) / (tsc_khz * 1000), text + 2);
}

static void all_show(void)
{
    head_show();
    for (u32 i = 0; i < vm_count; i++)
        vm_show(vms[i]);
}

/* The target is set; the host has promised what that takes. */
static void target_tell(struct vm *vm, u64 bytes)
{
    bool told = machine->balloon_ask(vm);

    console_printf("VM %s is to keep %lluM of %lluM", vm->name, (ull)bytes >> 20,
                   mebibytes(&vm->memory, vm->memory.frames));
    if (told)
        console_printf("; its driver has been told.\n");
    else if (vm->memory.balloon.limit)
        console_printf("; its driver asks once a second.\n");
    else
        console_printf("; no balloon driver of it has asked yet.\n");
}

static void target_set(struct vm *vm, u64 bytes)
{
    struct guest_memory *memory = &vm->memory;
    u64 frames = guest_memory_frames_of(memory, bytes), due = guest_memory_due(memory);
    struct frame_statistics now;

    if (balloon_set_target(memory, frames) == 0) {
        target_tell(vm, bytes);
        return;
    }
    frame_statistics(&now);
    console_printf(
        "VM %s is not promised %lluM: it has %lluM of that, and the machine has %lluM left that is "
        "not promised.\n",
        vm->name, (ull)bytes >> 20, mebibytes(memory, due), MIB(now.free - now.promised));
}

void balloon_command(struct vm *vm, char *const *more)
{
    u64 bytes;

    if (!vm) {
        all_show();
        return;
    }
    if (!more[0]) {
        head_show();
        vm_show(vm);
        if (vm->built) {
            statistics_show(vm);
            machine->balloon_ask(vm);
        }
        return;
    }
    if (!vm->built)
        console_printf("VM %s has no memory: it does not run.\n", vm->name);
    else if (!config_size_parse(span_of(more[0]), &bytes) || bytes < vm->config->balloon_min ||
             bytes > vm->config->balloon_max)
        console_printf("VM %s can't keep %s; right would be a size from %lluM (balloon.min) to %lluM "
                       "(balloon.max).\n",
                       vm->name, more[0], (ull)vm->config->balloon_min >> 20,
                       (ull)vm->config->balloon_max >> 20);
    else
        target_set(vm, bytes);
}
