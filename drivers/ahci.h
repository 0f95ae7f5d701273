/* SPDX-License-Identifier: MIT */
/*
 * What disks (ahci.c) and CD drives (ahci_packet.c) behind AHCI controllers share: a port's registers, and
 * the page that the controller reads and writes. With the drive's lock held, or at boot. AHCI 1.3.1.
 */
#ifndef DRIVERS_AHCI_H
#define DRIVERS_AHCI_H

#include "drivers/ata.h"
#include "drivers/drives.h"

enum ahci_port_register {
    P_LIST = 0x00,
    P_LIST_HIGH = 0x04,
    P_FIS = 0x08,
    P_FIS_HIGH = 0x0c,
    P_IS = 0x10,
    P_IE = 0x14,
    P_CMD = 0x18,
    P_TASK = 0x20,
    P_SIGNATURE = 0x24,
    P_STATUS = 0x28,
    P_CONTROL = 0x2c,
    P_ERROR = 0x30,
    P_ACTIVE = 0x34,
    P_ISSUE = 0x38,
};
#define P_CMD_START BIT(0)
#define P_CMD_RUNS  BIT(15)
#define P_IS_ERRORS (BIT(24) | BIT(27) | BIT(28) | BIT(29) | BIT(30))

struct ahci_header {
    u32 flags, bytes_done, table, table_high, reserved[4];
};

struct ahci_table {
    u8 fis[64], packet[16], reserved[48];
    u32 data, data_high, reserved2, data_bytes;
    u8 padding[112];
};
_Static_assert(sizeof(struct ahci_table) == 256, "a multiple of 128: AHCI 1.3.1, 4.2.2");

/* One page, which the controller reads and writes. */
struct ahci_shared {
    struct ahci_header list[32];
    u8 received[256];
    u8 unused[768];
    struct ahci_table tables[DRIVE_SLOTS];
};
_Static_assert(sizeof(struct ahci_shared) == PAGE_SIZE,
               "the list is aligned to 1 KiB, what is received to 256");

#define AHCI_FIS_BYTES    20u
#define FIS_COMMAND       0x27
#define FIS_IS_COMMAND    0x80
#define AHCI_HEADER_WRITE BIT(6)
#define AHCI_HEADER_ATAPI BIT(5)

struct ahci_drive {
    struct drive drive;
    volatile u8 *port;
    struct ahci_shared *shared;
    hpa_t shared_hpa;
    bool queues;          /* NCQ */
    u32 issued, unqueued; /* by slot; which of them are no reads and writes, and go alone */
    bool wants_direction; /* a CD drive: its packets say it */
    bool stopping;        /* ... and the port, behind a command that has failed so: */
    int failure;          /* the drive's; 0: another one */
    u8 stage;             /* of a reset */
    u64 stage_since;
};

static inline struct ahci_drive *ahci_of(struct drive *drive)
{
    return container_of(drive, struct ahci_drive, drive);
}

static inline u32 ahci_reg(const volatile u8 *base, u32 offset)
{
    return *(const volatile u32 *)(base + offset);
}

static inline void ahci_reg_set(volatile u8 *base, u32 offset, u64 value)
{
    *(volatile u32 *)(base + offset) = (u32)value;
}

/* A slot's command, which moves so many bytes from or to its buffer; flags: AHCI_HEADER_... */
void ahci_command_write(struct ahci_drive *a, u32 slot, const u8 *fis, u32 bytes, u64 flags);
/* What went wrong is forgotten, and the port takes commands again. */
void ahci_port_run(struct ahci_drive *a);
int ahci_reset(struct drive *drive, bool begin);

/* A drive that takes packets. */
extern const struct drive_ops ahci_packet_ops;

#endif
