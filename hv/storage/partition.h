/* SPDX-License-Identifier: MIT */
/*
 * Partition tables: GPT, and MBR with its chain of logical partitions. What a drive says is hostile: all
 * lengths and counts are bounded, what lies outside the drive or over another partition is no partition.
 * UEFI 2.10, chapter 5.
 */
#ifndef HV_STORAGE_PARTITION_H
#define HV_STORAGE_PARTITION_H

#include "hv/run/vm_config.h"

#define PARTITIONS_MAX   32   /* part1 to part32 */
#define PARTITION_SECTOR 512u /* bytes */

enum partition_table_kind { PARTITIONS_NONE, PARTITIONS_MBR, PARTITIONS_GPT };

struct partition {
    u64 first, sectors; /* sectors 0: there is none of this number */
};

struct partition_table {
    enum partition_table_kind kind;
    const char *why; /* what is wrong with it, or NULL */
    struct partition partitions[PARTITIONS_MAX];
};

/* Where it is read from: a sector of 512 bytes at a time into `sector`. 0, or an error. */
struct partition_source {
    int (*read)(struct partition_source *source, u64 number);
    u64 sectors;
    u8 sector[PARTITION_SECTOR];
};

/* Fills all of table, whose partitions have the numbers that Linux gives them. An error: not readable. */
int partition_table_read(struct partition_source *source, struct partition_table *table);
/* "part1, part3": those that there are, as far as whole names fit. */
void partition_names(const struct partition_table *table, char *list, size_t size);
/* That of an image in memory, of its whole sectors. */
void partition_table_of_file(const struct boot_file *file, struct partition_table *table);

#endif
