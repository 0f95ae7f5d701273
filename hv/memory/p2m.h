/* SPDX-License-Identifier: MIT */
/*
 * The linear p2m list: one 8-byte entry per guest frame, indexed by gfn, in the VM's own window of lintel's
 * address space, spanning the whole guest-physical range of 48 bits. Holes are page-table entries that point
 * to one shared page of missing or of identity entries; whole page-table pages and directories of holes are
 * shared too. Lookups: any CPU, no lock, one load. Changes: under the VM's lock.
 *
 * Beside it stands the same list as a tree of machine frame numbers, for tools that read memory from outside
 * (docs/abi.md): three levels of pages of 512 numbers above the list's own pages.
 */
#ifndef HV_MEMORY_P2M_H
#define HV_MEMORY_P2M_H

#include "hv/lib/lock.h"
#include "hv/memory/frame.h"

#define P2M_INVALID   (~0ull) /* missing: a hole, or RAM not given now */
#define P2M_IDENTITY  BIT(62) /* marks an entry whose machine frame equals the guest frame */
#define P2M_GFN_LIMIT BIT(36)
#define P2M_LEVELS    3u /* of page tables above the list's pages, and of the tree */
#define P2M_ENTRIES   512ull

/* What a reader of memory images finds; one page per VM. */
struct p2m_info {
    u8 magic[8];    /* P2M_INFO_MAGIC */
    u32 version;    /* of this layout */
    u32 window;     /* number of the VM */
    u64 generation; /* odd: the list is being changed */
    u64 root;       /* machine frame of the tree's top page */
    u64 highest;    /* no guest frame above it is present */
    u64 identity;   /* machine frame of the leaf that identity ranges share */
};
#define P2M_INFO_MAGIC   "lintelP2"
#define P2M_INFO_VERSION 1

struct p2m {
    const u64 *list;       /* base of the window */
    u32 window;            /* 0 .. P2M_WINDOW_MAX - 1 */
    frame_owner_t support; /* owner of the list's own pages */
    hpa_t top;             /* the window's directory-pointer page */
    hpa_t tree;            /* the tree's top page */
    struct p2m_info *info;
    gfn_t recent; /* gfn >> 9 of the leaf that was changed last: touches in a row need no walk */
    hpa_t recent_leaf;
    u64 pages;   /* private pages in use: leaves, tables, tree, info page */
    u64 present; /* entries that hold a frame; identity ranges are not counted */
    /* Other pages than before stand for the entries of these frames (whole leaves); or NULL. Lock held. */
    void (*leaves_changed)(void *leaves_context, gfn_t gfn, u64 frames);
    void *leaves_context;
};

/* Once at boot, before any p2m_init: make the shared pages of holes. 0 or -ENOMEM. */
int p2m_global_init(void);

/*
 * Who makes every CPU's TLB forget what it knows of windows; done on return. Boot CPU, once, before more than
 * one CPU reads a list. Without it this CPU alone does. The hook is called on the boot CPU, as work, with no
 * lock held.
 */
void p2m_set_flush_hook(void (*flush)(void));
/* What the hook does on each CPU. */
void p2m_windows_forget(void);

int p2m_init(struct p2m *p2m, u32 window, frame_owner_t support); /* 0 or -ENOMEM */
/* Boot CPU, as work, no lock held; as for p2m_collect. */
void p2m_destroy(struct p2m *p2m);
/* Give back the leaves that have become empty. lock is the VM's: taken, not held while TLBs are flushed. */
void p2m_collect(struct p2m *p2m, struct spinlock *lock);

/*
 * The entry as the window shows it: a machine frame, perhaps with P2M_IDENTITY; or P2M_INVALID, which
 * p2m_lookup_slow tells more about. The hot path: one comparison, one load.
 */
static inline u64 p2m_lookup(const struct p2m *p2m, gfn_t gfn)
{
    return likely(gfn < P2M_GFN_LIMIT) ? READ_ONCE(p2m->list[gfn]) : P2M_INVALID;
}

/*
 * The same from the tables themselves, whose entries tell missing from identity. Who finds nothing in the
 * window and wants to act on it asks here, also since this CPU's TLB may still lead to a shared page of
 * holes. Any CPU, no lock; under the VM's lock the answer stays true.
 */
u64 p2m_lookup_slow(const struct p2m *p2m, gfn_t gfn);

/* What a guest frame is; any CPU, no lock. */
enum p2m_kind { P2M_KIND_MISSING, P2M_KIND_FRAME, P2M_KIND_IDENTITY, P2M_KIND_BEYOND };
enum p2m_kind p2m_classify(const struct p2m *p2m, gfn_t gfn);

/* Does the entry hold a frame that was given to the guest, not a hole and not identity? */
static inline bool p2m_is_frame(u64 entry)
{
    return entry < P2M_IDENTITY;
}

static inline mfn_t p2m_frame(u64 entry)
{
    return entry & ~P2M_IDENTITY;
}

/*
 * The first guest frame in [gfn, end) of another kind than `kind`, or end: ranges, hole by hole. And the
 * first that holds a frame, which steps over holes by whole tables. Under the VM's lock.
 */
gfn_t p2m_kind_end(const struct p2m *p2m, gfn_t gfn, gfn_t end, enum p2m_kind kind);
gfn_t p2m_next_present(const struct p2m *p2m, gfn_t gfn, gfn_t end);

/* Set or remove (P2M_INVALID) one entry. 0; -ENOMEM (nothing changed); -EINVAL beyond the range. */
int p2m_set(struct p2m *p2m, gfn_t gfn, u64 entry);
/* Set an entry that is missing; -EEXIST when it is not. The short way of a first touch. */
int p2m_add(struct p2m *p2m, gfn_t gfn, u64 entry);
/* count entries of consecutive frames from mfn; all or nothing. */
int p2m_set_range(struct p2m *p2m, gfn_t gfn, mfn_t mfn, u64 count);
/* Remove count entries that hold frames. Cannot fail. */
void p2m_remove_range(struct p2m *p2m, gfn_t gfn, u64 count);
/*
 * Make a range identity, wherever it starts and ends: whole tables of it are shared. -EEXIST when a frame is
 * there, -EINVAL, -ENOMEM; all or nothing.
 */
int p2m_set_identity(struct p2m *p2m, gfn_t gfn, u64 count);

/* The page that holds gfn's entry, a leaf or one that holes share. Under the VM's lock. */
hpa_t p2m_leaf(const struct p2m *p2m, gfn_t gfn);

/* Does the tree say what the window's tables say, and on the way to one frame? Under the VM's lock. */
bool p2m_tree_agrees(const struct p2m *p2m);
bool p2m_tree_agrees_at(const struct p2m *p2m, gfn_t gfn);

#ifdef LINTEL_HOST_TEST
/* Host tests supply the windows and what stands for the TLB. */
u64 p2m_host_window_base(u32 window);
void p2m_host_window_forget(const u64 *at);
void p2m_host_window_forget_all(void);
#endif

#endif
