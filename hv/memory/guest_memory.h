/* SPDX-License-Identifier: MIT */
/*
 * One guest's physical memory: which ranges are RAM, which frames stand behind them (p2m), and what the CPU
 * sees of them (nested tables). Frames are promised at creation and given at first touch, or at once with
 * prefault. Everybody who touches guest memory on a guest's word comes through here: copied once, checked,
 * bounded.
 */
#ifndef HV_MEMORY_GUEST_MEMORY_H
#define HV_MEMORY_GUEST_MEMORY_H

#include "arch/x86/machine/nested_paging.h"
#include "arch/x86/machine/paging.h"
#include "hv/lib/lock.h"
#include "hv/memory/balloon.h"
#include "hv/memory/flush_debt.h"
#include "hv/memory/p2m.h"

#define GUEST_REGIONS 8

enum guest_region_type { REGION_RAM = 1, REGION_RESERVED = 2, REGION_ACPI = 3 }; /* as E820 numbers them */

/* A range of RAM-backed guest frames; what lies in none is a hole or a device. Bytes, page aligned. */
struct guest_region {
    gpa_t start, end;
    enum guest_region_type type;
};

/* A piece of guest memory that somebody names: an element of a vector. */
struct guest_segment {
    gpa_t gpa;
    u64 bytes;
};

/* Guest frames that lintel uses (guest_take.h): first to last, inclusive. */
#define GUEST_PINS 192
struct guest_pin {
    gfn_t first, last;
    u32 uses;
};

struct guest_memory {
    struct p2m p2m;
    struct nested_table nested;
    struct guest_region regions[GUEST_REGIONS]; /* sorted; also what the guest's memory map says */
    u32 region_count;
    u32 vm;         /* number, for owners */
    u64 page_limit; /* largest page given: PAGE_SIZE, SIZE_2M or SIZE_1G */
    u64 frames;     /* RAM-backed frames, all regions */
    u64 bytes;      /* as created, and frames of that: after a reset there may be less */
    u64 frames_most;
    u64 promise;               /* bytes of it promised at creation; 0: all */
    u64 tables;                /* frames promised for tables, in all */
    u64 leaving;               /* frames that have left the p2m, and are not given back yet */
    struct frame_list retired; /* tables, likewise, and which flush makes an end of it */
    u32 retired_debt;
    struct balloon balloon;
    struct guest_pin pins[GUEST_PINS];
    u32 pin_count;
    struct spinlock *lock;        /* the VM's; guards p2m, nested and all below */
    void (*flush)(void *context); /* ask that each vCPU drops its translations before it enters again */
    void (*flush_finish)(void *context); /* and wait until they have; no lock held. NULL: no vCPU runs */
    void *flush_context;
    struct flush_debt flush_debt;
    bool list_shared; /* the guest may see its p2m list: tables for that are promised, too */
    struct {
        gpa_t start;
        u64 bytes; /* 0: it sees it nowhere */
    } list;
};

/*
 * vm, page_limit, lock, the flush hooks, promise and nested.format/.pages_1g are set by the caller. Lays out
 * `bytes` of RAM (multiple of 4 KiB, at least 1 MiB): below 640 KiB and from 768 KiB to 3 GiB, the rest from
 * 4 GiB (guest_map.c); promises the frames, or those of `promise` bytes. -ENOMEM, -EINVAL.
 */
int guest_memory_create(struct guest_memory *memory, u64 bytes);
/* The part of it that fills regions and frames. -EINVAL. */
int guest_memory_lay_out(struct guest_memory *memory, u64 bytes);
/* Give back every frame, table and promise. No vCPU runs any more. */
void guest_memory_destroy(struct guest_memory *memory);
/*
 * All RAM zero again, as after creation (for a reset). What the guest had given away comes back as far as the
 * host has it; the memory map shows what is promised then, the target at least. No vCPU runs.
 */
void guest_memory_reset(struct guest_memory *memory);
/* Give every frame now. -ENOMEM. */
int guest_memory_prefault(struct guest_memory *memory);
/*
 * Change the type the memory map shows for a range inside RAM (page aligned; e.g. where ACPI tables lie).
 * -ENOSPC, -EINVAL
 */
int guest_memory_set_type(struct guest_memory *memory, gpa_t start, gpa_t end, enum guest_region_type type);

/* What the VM has and is promised; VM's lock held, or no vCPU runs. */
static inline u64 guest_memory_due(const struct guest_memory *memory)
{
    frame_owner_t owner = frame_owner_guest(memory->vm);

    return frame_owned(owner) + frame_promised(owner);
}
/* Raise it to so many frames, and what their tables need. 0, or -ENOMEM: as before. VM's lock held. */
int guest_memory_promise(struct guest_memory *memory, u64 frames);
/* How many frames so many bytes of the VM's memory are, and the other way round. */
static inline u64 guest_memory_frames_of(const struct guest_memory *memory, u64 bytes)
{
    return memory->frames_most - (memory->bytes - bytes) / PAGE_SIZE;
}
static inline u64 guest_memory_bytes_of(const struct guest_memory *memory, u64 frames)
{
    return memory->bytes - (memory->frames_most - frames) * PAGE_SIZE;
}

