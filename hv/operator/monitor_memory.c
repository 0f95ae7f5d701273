/* SPDX-License-Identifier: MIT */
/*
 * What the operator asks about guests' memory: the p2m list as ranges, and the proof that everything lintel
 * says about it agrees. As sched_work on the boot CPU.
 */
#include "hv/operator/monitor_memory.h"

#include "hv/memory/memory_audit.h"
#include "hv/operator/console.h"
#include "hv/run/vm.h"

#define RANGES_SHOWN 64 /* a guest can make a range of every frame */

typedef unsigned long long ull;

/* A VM that is not built has no list. */
static bool is_built(const struct vm *vm)
{
    if (!vm->built)
        console_printf("VM %s has no memory: it does not run.\n", vm->name);
    return vm->built;
}

/* A range of one kind, cut where the memory map changes between RAM and none. */
struct range {
    gfn_t start, end;
    enum p2m_kind kind;
    bool ram;
};

/* Where RAM ends, or begins, behind gfn. */
static gfn_t map_end(const struct guest_memory *memory, gfn_t gfn, bool ram)
{
    gfn_t end = P2M_GFN_LIMIT;

    for (u32 i = memory->region_count; i-- > 0;) {
        gfn_t border = (ram ? memory->regions[i].end : memory->regions[i].start) >> PAGE_SHIFT;

        /* Regions of different types adjoin: that is no border. */
        if (border > gfn && guest_memory_is_ram(memory, border << PAGE_SHIFT) != ram)
            end = border;
    }
    return end;
}

static struct range range_at(const struct guest_memory *memory, gfn_t gfn)
{
    struct range range = {
        .start = gfn,
        .kind = p2m_classify(&memory->p2m, gfn),
        .ram = guest_memory_is_ram(memory, gfn << PAGE_SHIFT),
    };

    range.end = p2m_kind_end(&memory->p2m, gfn, map_end(memory, gfn, range.ram), range.kind);
    return range;
}

static const char *range_name(const struct range *range)
{
    switch (range->kind) {
    case P2M_KIND_FRAME: return "given";
    case P2M_KIND_IDENTITY: return "identity";
    default: return range->ram ? "RAM not given" : "hole";
    }
}

static void range_show(const struct range *range)
{
    console_printf("  %012llx - %012llx %14llu KiB  %s\n", (ull)range->start << PAGE_SHIFT,
                   ((ull)range->end << PAGE_SHIFT) - 1, (ull)(range->end - range->start) * (PAGE_SIZE >> 10),
                   range_name(range));
}

static void list_dump(struct vm *vm)
{
    const struct p2m *p2m = &vm->memory.p2m;
    unsigned shown = 0, untold = 0;
    struct range range = {0};

    console_printf("VM %s: %llu frames given; the list takes %llu KiB, its info page is at %#llx\n", vm->name,
                   (ull)p2m->present, (ull)p2m->pages * (PAGE_SIZE >> 10), (ull)virt_to_phys(p2m->info));
    while (range.end < P2M_GFN_LIMIT) {
        spinlock_take(&vm->lock);
        range = range_at(&vm->memory, range.end);
        spinlock_release(&vm->lock);
        if (shown < RANGES_SHOWN) {
            range_show(&range);
            shown++;
        } else {
            untold++;
        }
    }
    if (untold)
        console_printf("  ... and %u ranges more\n", untold);
}

void p2m_dump_command(struct vm *vm, char *const *more)
{
    (void)more;
    if (is_built(vm))
        list_dump(vm);
}

void p2m_audit_command(struct vm *vm, char *const *more)
{
    char why[160];

    (void)more;
    if (!is_built(vm))
        return;
    if (guest_memory_audit(&vm->memory, why, sizeof(why)))
        console_printf("VM %s: %s.\n", vm->name, why);
    else
        console_printf("VM %s: list, nested tables, owners of frames and tree agree about %llu frames.\n",
                       vm->name, (ull)vm->memory.p2m.present);
}
