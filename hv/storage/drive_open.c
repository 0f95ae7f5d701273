/* SPDX-License-Identifier: MIT */
/* How a drive of the machine comes, what its names mean, who may have what of it (contract in drive.h). */
#include "hv/lib/errno.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"
#include "hv/run/sched.h"
#include "hv/storage/cd_spare.h"
#include "hv/storage/drive_private.h"

#define BOOT_US 5000000u

static struct drive *drives[DRIVES_MAX];
static u32 drive_count;

/* ---------------------------------------------------------------- buffers */

bool drive_buffer_make(struct drive *drive, u32 number)
{
    struct drive_slot *slot = &drive->slots[number];
    mfn_t mfn = slot->data ? MFN_INVALID : frame_alloc(DRIVE_SLOT_ORDER, FRAME_OWNER_HYPERVISOR);

    if (mfn == MFN_INVALID)
        return slot->data;
    slot->data_hpa = mfn << PAGE_SHIFT;
    if (drive->dma_end && slot->data_hpa + DRIVE_SLOT_BYTES > drive->dma_end) {
        frame_free(mfn, DRIVE_SLOT_ORDER, FRAME_OWNER_HYPERVISOR);
        return false;
    }
    slot->data = phys_to_virt(slot->data_hpa);
    return true;
}

void drive_give_up(struct drive *drive)
{
    if (drive->slots[0].data)
        frame_free(drive->slots[0].data_hpa >> PAGE_SHIFT, DRIVE_SLOT_ORDER, FRAME_OWNER_HYPERVISOR);
    drive->slots[0].data = NULL;
}

/* ---------------------------------------------------------------- a drive comes */

struct boot_source {
    struct partition_source source;
    struct drive *drive;
};

/* Read a sector at boot, where no guest waits for this CPU. */
static int read_now(struct partition_source *source, u64 sector)
{
    struct drive *drive = container_of(source, struct boot_source, source)->drive;
    struct drive_slot *slot = &drive->slots[0];
    u64 begun = drive_now();

    spinlock_take(&drive->lock);
    slot->operation = BLOCK_READ;
    slot->sector = sector;
    slot->bytes = BLOCK_SECTOR;
    drive_slot_start(drive, slot);
    while (slot->state == DRIVE_SLOT_BUSY && !drive->failed &&
           drive_passed_since(begun) < tsc_from_us(BOOT_US)) {
        drive->ops->poll(drive);
        cpu_pause();
    }
    if (slot->state == DRIVE_SLOT_BUSY) {
        drive->state = DRIVE_LOST;
        slot->status = -EIO;
    }
    spinlock_release(&drive->lock);
    memcpy(source->sector, slot->data, BLOCK_SECTOR);
    return slot->status;
}

/* Likewise all that is to be known of a CD drive's medium, though nothing waits for it but this CPU. */
static int look_now(struct drive *drive)
{
    u64 begun = drive_now();

    spinlock_take(&drive->lock);
    cd_doubt(drive);
    drive_pump(drive);
    while (drive->busy && !drive->failed && drive_passed_since(begun) < tsc_from_us(BOOT_US)) {
        drive->ops->poll(drive);
        drive_pump(drive);
        cpu_pause();
    }
    if (drive->busy)
        drive->state = DRIVE_LOST;
    spinlock_release(&drive->lock);
    return drive->busy ? -EIO : 0;
}

static void say(const struct drive *drive)
{
    static const char *const kinds[] = {"no partition table", "MBR", "GPT"};
    char list[160];

    if (drive->is_cd) {
        log_info("drive %s: a CD drive, %s", drive->name,
                 drive->cd.medium == CD_READY ? "with a medium in it" : "empty");
        return;
    }
    partition_names(&drive->table, list, sizeof(list));
    log_info("drive %s: %llu MiB%s, %s%s%s", drive->name, (unsigned long long)(drive->sectors >> 11),
             drive->read_only ? ", write-protected" : "", kinds[drive->table.kind], list[0] ? ": " : "",
             list);
    if (drive->table.why)
        log_warning("drive %s: its partition table %s", drive->name, drive->table.why);
}

int drive_register(struct drive *drive)
{
    struct boot_source boot = {{read_now, drive->sectors, {0}}, drive};

    spinlock_init(&drive->lock, RANK_DRIVE);
    list_init(&drive->jobs);
    list_init(&drive->ended);
    list_init(&drive->users);
    timer_init(&drive->timer, sched_timers(0), drive_fire);
    if (drive_count == DRIVES_MAX || !drive_buffer_make(drive, 0))
        return -ENOSPC;
    if (drive->is_cd ? look_now(drive) : partition_table_read(&boot.source, &drive->table)) {
        log_warning("drive %s: is left out, as it can't be read", drive->name);
        return -EIO;
    }
    drives[drive_count++] = drive;
    say(drive);
    if (drive->is_cd)
        cd_spare_begin(drive);
    return 0;
}

/* ---------------------------------------------------------------- names */

/* Those of the kind that are there, as far as they fit, for who named another one. */
static void list_drives(bool cd, char *why, size_t size)
{
    const char *before = "; right would be one of ";
    size_t used = strlen(why);

    for (u32 i = 0; i < drive_count && used + strlen(before) + DRIVE_NAME_MAX < size; i++) {
        if (drives[i]->is_cd != cd)
            continue;
        snprintf(why + used, size - used, "%s%s", before, drives[i]->name);
        used = strlen(why);
        before = ", ";
    }
    if (before[0] == ';')
        snprintf(why + used, size - used, ", nor any other %s; right would be a file or ram:SIZE",
                 cd ? "CD drive" : "disk");
}

