/* SPDX-License-Identifier: MIT */
/* See drive_user.h. */
#include "tests/unit/drive_user.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hv/lib/errno.h"
#include "tests/unit/drive_world.h"
#include "tests/unit/fake_guest_ram.h"

#define BUFFER 0x200000ull

struct user_request user_requests[USER_REQUESTS];
static struct guest_memory memory;
static struct spinlock vm_lock = SPINLOCK_INIT(RANK_VM);

void user_begin(void)
{
    memset(user_requests, 0, sizeof(user_requests));
    fake_guest_ram_reset(&memory, 64 << 20);
    memory.lock = &vm_lock;
}

static void done(struct block_request *block, int status)
{
    struct user_request *request = container_of(block, struct user_request, block);

    assert_int_equal(request->status, NOT_DONE);
    request->status = status;
}

int user_submit(u32 n, struct block_device *disk, enum block_operation operation, u64 sector, u64 sectors)
{
    struct user_request *request = &user_requests[n];
    bool moves = operation == BLOCK_READ || operation == BLOCK_WRITE;

    request->status = NOT_DONE;
    request->segment = (struct guest_segment){BUFFER + n * (gpa_t)USER_BYTES, sectors * BLOCK_SECTOR};
    request->block = (struct block_request){.operation = operation,
                                            .sector = sector,
                                            .sectors = sectors,
                                            .memory = &memory,
                                            .segments = &request->segment,
                                            .segment_count = moves,
                                            .done = done};
    return block_submit(disk, &request->block);
}

void user_send(u32 n, struct block_device *disk, enum block_operation operation, u64 sector, u64 sectors)
{
    assert_int_equal(user_submit(n, disk, operation, sector, sectors), -EINPROGRESS);
}

u8 *user_data(u32 n)
{
    return fake_guest_ram_at(BUFFER + n * USER_BYTES);
}

void user_pass(u64 us)
{
    struct timer_queue *timers = &sched_cpus[0].timers;
    u64 end = drive_time + us;

    while (timers->first && timers->first->deadline <= end) {
        drive_time = MAX(drive_time + 1, timers->first->deadline);
        timer_queue_run(timers, drive_time);
    }
    drive_time = MAX(drive_time, end);
}