static inline bool guest_memory_is_ram(const struct guest_memory *memory, gpa_t gpa)
{
    for (u32 i = 0; i < memory->region_count; i++)
        if (gpa >= memory->regions[i].start && gpa < memory->regions[i].end)
            return true;
    return false;
}

/* Does RAM stand behind all of it, in adjoining regions of whatever type? False when the range overflows. */
bool guest_memory_is_backed(const struct guest_memory *memory, gpa_t gpa, u64 bytes);

/*
 * A nested page fault at gpa: give a frame if RAM is missing there and map it. 0: retry the instruction;
 * -ENXIO: no RAM there (a device or a hole); -ENOMEM: the host has no frame for it now, or none for tables.
 */
int guest_memory_fault(struct guest_memory *memory, gpa_t gpa);
/* One frame of RAM that is missing; VM's lock held. 0, -ENOMEM. */
int guest_memory_give_frame(struct guest_memory *memory, gfn_t gfn);
/* The same with pages up to `most`, PAGE_SIZE to SIZE_1G, as far as page_limit allows. */
int guest_memory_give(struct guest_memory *memory, gpa_t gpa, u64 most);

/*
 * Copy; RAM not yet given reads as zero without being given (read) or is given (write). -EFAULT: not all RAM;
 * -ENOMEM: as for a fault; nothing is said about how much was copied. Takes the VM's lock only when a frame
 * must be given.
 */
int guest_memory_read(struct guest_memory *memory, gpa_t gpa, void *to, u64 bytes);
int guest_memory_write(struct guest_memory *memory, gpa_t gpa, const void *from, u64 bytes)
    __attribute__((nonnull));
/* Give the frame that a write at gpa needs, if it is missing. 0, -EFAULT, -ENOMEM, likewise. */
int guest_memory_provide(struct guest_memory *memory, gpa_t gpa);
/*
 * The same by who is no part of an exit (hv/run/vm_flush.h), to the guest or from it: each page under the
 * VM's lock; what is missing is given either way. Any CPU; no lock from RANK_VM on held. guest_copy.c
 */
int guest_memory_copy(struct guest_memory *memory, gpa_t gpa, void *buffer, u64 bytes, bool to_guest);
int guest_memory_zero(struct guest_memory *memory, gpa_t gpa, u64 bytes);

/*
 * Two bytes at an even address, in one access: a vCPU that looks or writes meanwhile has all or nothing of
 * it. As above; -EINVAL: the address is odd.
 */
int guest_memory_read_u16(struct guest_memory *memory, gpa_t gpa, u16 *value);
int guest_memory_write_u16(struct guest_memory *memory, gpa_t gpa, u16 value);

/*
 * Let the CPU find this page behind gpa (page aligned), where no RAM is, if `wanted` still says so under the
 * VM's lock; until hidden, or reset. 0, -EAGAIN: not wanted, -ENOMEM: no tables. Any CPU; no lock held.
 * guest_window.c
 */
int guest_memory_show_window(struct guest_memory *memory, gpa_t gpa, const void *page,
                             bool (*wanted)(const void *context), const void *context);
/* Take it away again, if it is there. */
void guest_memory_hide_window(struct guest_memory *memory, gpa_t gpa);

/*
 * The guest's own view of its p2m list: the entries as they are from gpa (page aligned) on, up to the last
 * frame that the memory map names, in whole leaves. guest_list.c; any CPU, no lock held. 0; -EINVAL: not
 * aligned, or it ends beyond the guest's physical addresses; -EBUSY: not all of it is free; -EALREADY: it is
 * shown. What the bus has there is for the caller to look at.
 */
int guest_memory_show_list(struct guest_memory *memory, gpa_t gpa);
u64 guest_memory_list_bytes(const struct guest_memory *memory);
bool guest_memory_list_fits(const struct guest_memory *memory, gpa_t gpa);
/* Take it away: 0, or -ENOENT. And without a look at nested tables, which are cleared next; no vCPU runs. */
int guest_memory_hide_list(struct guest_memory *memory);
void guest_memory_forget_list(struct guest_memory *memory);

static inline bool guest_memory_in_list(const struct guest_memory *memory, gpa_t gpa)
{
    u64 bytes = __atomic_load_n(&memory->list.bytes, __ATOMIC_ACQUIRE);

    return gpa - READ_ONCE(memory->list.start) < bytes;
}

/* A read in it that no page answers yet: 0, retry the instruction; -ENOMEM. */
int guest_memory_list_fault(struct guest_memory *memory, gpa_t gpa);
/* What 1 to 8 bytes within a page of it read as. */
u64 guest_memory_list_read(struct guest_memory *memory, gpa_t gpa, unsigned bytes);
/* The page that is to be seen at gpa in it, lintel's own without fail. VM's lock held. */
hpa_t guest_memory_list_page(const struct guest_memory *memory, gpa_t gpa);

/*
 * The frame behind one gpa, mapped in the direct map; NULL when missing. Valid while the VM's lock is held or
 * the frame is pinned by use.
 */
static inline void *guest_memory_at(const struct guest_memory *memory, gpa_t gpa)
{
    u64 mfn = p2m_lookup(&memory->p2m, gpa >> PAGE_SHIFT);

    return mfn == P2M_INVALID ? NULL : phys_to_virt((mfn << PAGE_SHIFT) | (gpa & ~PAGE_MASK));
}

#endif
