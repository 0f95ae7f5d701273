/* SPDX-License-Identifier: MIT */
/*
 * Nested page tables: gpa -> hpa, in the format the engine names (AMD: the ordinary long-mode format, APM 2,
 * 15.25; Intel: EPT, SDM 3C, 29.3). One algorithm, formats as data. The caller holds the VM's lock; page
 * walkers of other CPUs may read at any time, so every change is one aligned 8-byte store.
 */
#ifndef ARCH_X86_MACHINE_NESTED_PAGING_H
#define ARCH_X86_MACHINE_NESTED_PAGING_H

#include "hv/lib/types.h"

#define NESTED_READ    BIT(0)
#define NESTED_WRITE   BIT(1)
#define NESTED_EXECUTE BIT(2)

struct nested_format {
    u64 table;      /* bits of an entry that points to a table */
    u64 read;       /* bits that every present leaf has */
    u64 write;      /* set for NESTED_WRITE */
    u64 execute;    /* set for NESTED_EXECUTE */
    u64 no_execute; /* set without NESTED_EXECUTE */
    u64 large;      /* set in a leaf above the last level */
    u64 present;    /* any of these: the entry is there */
    u8 levels;      /* 4: gpa of 48 bits */
};
extern const struct nested_format nested_format_amd;

struct nested_table {
    hpa_t root;
    const struct nested_format *format;
    bool pages_1g;
    hpa_t (*page_alloc)(void *context); /* zeroed frame, 0 when out of memory */
    void (*page_free)(void *context, hpa_t page);
    /*
     * The same for a table that was taken out while CPUs may walk it: free it once none does. NULL: page_free
     * behind flush is enough.
     */
    void (*page_retire)(void *context, hpa_t page);
    void *context;
    void (*flush)(void *flush_context); /* drop what any CPU remembers of these tables; NULL: none can */
    void *flush_context;
    void (*removed)(void *context); /* debug builds: a mapping has gone, so that flush is due; or NULL */
    u64 *recent;      /* the last-level table that was changed last, and which 2 MiB it stands for: */
    gpa_t recent_gpa; /* touches in a row need no walk; NULL: none */
    u64 pages;        /* tables in use, the root among them */
};

int nested_table_init(struct nested_table *table); /* fields above set; allocates the root; -ENOMEM */
void nested_table_destroy(struct nested_table *table);

/*
 * Map one page of PAGE_SIZE, SIZE_2M or SIZE_1G; both addresses aligned to it. A finer table in the way is
 * replaced only if it is empty (then retired), else -EEXIST; an equal or larger mapping in the
 * way: -EEXIST. -ENOMEM changes nothing.
 */
int nested_map(struct nested_table *table, gpa_t gpa, hpa_t hpa, u64 size, u64 access);

/*
 * Remove the 4 KiB page at gpa, splitting a large page around it when needed. 0, -ENOENT, -ENOMEM
 * (splitting).
 */
int nested_unmap(struct nested_table *table, gpa_t gpa);
/*
 * Remove all that is mapped in the 2 MiB at gpa (aligned), by one store. 0: something was; *hpa is that of
 * the large page, or ~0 when there were smaller ones. -ENOENT, -ENOMEM (splitting).
 */
int nested_unmap_2m(struct nested_table *table, gpa_t gpa, hpa_t *hpa);
/*
 * Remove the pages in [gpa, end), which are 4 KiB each, and keep their tables. Was any there? The caller
 * flushes then.
 */
bool nested_unmap_range(struct nested_table *table, gpa_t gpa, gpa_t end);
/* Remove everything, keep the root; flushes before tables are freed. */
void nested_clear(struct nested_table *table);

/* Tell the leaf that covers gpa: 0 and hpa of that very byte, page size, access; or -ENOENT. */
int nested_lookup(const struct nested_table *table, gpa_t gpa, hpa_t *hpa, u64 *size, u64 *access);

/* The first leaf that covers *gpa or lies above: 0 with *gpa its first byte, or -ENOENT. For audits. */
int nested_next(const struct nested_table *table, gpa_t *gpa, hpa_t *hpa, u64 *size);

#endif
