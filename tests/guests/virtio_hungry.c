/* SPDX-License-Identifier: MIT */
/*
 * A drive's answers where the machine has no memory left for them: this VM is promised less than it sees.
 * What is read ends with an error; a status waits until somebody gives memory.
 */
// alone: tests/system/test_balloon.py
// conf: disk = ram:8M
// conf: memory = 200M
// conf: balloon.max = 64M
#include "lib/tap.h"
#include "lib/virtio.h"

#define SLOT    1u
#define FIRST   (32ull << 20) /* below is the guest's own */
#define LAST    (199ull << 20)
#define BUFFERS (RING_SIZE - 2)
#define BUFFER  0x8000u /* of a request, as the drive says */
#define REQUEST (BUFFERS * BUFFER)
#define PATTERN 0x5a

static struct virtio drive;
static struct ring ring;
static u8 pattern[BUFFER] ALIGNED(4096);
static struct blk_request request;

/* All that one request can carry: every buffer the pattern, or one behind the other from `at` on. */
static u8 move(u32 type, u64 at)
{
    struct vring_used_elem used;
    const u16 in = type == VIRTIO_BLK_T_IN ? VRING_DESC_F_WRITE : 0;

    request.header = (struct virtio_blk_outhdr){.type = type};
    request.status = NO_ANSWER;
    ring.desc[0] = (struct vring_desc){(u64)&request.header, sizeof(request.header), VRING_DESC_F_NEXT, 1};
    for (u16 i = 1; i <= BUFFERS; i++)
        ring.desc[i] = (struct vring_desc){in ? at + (i - 1) * BUFFER : (u64)pattern, BUFFER,
                                           VRING_DESC_F_NEXT | in, (u16)(i + 1)};
    ring.desc[BUFFERS + 1] = (struct vring_desc){(u64)&request.status, 1, VRING_DESC_F_WRITE, 0};
    ring_offer(&drive, 0);
    ring_notify(&drive);
    return ring_wait(&drive, &used) ? request.status : NO_ANSWER;
}

static void data_without_memory(void)
{
    u64 at = FIRST;
    u8 status;

    do {
        status = move(VIRTIO_BLK_T_IN, at);
        at += REQUEST;
    } while (status == VIRTIO_BLK_S_OK && at + REQUEST < LAST);
    ok(status == VIRTIO_BLK_S_IOERR, "a read that finds no memory is an error");
    ok(*(volatile u8 *)FIRST == PATTERN, "the others were carried out");
    ok(virtio_status(&drive) == 0xf, "the drive goes on");
}

static void answer_without_memory(void)
{
    struct blk_request *far = (struct blk_request *)LAST;
    struct vring_used_elem used;

    blk_describe(&drive, 0, &request, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, false);
    ring.desc[1].addr = (u64)&far->status;
    say("a status goes where no memory is");
    ring_offer(&drive, 0);
    ring_notify(&drive);
    ok(ring_wait(&drive, &used) && used.id == 0, "the request ends");
    ok(far->status == VIRTIO_BLK_S_OK, "with its status");
    ok(move(VIRTIO_BLK_T_IN, FIRST) == VIRTIO_BLK_S_OK, "and so does the next one");
}

void guest_main(void)
{
    plan(7);
    if (!virtio_find(&drive, SLOT))
        bail_out("there is no drive");
    virtio_begin(&drive, &ring, ~BIT(VIRTIO_RING_F_EVENT_IDX));
    for (u32 i = 0; i < BUFFER; i++)
        pattern[i] = PATTERN;
    ok(move(VIRTIO_BLK_T_OUT, 0) == VIRTIO_BLK_S_OK, "the drive holds something");
    data_without_memory();
    answer_without_memory();
}
