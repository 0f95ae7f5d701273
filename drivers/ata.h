/* SPDX-License-Identifier: MIT */
/*
 * What ATA disks have in common, however they are reached: commands, status bits, and what IDENTIFY DEVICE
 * tells. ATA8-ACS.
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
#define ATA_FLUSH         0xe7
#define ATA_FLUSH_EXT     0xea
#define ATA_IDENTIFY      0xec

#define ATA_STATUS_ERROR 0x01
#define ATA_STATUS_DATA  0x08 /* DRQ */
#define ATA_STATUS_FAULT 0x20
#define ATA_STATUS_READY 0x40
#define ATA_STATUS_BUSY  0x80

#define ATA_DEVICE_LBA 0x40

struct ata_identity {
    u64 sectors;     /* 0: it can't be driven */
    u32 queue_depth; /* 0: no NCQ */
    bool lba48, has_flush;
};

/* words: 512 bytes. One without LBA, or of other sectors than 512 bytes, has 0 sectors. */
void ata_identify(const u16 *words, struct ata_identity *identity);

#endif
