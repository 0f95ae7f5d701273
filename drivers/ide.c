/* SPDX-License-Identifier: MIT */
/*
 * Legacy IDE channels, as old machines and Bochs have them, and their disks, sector by sector through ports
 * (CD drives: ide_packet.c). Interrupts are off: drive_poll.c asks how far it is, and each look moves a few
 * sectors. Master and slave share the registers: who has a command under way owns the channel, and hands it
 * to the other one if that waits. A reset is one of both, so only who owns the channel makes one. With the
 * drive's lock held, or at boot. ATA8-ACS, ATA/ATAPI-7 V2.
 */
#include "drivers/ide.h"
#include "arch/x86/machine/tsc.h"
#include "drivers/pci.h"
#include "hv/lib/errno.h"
#include "hv/lib/printf.h"

#define CLASS     0x0101 /* without the programming interface */
#define NATIVE(i) BIT(2 * (i))
#define CHANNELS  2u
#define LEGACY_PORT  \
    {                \
        0x1f0, 0x170 \
    }
#define LEGACY_STATUS \
    {                 \
        0x3f6, 0x376  \
    }
#define DEVICES 2u

#define CONTROL_SILENT 0x02 /* no interrupts */
#define CONTROL_RESET  0x04
#define DEVICE_SLAVE   0x10
#define NOBODY         0xff
#define LBA28_END      BIT(28)
#define SECTORS_A_LOOK 16u
#define ANSWER_MS      1000u /* at boot */
#define RESET_US       10u
#define RECOVER_US     3000u

enum reset_stage { STAGE_RESETTING, STAGE_RECOVERING };

static struct ide_channel channels[CHANNELS];

u8 ide_status(const struct ide_channel *channel)
{
    u8 status = 0;

    for (u32 i = 0; i < 4; i++)
        status = in8(channel->control);
    return status;
}

u8 ide_status_wait(const struct ide_channel *channel, u32 *spins)
{
    u8 status = ide_status(channel);

    for (; *spins > 0 && status & ATA_STATUS_BUSY; (*spins)--)
        status = ide_status(channel);
    return status;
}

/* ---------------------------------------------------------------- commands */

static void address_write(u16 port, u64 sector, u32 count)
{
    out8((u16)(port + IDE_COUNT), (u8)count);
    out8((u16)(port + IDE_LOW), (u8)sector);
    out8((u16)(port + IDE_MIDDLE), (u8)(sector >> 8));
    out8((u16)(port + IDE_HIGH), (u8)(sector >> 16));
}

static u8 command_of(const struct ide_drive *ide, enum block_operation operation, bool wide)
{
    if (operation == BLOCK_FLUSH)
        return ide->lba48 ? ATA_FLUSH_EXT : ATA_FLUSH;
    if (operation == BLOCK_READ)
        return wide ? ATA_READ_PIO_EXT : ATA_READ_PIO;
    return wide ? ATA_WRITE_PIO_EXT : ATA_WRITE_PIO;
}

/* The channel is ours, and what went before on it is over. */
static void command_write(struct ide_drive *ide)
{
    const struct drive_slot *slot = &ide->drive.slots[0];
    u16 port = ide->channel->port;
    u32 count = slot->bytes / BLOCK_SECTOR;
    u64 sector = count ? slot->sector : 0;
    bool wide = sector + count > LBA28_END; /* else the old form will do, for all drives */

    out8((u16)(port + IDE_DEVICE),
         (u8)(IDE_DEVICE_ALWAYS | ATA_DEVICE_LBA | ide->device | (wide ? 0 : sector >> 24 & 0xf)));
    if (wide)
        address_write(port, sector >> 24, count >> 8);
    address_write(port, sector, count);
    ide->moved = 0;
    ide->total = count;
    out8((u16)(port + IDE_COMMAND), command_of(ide, slot->operation, wide));
}

/* ---------------------------------------------------------------- the channel */

/* False: the other one has it, and hands it over when it is done, as it may want it again at once. */
static bool channel_take(struct ide_drive *ide)
{
    struct ide_channel *channel = ide->channel;
    bool taken;

    spinlock_take(&channel->lock);
    if (!channel->owner)
        channel->owner = ide;
    taken = channel->owner == ide;
    if (!taken)
        channel->waiter = ide;
    else if (channel->waiter == ide)
        channel->waiter = NULL;
    spinlock_release(&channel->lock);
    return taken;
}

static void leave(struct ide_drive *ide)
{
    struct ide_channel *channel = ide->channel;

    spinlock_take(&channel->lock);
    channel->owner = channel->waiter;
    channel->waiter = NULL;
    spinlock_release(&channel->lock);
}

