/* SPDX-License-Identifier: MIT */
/*
 * Partition tables of any bytes: the input is the drive's first sectors, then its last ones. Signatures and
 * sums are put right in what the parser sees; otherwise hardly any input would get past them.
 */
// sources: hv/storage/partition.c hv/lib/string.c
#include <stdlib.h>
#include <string.h>

#include "hv/lib/errno.h"
#include "hv/storage/partition.h"
#include "tests/unit/crc32.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SECTORS 4096u

static const uint8_t *content;
static size_t content_size;
static unsigned reads;

static void header_fix(u8 *sector, u64 number)
{
    u32 size, sum;

    memcpy(sector, "EFI PART", 8);
    memcpy(sector + 24, &number, 8);
    memcpy(&size, sector + 12, 4);
    memset(sector + 16, 0, 4);
    if (size > 512)
        return;
    sum = crc32_of(sector, size);
    memcpy(sector + 16, &sum, 4);
}

static int read_sector(struct partition_source *source, u64 number)
{
    size_t at = number < SECTORS / 2 ? number * 512 : (number - SECTORS / 2) * 256;

    if (number >= SECTORS || ++reads > 2000)
        abort();
    memset(source->sector, 0, 512);
    if (at < content_size)
        memcpy(source->sector, content + at, content_size - at < 512 ? content_size - at : 512);
    if (number == 0)
        memcpy(source->sector + 510, "\x55\xaa", 2);
    if (number == 1 || number == SECTORS - 1)
        header_fix(source->sector, number);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct partition_source source = {read_sector, SECTORS, {0}};
    struct partition_table table;

    content = data;
    content_size = size;
    reads = 0;
    if (partition_table_read(&source, &table))
        abort();
    for (u32 i = 0; i < PARTITIONS_MAX; i++) {
        const struct partition *one = &table.partitions[i];

        if (one->sectors && (!one->first || one->first >= SECTORS || one->sectors > SECTORS - one->first))
            abort();
        for (u32 j = 0; j < i; j++) {
            const struct partition *other = &table.partitions[j];

            if (one->sectors && other->sectors && one->first < other->first + other->sectors &&
                other->first < one->first + one->sectors)
                abort();
        }
    }
    return 0;
}
