/* SPDX-License-Identifier: MIT */
/*
 * The linear p2m list: one 8-byte entry per guest frame, indexed by gfn, in the VM's own window of lintel's
 * address space, spanning the whole guest-physical range of 48 bits. Holes are page-table entries that point
 * to one shared page of missing entries; whole page-table pages and directories of holes are shared too.
 * Lookups: any CPU, no lock, one load. Changes: under the VM's lock.
 */
#ifndef HV_MEMORY_P2M_H
#define HV_MEMORY_P2M_H

#include "hv/memory/frame.h"

#define P2M_INVALID   (~0ull) /* missing: a hole, or RAM not yet given */
#define P2M_IDENTITY  BIT(62) /* marks an entry whose machine frame equals the guest frame */
#define P2M_GFN_LIMIT BIT(36)

struct p2m {
    const u64 *list;       /* base of the window */
    u32 window;            /* 0 .. P2M_WINDOW_MAX - 1 */
    frame_owner_t support; /* owner of the list's own pages */
    hpa_t top;             /* the window's directory-pointer page */
    gfn_t recent;          /* gfn >> 9 of the leaf that was changed last: touches in a row need no walk */
    hpa_t recent_leaf;
    u64 pages;   /* private pages in use (leaves and tables) */
    u64 present; /* entries that hold a frame */
};

/* Once at boot, before any p2m_init: make the shared pages of holes. 0 or -ENOMEM. */
int p2m_global_init(void);

int p2m_init(struct p2m *p2m, u32 window, frame_owner_t support); /* 0 or -ENOMEM */
void p2m_destroy(struct p2m *p2m);

/* The machine frame, or P2M_INVALID (also beyond the range). The hot path: one comparison, one load. */
static inline u64 p2m_lookup(const struct p2m *p2m, gfn_t gfn)
{
    return likely(gfn < P2M_GFN_LIMIT) ? READ_ONCE(p2m->list[gfn]) : P2M_INVALID;
}

/*
 * The same from the tables themselves. Who finds nothing in the window and wants to act on it asks here,
 * since this CPU's TLB may still lead to a shared page of holes. Any CPU, no lock; under the VM's lock the
 * answer stays true.
 */
u64 p2m_lookup_slow(const struct p2m *p2m, gfn_t gfn);

/*
 * The first entry that is present in [gfn, end), or end. Holes are skipped by whole tables. Under the VM's
 * lock.
 */
gfn_t p2m_next_present(const struct p2m *p2m, gfn_t gfn, gfn_t end);

/* Set or remove (P2M_INVALID) one entry. 0; -ENOMEM (nothing changed); -EINVAL beyond the range. */
int p2m_set(struct p2m *p2m, gfn_t gfn, u64 entry);
/* Set an entry that is missing; -EEXIST when it is not. The short way of a first touch. */
int p2m_add(struct p2m *p2m, gfn_t gfn, u64 entry);
/* count entries of consecutive frames from mfn; all or nothing. */
int p2m_set_range(struct p2m *p2m, gfn_t gfn, mfn_t mfn, u64 count);

#ifdef LINTEL_HOST_TEST
/* Host tests supply the windows and what stands for the TLB. */
u64 p2m_host_window_base(u32 window);
void p2m_host_window_forget(const u64 *at);
void p2m_host_window_forget_all(void);
#endif

#endif
