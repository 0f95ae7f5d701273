/* SPDX-License-Identifier: MIT */
/* What drives tell of themselves (ata.h); the words are numbered as in ATA8-ACS, 7.16. */
#include "drivers/ata.h"

#define WORD_GENERAL       0
#define WORD_CAPABILITIES  49
#define WORD_SECTORS       60
#define WORD_DMA_DIRECTION 62
#define WORD_QUEUE_DEPTH   75
#define WORD_SATA          76
#define WORD_COMMANDS      83
#define WORD_SECTORS_48    100
#define WORD_SECTOR_SIZE   106
#define WORD_DATA_SET      169
#define GENERAL_MASK       0xdf03 /* protocol, kind of device, length of a packet */
#define GENERAL_CD         0x8500 /* ATAPI, a CD drive, 12 bytes */
#define WANTS_DIRECTION    BIT(15)
#define HAS_LBA            BIT(9)
#define HAS_NCQ            BIT(8)
#define HAS_LBA48          BIT(10)
#define HAS_FLUSH          (BIT(12) | BIT(13))
#define IS_VALID           BIT(14) /* of words 83 and 106, where bit 15 is clear */
#define HAS_LARGER_SECTORS BIT(12)
#define HAS_TRIM           BIT(0)
#define UNSET              0xffff /* what some drives have in words that they do not know */

static bool is_valid(u16 word)
{
    return (word & (IS_VALID | BIT(15))) == IS_VALID;
}

void ata_identify(const u16 *words, struct ata_identity *identity)
{
    u16 commands = is_valid(words[WORD_COMMANDS]) ? words[WORD_COMMANDS] : 0, size = words[WORD_SECTOR_SIZE];

    *identity =
        (struct ata_identity){.lba48 = commands & HAS_LBA48,
                              .has_flush = commands & HAS_FLUSH,
                              .has_trim = words[WORD_DATA_SET] != UNSET && words[WORD_DATA_SET] & HAS_TRIM};
    if (!(words[WORD_CAPABILITIES] & HAS_LBA) || (is_valid(size) && size & HAS_LARGER_SECTORS))
        return;
    identity->sectors = words[WORD_SECTORS] | (u64)words[WORD_SECTORS + 1] << 16;
    if (identity->lba48)
        identity->sectors = words[WORD_SECTORS_48] | (u64)words[WORD_SECTORS_48 + 1] << 16 |
                            (u64)words[WORD_SECTORS_48 + 2] << 32;
    if (words[WORD_SATA] != UNSET && words[WORD_SATA] & HAS_NCQ)
        identity->queue_depth = (words[WORD_QUEUE_DEPTH] & 0x1fu) + 1;
}

bool atapi_is_cd(const u16 *words)
{
    return (words[WORD_GENERAL] & GENERAL_MASK) == GENERAL_CD;
}

bool atapi_wants_direction(const u16 *words)
{
    return words[WORD_DMA_DIRECTION] & WANTS_DIRECTION;
}
