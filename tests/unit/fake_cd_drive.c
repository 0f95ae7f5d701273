/* SPDX-License-Identifier: MIT */
/* In the place of hv/storage/cd_drive.c (contract in the header). */
#include "tests/unit/fake_cd_drive.h"

#include "hv/lib/errno.h"
#include "hv/lib/printf.h"

struct fake_cd_drive fake_cd_drive;

int cd_drive_open(const char *name, frame_owner_t owner, struct block_device **device, char *why, size_t size)
{
    (void)owner;
    if (!fake_cd_drive.device.ops) {
        snprintf(why, size, "there is no drive %s", name);
        return -ENOENT;
    }
    fake_cd_drive.device.name = name;
    *device = &fake_cd_drive.device;
    return 0;
}

void cd_drive_listen(struct block_device *device, struct cd_user *user)
{
    (void)device;
    fake_cd_drive.user = user;
}

bool cd_drive_check(struct block_device *device, bool thorough)
{
    (void)device;
    fake_cd_drive.thorough = thorough;
    if (fake_cd_drive.is_lost || !fake_cd_drive.user)
        return false;
    fake_cd_drive.checks++;
    return true;
}

bool cd_drive_take(struct block_device *device)
{
    device->sectors = fake_cd_drive.sectors;
    return fake_cd_drive.sectors;
}

void cd_drive_move_tray(struct block_device *device, bool open)
{
    (void)device;
    fake_cd_drive.open = open;
    fake_cd_drive.moves++;
}

bool cd_drive_is_open(struct block_device *device)
{
    (void)device;
    return fake_cd_drive.open;
}

void cd_drive_lock_tray(struct block_device *device, bool lock)
{
    (void)device;
    fake_cd_drive.locked = lock;
    fake_cd_drive.locks++;
}
