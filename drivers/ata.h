/* SPDX-License-Identifier: MIT */
/*
 * What ATA disks and ATAPI CD drives have in common, however they are reached: commands, status bits, and
 * what they tell of themselves. ATA8-ACS.
 */
#ifndef DRIVERS_ATA_H
#define DRIVERS_ATA_H

#include "hv/lib/types.h"

#define ATA_READ_PIO      0x20
#define ATA_READ_PIO_EXT  0x24
#define ATA_READ_DMA_EXT  0x25
#define ATA_WRITE_PIO     0x30
#define ATA_WRITE_PIO_EXT 0x34
#define ATA_WRITE_DMA_EXT 0x35
#define ATA_READ_QUEUED   0x60
#define ATA_WRITE_QUEUED  0x61
#define ATA_DATA_SET      0x06
#define ATA_DATA_SET_TRIM 1
#define ATA_FLUSH         0xe7
#define ATA_FLUSH_EXT     0xea
#define ATA_IDENTIFY      0xec

#define ATA_PACKET          0xa0
#define ATA_IDENTIFY_PACKET 0xa1
#define ATAPI_IS_COMMAND    0x01 /* what a packet device wants, or has: bits of the count register */
#define ATAPI_TO_HOST       0x02
#define ATAPI_DMA           0x01 /* of a PACKET's feature register */
#define ATAPI_DMA_TO_HOST   0x04

#define ATA_STATUS_ERROR 0x01
#define ATA_STATUS_DATA  0x08 /* DRQ */
#define ATA_STATUS_FAULT 0x20
#define ATA_STATUS_READY 0x40
#define ATA_STATUS_BUSY  0x80

#define ATA_DEVICE_LBA 0x40

struct ata_identity {
    u64 sectors;     /* 0: it can't be driven */
    u32 queue_depth; /* 0: no NCQ */
    bool lba48, has_flush, has_trim;
};

/* words: 512 bytes. One without LBA, or of other sectors than 512 bytes, has 0 sectors. */
void ata_identify(const u16 *words, struct ata_identity *identity);
/* Of IDENTIFY PACKET DEVICE: is it a CD drive that takes packets of 12 bytes? */
bool atapi_is_cd(const u16 *words);
/* Must a PACKET say into which direction its DMA goes? */
bool atapi_wants_direction(const u16 *words);

#endif