/* Does the other one have it, which will never let go of it? */
static bool is_owner_lost(const struct ide_drive *ide)
{
    const struct ide_drive *owner = READ_ONCE(ide->channel->owner);

    return owner && owner != ide && READ_ONCE(owner->drive.state) == DRIVE_LOST;
}

/* It waits no longer; true: it has the channel, or takes it from a lost one, and may reset it. */
static bool channel_take_for_reset(struct ide_drive *ide)
{
    struct ide_channel *channel = ide->channel;
    bool taken;

    spinlock_take(&channel->lock);
    if (channel->waiter == ide)
        channel->waiter = NULL;
    if (is_owner_lost(ide))
        channel->owner = ide;
    taken = channel->owner == ide;
    spinlock_release(&channel->lock);
    return taken;
}

/* Selected; a device that has data for nobody is beyond commands. */
static bool device_is_at_rest(struct ide_drive *ide)
{
    u32 spins = IDE_SPINS;
    u8 status;

    out8((u16)(ide->channel->port + IDE_DEVICE), (u8)(IDE_DEVICE_ALWAYS | ide->device));
    status = ide_status_wait(ide->channel, &spins);
    if (status & ATA_STATUS_BUSY)
        return false;
    if (status & ATA_STATUS_DATA)
        drive_failed(&ide->drive);
    return !(status & ATA_STATUS_DATA);
}

/* The wait for the channel is not held against a drive, unless it is for one that never leaves it. */
bool ide_enter(struct ide_drive *ide)
{
    ide->waits = true;
    if (channel_take(ide))
        ide->waits = !device_is_at_rest(ide);
    else if (is_owner_lost(ide))
        drive_failed(&ide->drive);
    else
        drive_slot_waits(&ide->drive, 0);
    return !ide->waits;
}

void ide_end(struct ide_drive *ide, int status)
{
    in8((u16)(ide->channel->port + IDE_COMMAND)); /* its status: whatever was pending is seen */
    leave(ide);
    drive_slot_ended(&ide->drive, 0, status);
}

void ide_fail(struct ide_drive *ide, u8 device_status, int status)
{
    if (device_status & ATA_STATUS_DATA)
        drive_failed(&ide->drive);
    else
        ide_end(ide, status);
}

/* ---------------------------------------------------------------- disks */

static void begin(struct ide_drive *ide)
{
    if (ide_enter(ide))
        command_write(ide);
}

static void ide_start(struct drive *drive, unsigned slot)
{
    (void)slot; /* there is one */
    begin(ide_of(drive));
}

static void sector_move(struct ide_drive *ide)
{
    const struct drive_slot *slot = &ide->drive.slots[0];
    u8 *at = slot->data + (u64)ide->moved * BLOCK_SECTOR;

    if (slot->operation == BLOCK_READ)
        in16_many(ide->channel->port, at, BLOCK_SECTOR / 2);
    else
        out16_many(ide->channel->port, at, BLOCK_SECTOR / 2);
    ide->moved++;
    drive_moved(&ide->drive);
}

static void ide_poll(struct drive *drive)
{
    struct ide_drive *ide = ide_of(drive);
    bool read = drive->slots[0].operation == BLOCK_READ;
    u32 spins = IDE_SPINS;

    if (ide->waits) {
        begin(ide);
        return;
    }
    for (u32 i = 0; i < SECTORS_A_LOOK; i++) {
        u8 status = ide_status_wait(ide->channel, &spins);

        if (status & ATA_STATUS_BUSY)
            return;
        if (status & (ATA_STATUS_ERROR | ATA_STATUS_FAULT)) {
            ide_fail(ide, status, -EIO);
            return;
        }
        if (ide->moved == ide->total) { /* a write's last sector, or a flush, is over */
            ide_end(ide, 0);
            return;
        }
        if (!(status & ATA_STATUS_DATA))
            return;
        sector_move(ide);
        if (read && ide->moved == ide->total) {
            ide_end(ide, 0);
            return;
        }
    }
}

/* ---------------------------------------------------------------- reset */

static void stage_set(struct ide_drive *ide, enum reset_stage stage, u8 control)
{
    ide->stage = (u8)stage;
    ide->stage_since = tsc_boot_now();
    out8(ide->channel->control, control);
}

/* Who only waited for the channel has nothing to be forgotten. */
int ide_reset(struct drive *drive, bool first)
{
    struct ide_drive *ide = ide_of(drive);
    u64 passed;

    if (first) {
        ide->waits = false;
        if (!channel_take_for_reset(ide))
            return 0;
        stage_set(ide, STAGE_RESETTING, CONTROL_SILENT | CONTROL_RESET);
        return -EINPROGRESS;
    }
    passed = tsc_passed(ide->stage_since, tsc_boot_now());
    if (ide->stage == STAGE_RESETTING && passed > tsc_from_us(RESET_US)) {
        stage_set(ide, STAGE_RECOVERING, CONTROL_SILENT);
    } else if (ide->stage == STAGE_RECOVERING && passed > tsc_from_us(RECOVER_US) &&
               !(ide_status(ide->channel) & ATA_STATUS_BUSY)) {
        leave(ide);
        return 0;
    }
    return -EINPROGRESS;
}

