/* SPDX-License-Identifier: MIT */
/*
 * AHCI controllers, and SATA disks behind them (CD drives: ahci_packet.c), with the queue of the drive
 * (NCQ) where it has one. Interrupts are off: drive_poll.c asks for what has ended. A command that fails
 * stops the port, and the drive forgets the others; so the port is reset, and they are tried again
 * (drive.h). All of this with the drive's lock held, or at boot. AHCI 1.3.1, chapters 3 to 5.
 */
#include "drivers/ahci.h"
#include "arch/x86/machine/paging.h"
#include "arch/x86/machine/tsc.h"
#include "drivers/pci.h"
#include "hv/lib/errno.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"

#define CLASS           0x010601 /* SATA, AHCI */
#define ABAR            5
#define ABAR_BYTES      0x1100u
#define PORTS_MAX       32u
#define SIG_DISK        0x00000101
#define SIG_PACKETS     0xeb140101
#define NO_ANSWER       0xffffffffu
#define PRESENT         3u /* SSTS.DET */
#define STOP_MS         600u
#define HAND_OVER       2000u /* ms */
#define APPEAR_MS       5000u
#define RESET_US        1000u
#define TRIM_RANGES     64u /* of a command: one block */
#define TRIM_COUNT      48  /* shift */
#define TRIM_RANGE_MOST 0xffffu

enum controller_register { CAP = 0x00, GHC = 0x04, PI = 0x0c, CAP2 = 0x24, BOHC = 0x28 };
#define CAP_PORTS(cap)    (((cap)&0x1f) + 1)
#define CAP_COMMANDS(cap) (((cap) >> 8 & 0x1f) + 1)
#define CAP_NCQ           BIT(30)
#define CAP_64            BIT(31)
#define GHC_AHCI          BIT(31)
#define GHC_INTERRUPTS    BIT(1)
#define CAP2_HAND_OVER    BIT(0)
#define BOHC_BIOS         BIT(0)
#define BOHC_OS           BIT(1)

#define HEADER_REGION     BIT(16) /* one region of data */
#define PORT_OFFSET(port) (0x100u + 0x80u * (port))
#define P_CMD_POWER       (BIT(1) | BIT(2)) /* spin up, power on */
#define P_CMD_FIS         BIT(4)
#define P_CMD_FIS_RUNS    BIT(14)
#define P_CONTROL_RESET   1u

enum reset_stage { STAGE_STOPPING, STAGE_RESETTING, STAGE_APPEARING };

/* At boot alone. */
static bool wait_clear(const volatile u8 *base, u32 offset, u64 bits, u32 ms)
{
    while ((ahci_reg(base, offset) & bits) && ms-- > 0)
        tsc_delay_us(1000);
    return !(ahci_reg(base, offset) & bits);
}

/* ---------------------------------------------------------------- commands */

