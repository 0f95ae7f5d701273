/* SPDX-License-Identifier: MIT */
/* A CD drive of the machine for host tests: it remembers what it was told, and tells what the test says. */
#ifndef TESTS_UNIT_FAKE_CD_DRIVE_H
#define TESTS_UNIT_FAKE_CD_DRIVE_H

#include "hv/storage/cd_drive.h"

struct fake_cd_drive {
    struct block_device device; /* whose ops are the test's; sectors: what lies in it when it is opened */
    struct cd_user *user;
    u64 sectors; /* what can be taken; 0: nothing */
    bool is_lost;
    unsigned checks, moves, locks;
    bool thorough;     /* the last check */
    bool open, locked; /* as it was told last */
};
extern struct fake_cd_drive fake_cd_drive;

#endif