static const struct drive_ops ide_ops = {.start = ide_start, .poll = ide_poll, .reset = ide_reset};

/* ---------------------------------------------------------------- coming up */

/* Wait until the device has something to say: its status, with BUSY if it has not. */
static u8 answer_wait(const struct ide_channel *channel)
{
    u8 status = ide_status(channel);

    for (u32 ms = 0; ms < ANSWER_MS && status & ATA_STATUS_BUSY; ms++) {
        tsc_delay_us(1000);
        status = ide_status(channel);
    }
    return status;
}

/* What it says of itself, by one of the two commands: false, if it does not know it. */
static bool identity_read(struct ide_drive *ide, u8 command, u16 *words)
{
    const struct ide_channel *channel = ide->channel;

    out8((u16)(channel->port + IDE_DEVICE), (u8)(IDE_DEVICE_ALWAYS | ide->device));
    if (answer_wait(channel) & ATA_STATUS_BUSY)
        return false;
    address_write(channel->port, 0, 0);
    out8((u16)(channel->port + IDE_COMMAND), command);
    if ((answer_wait(channel) & (ATA_STATUS_BUSY | ATA_STATUS_DATA | ATA_STATUS_ERROR)) != ATA_STATUS_DATA)
        return false;
    in16_many(channel->port, words, BLOCK_SECTOR / 2);
    return true;
}

/* Is it a disk, which? Or a CD drive, that refuses a disk's command? */
static bool identify(struct ide_drive *ide)
{
    struct ata_identity identity;
    u16 words[BLOCK_SECTOR / 2];

    if (identity_read(ide, ATA_IDENTIFY, words)) {
        ata_identify(words, &identity);
        ide->lba48 = identity.lba48;
        ide->drive.sectors = identity.lba48 ? identity.sectors : MIN(identity.sectors, LBA28_END);
        ide->drive.has_flush = identity.has_flush;
        return identity.sectors != 0;
    }
    ide->drive.is_cd = identity_read(ide, ATA_IDENTIFY_PACKET, words) && atapi_is_cd(words);
    ide->drive.read_only = ide->drive.is_cd;
    if (ide->drive.is_cd)
        ide->drive.ops = &ide_packet_ops;
    return ide->drive.is_cd;
}

static void device_look(struct ide_channel *channel, u32 number)
{
    struct ide_drive *ide = memory_alloc(sizeof(*ide), FRAME_OWNER_HYPERVISOR);

    if (!ide)
        return;
    ide->channel = channel;
    ide->device = number % DEVICES ? DEVICE_SLAVE : 0;
    ide->drive.ops = &ide_ops;
    ide->drive.slot_count = 1;
    snprintf(ide->drive.name, sizeof(ide->drive.name), "ide:%u", number);
    if (identify(ide) && drive_register(&ide->drive) == 0)
        return;
    if (channel->owner == ide) /* it fell silent while it was read */
        return;
    drive_give_up(&ide->drive);
    memory_free(ide, sizeof(*ide), FRAME_OWNER_HYPERVISOR);
}

/* At the customary ports, or where PCI says that a controller has them in its native mode. */
static void ports_find(void)
{
    static const u16 ports[] = LEGACY_PORT, controls[] = LEGACY_STATUS;

    for (u32 i = 0; i < CHANNELS; i++)
        channels[i] = (struct ide_channel){.port = ports[i], .control = controls[i]};
    for (u32 i = 0; i < host_pci_count; i++) {
        const struct host_pci_function *function = &host_pci_functions[i];

        if (function->class >> 8 != CLASS)
            continue;
        for (u32 j = 0; j < CHANNELS; j++)
            if (function->class & NATIVE(j))
                channels[j] = (struct ide_channel){
                    .port = host_pci_port_bar(function->address, 2 * j),
                    .control = (u16)(host_pci_port_bar(function->address, 2 * j + 1) + 2)};
        return;
    }
}

void host_ide_start(void)
{
    ports_find();
    for (u32 i = 0; i < CHANNELS; i++)
        spinlock_init(&channels[i].lock, RANK_CHANNEL);
    for (u32 i = 0; i < CHANNELS * DEVICES; i++) {
        struct ide_channel *channel = &channels[i / DEVICES];

        if (!channel->port || ide_status(channel) == NOBODY)
            continue;
        out8(channel->control, CONTROL_SILENT);
        device_look(channel, i);
    }
}