static struct drive *drive_find(const char *name, size_t length)
{
    for (u32 i = 0; i < drive_count; i++)
        if (strlen(drives[i]->name) == length && memcmp(drives[i]->name, name, length) == 0)
            return drives[i];
    return NULL;
}

/* What the name means, of the form that the configuration has checked. NULL: why says it. */
static struct drive *range_find(bool cd, const char *name, struct partition *range, char *why, size_t size)
{
    const char *part = strchr(name, '/');
    struct drive *drive = drive_find(name, part ? (size_t)(part - name) : strlen(name));
    u32 number = 0;

    if (!drive) {
        snprintf(why, size, "there is no drive %s", name);
        list_drives(cd, why, size);
        return NULL;
    }
    *range = (struct partition){0, drive->sectors};
    if (!part)
        return drive;
    for (const char *digit = part + strlen("/part"); *digit >= '0' && *digit <= '9' && number < 1000; digit++)
        number = number * 10 + (u32)(*digit - '0');
    if (number < 1 || number > PARTITIONS_MAX || !drive->table.partitions[number - 1].sectors) {
        char list[100];

        partition_names(&drive->table, list, sizeof(list));
        snprintf(why, size, "drive %s has no partition %u; right would be %s", drive->name, number,
                 list[0] ? list : "all of it, as it has none");
        return NULL;
    }
    *range = drive->table.partitions[number - 1];
    return drive;
}

/* ---------------------------------------------------------------- users */

struct drive *drive_of(struct block_device *device)
{
    return drive_user_of(device)->drive;
}

static void user_close(struct block_device *device)
{
    struct drive_user *user = drive_user_of(device);

    if (user->drive->is_cd)
        cd_close(user->drive);
    spinlock_take(&user->drive->lock);
    list_remove(&user->node);
    spinlock_release(&user->drive->lock);
    if (user->drive->is_cd)
        cd_spare_begin(user->drive);
    memory_free(user, sizeof(*user), user->owner);
}

static const struct block_ops user_ops = {.submit = drive_submit, .abort = drive_abort, .close = user_close};

static const struct drive_user *conflict_find(const struct drive *drive, const struct partition *range,
                                              bool write)
{
    const struct drive_user *user;

    list_for_each (user, &drive->users, node)
        if (range->first < user->first + user->device.sectors &&
            user->first < range->first + range->sectors && (write || !user->device.read_only))
            return user;
    return NULL;
}

/* Who has its tray, which is one's alone. */
static const struct drive_user *cd_user_of(const struct drive *drive)
{
    return list_empty(&drive->users) ? NULL : list_entry(drive->users.next, struct drive_user, node);
}

static struct drive_user *user_make(struct drive *drive, const char *name, const struct partition *range,
                                    frame_owner_t owner)
{
    struct drive_user *user;
    u32 slots = 0;

    for (u32 i = 0; i < drive->slot_count && drive_buffer_make(drive, i); i++)
        slots++;
    user = memory_alloc(sizeof(*user), owner);
    if (!user)
        return NULL;
    drive->slot_count = slots; /* the first one is there; no other is in use that has no buffer */
    snprintf(user->name, sizeof(user->name), "%s", name);
    user->drive = drive;
    user->owner = owner;
    user->first = range->first;
    user->device = (struct block_device){
        .ops = &user_ops, .name = user->name, .sectors = range->sectors, .depth = DRIVE_DEPTH};
    return user;
}

static int open_as(bool cd, const char *name, bool write, frame_owner_t owner, struct block_device **device,
                   char *why, size_t size)
{
    struct partition range;
    struct drive *drive = range_find(cd, name, &range, why, size);
    const struct drive_user *other;
    struct drive_user *user;

    if (!drive)
        return -ENOENT;
    if (drive->is_cd != cd) {
        snprintf(why, size, "drive %s is %s; right would be %s = %s", drive->name,
                 cd ? "a disk" : "a CD drive", cd ? "disk" : "cdrom", drive->name);
        return -ENODEV;
    }
    if (write && drive->read_only) {
        snprintf(why, size, "drive %s is write-protected; right would be to leave write away", drive->name);
        return -EROFS;
    }
    other = cd ? cd_user_of(drive) : conflict_find(drive, &range, write);
    if (other) {
        snprintf(why, size, "%s is in use as %s%s; right would be another drive%s", name, other->name,
                 cd ? "" : ", and one of the two writes", cd ? "" : ", or write = no for both");
        return -EBUSY;
    }
    user = user_make(drive, name, &range, owner);
    if (!user) {
        snprintf(why, size, "no memory is left for drive %s", name);
        return -ENOMEM;
    }
    user->device.read_only = !write;
    user->device.discard_sectors = write ? drive->discard_sectors : 0;
    spinlock_take(&drive->lock);
    list_add_before(&drive->users, &user->node);
    spinlock_release(&drive->lock);
    *device = &user->device;
    return 0;
}

int drive_open(const char *name, bool write, frame_owner_t owner, struct block_device **device, char *why,
               size_t size)
{
    return open_as(false, name, write, owner, device, why, size);
}

int drive_open_cd(const char *name, frame_owner_t owner, struct block_device **device, char *why, size_t size)
{
    return open_as(true, name, false, owner, device, why, size);
}