void ahci_command_write(struct ahci_drive *a, u32 slot, const u8 *fis, u32 bytes, u64 flags)
{
    struct ahci_table *table = &a->shared->tables[slot];
    const struct drive_slot *data = &a->drive.slots[slot];
    hpa_t hpa = a->shared_hpa + offsetof(struct ahci_shared, tables) + slot * sizeof(*table);

    memcpy(table->fis, fis, AHCI_FIS_BYTES);
    table->data = (u32)data->data_hpa;
    table->data_high = (u32)(data->data_hpa >> 32);
    table->data_bytes = bytes - 1;
    a->shared->list[slot] =
        (struct ahci_header){.flags = (u32)(AHCI_FIS_BYTES / 4 | flags | (bytes ? HEADER_REGION : 0)),
                             .table = (u32)hpa,
                             .table_high = (u32)(hpa >> 32)};
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void command_write(struct ahci_drive *a, u32 slot, u8 command, u64 sector, u32 sectors, u32 bytes,
                          bool to_drive)
{
    bool queued = command == ATA_READ_QUEUED || command == ATA_WRITE_QUEUED;
    u32 count = queued ? slot << 3 : sectors;
    u32 feature = queued ? sectors : command == ATA_DATA_SET ? ATA_DATA_SET_TRIM : 0;
    const u8 fis[AHCI_FIS_BYTES] = {
        FIS_COMMAND,        FIS_IS_COMMAND,     command,        (u8)feature,        (u8)sector,
        (u8)(sector >> 8),  (u8)(sector >> 16), ATA_DEVICE_LBA, (u8)(sector >> 24), (u8)(sector >> 32),
        (u8)(sector >> 40), (u8)(feature >> 8), (u8)count,      (u8)(count >> 8)};

    ahci_command_write(a, slot, fis, bytes, to_drive ? AHCI_HEADER_WRITE : 0);
}

/* A block of ranges for the slot: sector and count each, zeros behind the last. ATA8-ACS, 7.10.3.2. */
static void trim_write(const struct drive_slot *slot)
{
    u64 *ranges = (u64 *)(void *)slot->data, sector = slot->sector, left = slot->bytes / BLOCK_SECTOR;

    for (u32 i = 0; i < TRIM_RANGES; i++) {
        u64 part = MIN(left, TRIM_RANGE_MOST);

        ranges[i] = part ? sector | part << TRIM_COUNT : 0;
        sector += part;
        left -= part;
    }
}

/* What the hardware is told of a slot, but for reads and writes. */
static void unqueued_write(struct ahci_drive *a, unsigned number)
{
    if (a->drive.slots[number].operation == BLOCK_FLUSH) {
        command_write(a, number, ATA_FLUSH_EXT, 0, 0, 0, false);
        return;
    }
    trim_write(&a->drive.slots[number]);
    command_write(a, number, ATA_DATA_SET, 0, 1, BLOCK_SECTOR, true);
}

static void ahci_start(struct drive *drive, unsigned number)
{
    static const u8 commands[2][2] = {{ATA_READ_DMA_EXT, ATA_WRITE_DMA_EXT},
                                      {ATA_READ_QUEUED, ATA_WRITE_QUEUED}};
    struct ahci_drive *a = ahci_of(drive);
    const struct drive_slot *slot = &drive->slots[number];
    bool write = slot->operation == BLOCK_WRITE, unqueued = !write && slot->operation != BLOCK_READ;
    u32 bit = (u32)BIT(number);

    if (unqueued)
        unqueued_write(a, number);
    else
        command_write(a, number, commands[a->queues][write], slot->sector, slot->bytes / BLOCK_SECTOR,
                      slot->bytes, write);
    a->issued |= bit;
    a->unqueued = unqueued ? a->unqueued | bit : a->unqueued & ~bit;
    if (a->queues && !unqueued)
        ahci_reg_set(a->port, P_ACTIVE, bit);
    ahci_reg_set(a->port, P_ISSUE, bit);
}

/*
 * The order of the two looks matters: QEMU lets go of a command that has failed, too, when no queue is used,
 * but not before it says that one has.
 */
static void ahci_poll(struct drive *drive)
{
    struct ahci_drive *a = ahci_of(drive);
    u32 gone = a->issued & ~(ahci_reg(a->port, P_ACTIVE) | ahci_reg(a->port, P_ISSUE));
    bool error = ahci_reg(a->port, P_IS) & P_IS_ERRORS;

    if (error && (!a->queues || (gone & a->unqueued)))
        gone = 0;
    for (u32 i = 0; i < DRIVE_SLOTS; i++) {
        if (!(gone & BIT(i)))
            continue;
        a->issued &= ~(u32)BIT(i);
        drive_slot_ended(drive, i, 0);
    }
    if (error)
        drive_failed(drive);
}

/* ---------------------------------------------------------------- reset */

static void stage_set(struct ahci_drive *a, enum reset_stage stage)
{
    a->stage = (u8)stage;
    a->stage_since = tsc_boot_now();
}

void ahci_port_run(struct ahci_drive *a)
{
    ahci_reg_set(a->port, P_ERROR, ~0u);
    ahci_reg_set(a->port, P_IS, ~0u);
    ahci_reg_set(a->port, P_CMD, ahci_reg(a->port, P_CMD) | P_CMD_START);
}

static bool is_ready(const struct ahci_drive *a)
{
    return (ahci_reg(a->port, P_STATUS) & 0xf) == PRESENT &&
           !(ahci_reg(a->port, P_TASK) & (ATA_STATUS_BUSY | ATA_STATUS_DATA));
}

/* Stop, reset the link and so the drive, wait for it to appear; each look takes it one stage on. */
int ahci_reset(struct drive *drive, bool begin)
{
    struct ahci_drive *a = ahci_of(drive);

    if (begin) {
        a->issued = 0;
        a->stopping = false;
        ahci_reg_set(a->port, P_CMD, ahci_reg(a->port, P_CMD) & ~P_CMD_START);
        stage_set(a, STAGE_STOPPING);
    }
    if (ahci_reg(a->port, P_CMD) == NO_ANSWER)
        return -EIO;
    if (a->stage == STAGE_STOPPING && !(ahci_reg(a->port, P_CMD) & P_CMD_RUNS)) {
        ahci_reg_set(a->port, P_CONTROL, (ahci_reg(a->port, P_CONTROL) & ~0xfu) | P_CONTROL_RESET);
        stage_set(a, STAGE_RESETTING);
    } else if (a->stage == STAGE_RESETTING &&
               tsc_passed(a->stage_since, tsc_boot_now()) > tsc_from_us(RESET_US)) {
        ahci_reg_set(a->port, P_CONTROL, ahci_reg(a->port, P_CONTROL) & ~0xfu);
        stage_set(a, STAGE_APPEARING);
    } else if (a->stage == STAGE_APPEARING && is_ready(a)) {
        ahci_port_run(a);
        return 0;
    }
    return -EINPROGRESS;
}

static const struct drive_ops ahci_ops = {.start = ahci_start, .poll = ahci_poll, .reset = ahci_reset};

/* ---------------------------------------------------------------- coming up */

/* Whatever the firmware has left running writes to its memory, not to ours. */
static bool port_stop(volatile u8 *port)
{
    ahci_reg_set(port, P_IE, 0);
    ahci_reg_set(port, P_CMD, ahci_reg(port, P_CMD) & ~P_CMD_START);
    if (!wait_clear(port, P_CMD, P_CMD_RUNS, STOP_MS))
        return false;
    ahci_reg_set(port, P_CMD, ahci_reg(port, P_CMD) & ~P_CMD_FIS);
    return wait_clear(port, P_CMD, P_CMD_FIS_RUNS, STOP_MS);
}

static int reset_now(struct ahci_drive *a)
{
    int status = ahci_reset(&a->drive, true);

    for (u32 ms = 0; ms < APPEAR_MS && status == -EINPROGRESS; ms++) {
        tsc_delay_us(1000);
        status = ahci_reset(&a->drive, false);
    }
    return status;
}

static int port_start(struct ahci_drive *a)
{
    const hpa_t received = a->shared_hpa + offsetof(struct ahci_shared, received);

    ahci_reg_set(a->port, P_LIST, a->shared_hpa);
    ahci_reg_set(a->port, P_LIST_HIGH, a->shared_hpa >> 32);
    ahci_reg_set(a->port, P_FIS, received);
    ahci_reg_set(a->port, P_FIS_HIGH, received >> 32);
    ahci_reg_set(a->port, P_CMD, ahci_reg(a->port, P_CMD) | P_CMD_POWER | P_CMD_FIS);
    return reset_now(a);
}

/* What the drive says of itself, in the first slot's buffer. */
static int identity_read(struct ahci_drive *a, u8 command)
{
    command_write(a, 0, command, 0, 0, BLOCK_SECTOR, false);
    ahci_reg_set(a->port, P_ISSUE, 1);
    if (!wait_clear(a->port, P_ISSUE, 1, APPEAR_MS) || (ahci_reg(a->port, P_IS) & P_IS_ERRORS))
        return -EIO;
    return 0;
}

static int identify_packet(struct ahci_drive *a)
{
    const u16 *words = (const u16 *)(const void *)a->drive.slots[0].data;
    int error = identity_read(a, ATA_IDENTIFY_PACKET);

    if (error)
        return error;
    a->drive.ops = &ahci_packet_ops;
    a->drive.is_cd = a->drive.read_only = true;
    a->wants_direction = atapi_wants_direction(words);
    return atapi_is_cd(words) ? 0 : -ENOTSUP;
}

static int identify(struct ahci_drive *a, u32 cap)
{
    struct ata_identity identity;
    int error = identity_read(a, ATA_IDENTIFY);

    if (error)
        return error;
    ata_identify((const u16 *)(const void *)a->drive.slots[0].data, &identity);
    if (!identity.sectors || !identity.lba48)
        return -ENOTSUP;
    a->queues = (cap & CAP_NCQ) && identity.queue_depth;
    a->drive.sectors = identity.sectors;
    a->drive.has_flush = identity.has_flush;
    a->drive.discard_sectors = identity.has_trim ? 1 : 0;
    a->drive.discard_most = TRIM_RANGES * TRIM_RANGE_MOST;
    a->drive.slot_count = MIN(DRIVE_SLOTS, CAP_COMMANDS(cap));
    if (a->queues)
        a->drive.slot_count = MIN(a->drive.slot_count, identity.queue_depth);
    return 0;
}

static int drive_start(struct ahci_drive *a, u32 cap)
{
    int error;

    a->drive.ops = &ahci_ops;
    a->drive.flush_alone = true; /* it and trim have no place in the drive's queue */
    a->drive.slot_count = 1;
    a->drive.dma_end = cap & CAP_64 ? 0 : SIZE_4G;
    a->shared = host_drive_page(a->drive.dma_end, &a->shared_hpa);
    if (!a->shared || !drive_buffer_make(&a->drive, 0))
        return -ENOMEM;
    error = port_start(a);
    if (error)
        return error;
    switch (ahci_reg(a->port, P_SIGNATURE)) {
    case SIG_DISK: error = identify(a, cap); break;
    case SIG_PACKETS: error = identify_packet(a); break;
    default: return -ENODEV;
    }
    return error ? error : drive_register(&a->drive);
}

/* Its port stands still. */
static void drive_free(struct ahci_drive *a)
{
    drive_give_up(&a->drive);
    memory_free(a->shared, sizeof(*a->shared), FRAME_OWNER_HYPERVISOR);
    memory_free(a, sizeof(*a), FRAME_OWNER_HYPERVISOR);
}

static void port_look(volatile u8 *port, u32 cap, u32 number)
{
    struct ahci_drive *a;
    int error;

    if (!port_stop(port) || (ahci_reg(port, P_STATUS) & 0xf) != PRESENT)
        return;
    a = memory_alloc(sizeof(*a), FRAME_OWNER_HYPERVISOR);
    if (!a)
        return;
    a->port = port;
    snprintf(a->drive.name, sizeof(a->drive.name), "ahci:%u", number);
    error = drive_start(a, cap);
    if (!error)
        return;
    if (error != -ENODEV)
        log_warning("drive %s: is left out: a CD drive, or a disk that has 48-bit addresses and sectors of "
                    "512 bytes, which answers, is expected (error %d)",
                    a->drive.name, error);
    if (port_stop(port)) /* else it may still write there */
        drive_free(a);
}

/* The ports that the controller says it has, whether a drive is there or not. */
static u32 controller_start(u16 address, u32 number)
{
    hpa_t bar = host_pci_bar(address, ABAR);
    volatile u8 *base = bar ? paging_map_device(bar, ABAR_BYTES, CACHE_UNCACHED, MAP_WRITE) : NULL;
    u32 cap, ports;

    if (!base)
        return 0;
    host_pci_enable(address, true);
    ahci_reg_set(base, GHC, ahci_reg(base, GHC) | GHC_AHCI);
    ahci_reg_set(base, GHC, ahci_reg(base, GHC) & ~GHC_INTERRUPTS);
    if (ahci_reg(base, CAP2) & CAP2_HAND_OVER) {
        ahci_reg_set(base, BOHC, ahci_reg(base, BOHC) | BOHC_OS);
        wait_clear(base, BOHC, BOHC_BIOS, HAND_OVER);
    }
    cap = ahci_reg(base, CAP);
    ports = CAP_PORTS(cap);
    for (u32 port = 0; port < ports; port++)
        if (ahci_reg(base, PI) & BIT(port))
            port_look(base + PORT_OFFSET(port), cap, number + port);
    return ports;
}

void host_ahci_start(void)
{
    u32 number = 0;

    for (u32 i = 0; i < host_pci_count; i++)
        if (host_pci_functions[i].class == CLASS)
            number += controller_start(host_pci_functions[i].address, number);
}
