/* SPDX-License-Identifier: MIT */
/*
 * A driver of CD drives that breaks every rule: of rings, as virtio_hostile does, in both of the queues that
 * the controller serves; commands, lengths, units and task functions that are none; a second vCPU that
 * rewrites whatever the controller may be reading. With "eject" it does the last until the operator has
 * taken the medium out by force, and put another one in.
 */
// conf: vcpus = 2
// conf: cdrom = virtio_scsi_hostile.elf
#include "lib/ring_attacks.h"
#include "lib/smp.h"
#include "lib/tap.h"
#include "lib/virtio_scsi.h"

#define HOLE        0xd0000000ull
#define MEMORY      0x4000000ull
#define UNIT_GONE   0x52500u
#define BEYOND_END  0x52100u
#define UNREADABLE  0x31100u
#define STORM       100u
#define STORM_ROUND 16u
#define EVENT_NEW   2u
#define EVENT_GONE  3u

static struct virtio drive = {.slot = SCSI_SLOT}, control, events;
static struct ring ring, control_ring, events_ring;
static struct scsi_request request;
static struct scsi_task task;
static struct vring_desc table[4] ALIGNED(16);

static void begin(void)
{
    virtio_begin(&drive, &ring, ALL_OFFERED);
    control = events = drive;
    control.queue = SCSI_CONTROL;
    virtio_queue(&control, &control_ring);
    events.queue = SCSI_EVENTS;
    virtio_queue(&events, &events_ring);
}

static const u8 read_first[12] = {0x28, [8] = 1};

/* The drive has said what it had to say of resets and media. */
static bool reads(void)
{
    u32 answer = SCSI_CHANGED;

    for (u32 i = 0; i < 3 && (answer == SCSI_CHANGED || answer == SCSI_WAS_RESET); i++)
        answer = scsi_do(&drive, &request, 0, read_first, SCSI_BLOCK);
    return answer == SCSI_OK && request.data[1] == 'E';
}

static bool works_again(void)
{
    begin();
    return reads() &&
           scsi_task_do(&control, &task, VIRTIO_SCSI_T_TMF_QUERY_TASK_SET, 0, 0) == VIRTIO_SCSI_S_OK;
}

static void describe(void)
{
    begin();
    scsi_describe(&drive, 0, &request, 0, read_first, SCSI_BLOCK);
}

/* The answer is longer than it need be, as the attacks want three descriptors. */
static void describe_task(void)
{
    static u8 rest;

    begin();
    scsi_task_describe(&control, &task, VIRTIO_SCSI_T_TMF_QUERY_TASK_SET, 0, 0);
    control_ring.desc[1].flags |= VRING_DESC_F_NEXT;
    control_ring.desc[1].next = 2;
    control_ring.desc[2] = (struct vring_desc){(u64)&rest, 1, VRING_DESC_F_WRITE, 0};
}

/* ---------------------------------------------------------------- commands */

/* Each operation code with parameters of all kinds: an answer comes, and behind it the drive still reads. */
static void opcodes(void)
{
    static const u8 fill[] = {0x00, 0x01, 0x02, 0x7f, 0x80, 0xff};
    u32 answered = 0;

    begin();
    for (u32 i = 0; i < 256 * ARRAY_SIZE(fill); i++) {
        u8 cdb[12] = {(u8)(i / ARRAY_SIZE(fill))};

        for (u32 j = 1; j < sizeof(cdb); j++)
            cdb[j] = fill[i % ARRAY_SIZE(fill)];
        answered += scsi_do(&drive, &request, i % 7 == 0, cdb, i % 5 ? SCSI_BLOCK : 1) != SCSI_NO_ANSWER;
    }
    ok(answered == 256 * ARRAY_SIZE(fill) && !needs_reset(&drive), "%u commands are answered", answered);
    for (u32 i = 0; i < 3; i++) /* it may tell of a reset and a medium first */
        scsi_run(&drive, &request, 0, 0x1b, [4] = 3);
    ok(reads(), "and the drive reads");
}

static u32 read_12(u32 block, u32 count, u64 at, u32 bytes)
{
    const u8 cdb[12] = {0xa8,
                        0,
                        (u8)(block >> 24),
                        (u8)(block >> 16),
                        (u8)(block >> 8),
                        (u8)block,
                        (u8)(count >> 24),
                        (u8)(count >> 16),
                        (u8)(count >> 8),
                        (u8)count};
    struct vring_used_elem used;

    scsi_describe(&drive, 0, &request, 0, cdb, bytes);
    if (at)
        ring.desc[2].addr = at;
    ring_offer(&drive, 0);
    ring_notify(&drive);
    return ring_wait(&drive, &used) ? scsi_answer(&request) : SCSI_NO_ANSWER;
}

static void lengths(void)
{
    struct vring_used_elem used;
    u32 blocks;

    begin();
    reads();
    scsi_run(&drive, &request, 8, 0x25);
    blocks = ((u32)request.data[1] << 16 | (u32)request.data[2] << 8 | request.data[3]) + 1;
    ok(read_12(0, ~0u, 0, SCSI_BLOCK) == BEYOND_END && read_12(~0u, ~0u, 0, SCSI_BLOCK) == BEYOND_END &&
           read_12(blocks, 1, 0, SCSI_BLOCK) == BEYOND_END && read_12(1, blocks, 0, SCSI_BLOCK) == BEYOND_END,
       "what lies behind the medium's end");
    ok(read_12(blocks, 0, 0, SCSI_BLOCK) == SCSI_OK, "nothing, at its end");
    ok(read_12(0, 2, 0, SCSI_BLOCK) == SCSI_RESPONSE(VIRTIO_SCSI_S_OVERRUN) &&
           read_12(0, 1, 0, SCSI_BLOCK - 1) == SCSI_RESPONSE(VIRTIO_SCSI_S_OVERRUN) &&
           read_12(0, 1, 0, 0) == SCSI_RESPONSE(VIRTIO_SCSI_S_OVERRUN),
       "a buffer that is too short");
    ok(read_12(0, 1, HOLE, SCSI_BLOCK) == UNREADABLE &&
           read_12(0, 1, MEMORY - 16, SCSI_BLOCK) == UNREADABLE &&
           read_12(0, 1, ~0ull, SCSI_BLOCK) == UNREADABLE && read_12(0, 1, HOLE, ~0u) == UNREADABLE,
       "a buffer where no RAM is");
    scsi_describe(&drive, 0, &request, 0, (const u8[12]){0x12, [4] = 36}, 36);
    ring.desc[2].addr = HOLE;
    ring_offer(&drive, 0);
    ring_notify(&drive);
    ok(ring_wait(&drive, &used) && scsi_answer(&request) == SCSI_RESPONSE(VIRTIO_SCSI_S_FAILURE) &&
           !needs_reset(&drive) && reads(),
       "and for an INQUIRY");
}

static u32 to_lun(u8 first, u8 target, u8 high, u8 low)
{
    struct vring_used_elem used;

    scsi_describe(&drive, 0, &request, 0, (const u8[12]){0x00}, 0);
    request.header.lun[0] = first;
    request.header.lun[1] = target;
    request.header.lun[2] = high;
    request.header.lun[3] = low;
    ring_offer(&drive, 0);
    ring_notify(&drive);
    return ring_wait(&drive, &used) ? scsi_answer(&request) : SCSI_NO_ANSWER;
}

static void units(void)
{
    const u32 no_target = SCSI_RESPONSE(VIRTIO_SCSI_S_BAD_TARGET);

    begin();
    ok(to_lun(0, 0, 0x40, 0) == no_target && to_lun(2, 0, 0x40, 0) == no_target &&
           to_lun(1, 1, 0x40, 0) == no_target && to_lun(0xff, 0xff, 0xff, 0xff) == no_target,
       "targets that are none");
    ok(to_lun(1, 0, 0x40, 1) == UNIT_GONE && to_lun(1, 0, 0x40, 255) == UNIT_GONE &&
           to_lun(1, 0, 0x7f, 255) == UNIT_GONE && to_lun(1, 0, 0xff, 0) == UNIT_GONE,
       "units that are none");
}

static void functions(void)
{
    static u8 answer[5];
    struct vring_used_elem used;
    u32 refused = 0;

    begin();
    for (u32 i = 8; i < 40; i++)
        refused += scsi_task_do(&control, &task, i, 0, 0) == VIRTIO_SCSI_S_FUNCTION_REJECTED;
    ok(refused == 32 && scsi_task_do(&control, &task, ~0u, 0, 0) == VIRTIO_SCSI_S_FUNCTION_REJECTED,
       "task functions that are none");
    ok(scsi_task_do(&control, &task, VIRTIO_SCSI_T_TMF_ABORT_TASK, 1, 0) == VIRTIO_SCSI_S_INCORRECT_LUN &&
           scsi_task_do(&control, &task, VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET, 255, 0) ==
               VIRTIO_SCSI_S_INCORRECT_LUN,
       "for units that are none");
    ok(scsi_task_do(&control, &task, VIRTIO_SCSI_T_TMF_ABORT_TASK, 0, ~0ull) == VIRTIO_SCSI_S_OK &&
           scsi_task_do(&control, &task, VIRTIO_SCSI_T_TMF_ABORT_TASK_SET, 0, 0) == VIRTIO_SCSI_S_OK,
       "for commands that are none");
    scsi_task_describe(&control, &task, 0, 0, 0);
    task.header.type = ~0u; /* what is no task function has an answer of five bytes */
    control_ring.desc[1].addr = (u64)answer;
    control_ring.desc[1].len = sizeof(answer);
    ring_offer(&control, 0);
    ring_notify(&control);
    ok(ring_wait(&control, &used) && answer[4] == VIRTIO_SCSI_S_OK && reads(), "a request that is none");
}

/* Buffers for events, of which there are none, at every place: nothing looks at them. */
static void event_buffers(void)
{
    begin();
    for (u16 i = 0; i < RING_SIZE; i++) {
        events_ring.desc[i] =
            (struct vring_desc){i % 2 ? HOLE : (u64)table, ~0u, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, i};
        ring_offer(&events, i);
    }
    WRITE_ONCE(events_ring.avail.idx, 0x7000);
    ring_notify(&events);
    ok(reads() && events_ring.used.idx == 0 && !needs_reset(&drive), "buffers for events");
}

/* ---------------------------------------------------------------- a second vCPU */

static u32 over;

/* Commands that leave tray and events alone. */
static const u8 harmless[] = {0x28, 0xa8, 0x25, 0x12, 0x00, 0x43, 0x46, 0xa0};

/* Change whatever the controller may be reading. */
static void rewrite(void)
{
    u64 seed = 7;

    while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE)) {
        struct vring_desc *desc;

        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        for (u32 i = 0; i < (seed >> 50 & 0xfff); i++) /* else nothing right is left when the device looks */
            asm volatile("");
        desc = seed & 1   ? &table[seed >> 33 & 3]
               : seed & 2 ? &ring.desc[seed >> 33 & 3]
                          : &control_ring.desc[seed >> 33 & 1];
        switch (seed >> 60) {
        case 0: WRITE_ONCE(desc->len, seed & 4 ? 1u << (seed >> 40 & 31) : 108); break;
        case 1: WRITE_ONCE(desc->addr, (seed & 12) == 12 ? HOLE : (u64)&request.data); break;
        case 2: WRITE_ONCE(desc->next, (u16)(seed >> 44 & 3)); break;
        case 3: WRITE_ONCE(desc->flags, (u16)(seed >> 44 & 7)); break;
        case 4: WRITE_ONCE(request.header.lun[seed >> 40 & 3], (u8)(seed >> 48)); break;
        case 5: WRITE_ONCE(request.header.cdb[0], harmless[seed >> 40 & 7]); break;
        case 6: WRITE_ONCE(request.header.cdb[1 + (seed >> 40 & 7)], (u8)(seed >> 48)); break;
        case 7: WRITE_ONCE(ring.avail.ring[seed >> 40 & 15], (u16)(seed >> 48 & 3)); break;
        case 8: WRITE_ONCE(ring.avail.idx, (u16)(ring.avail.idx + 1)); break;
        case 9: WRITE_ONCE(task.header.subtype, (u32)(seed >> 40 & 15)); break;
        case 10: WRITE_ONCE(task.header.type, (u32)(seed >> 40 & 1)); break;
        case 11: WRITE_ONCE(task.header.lun[3], (u8)(seed >> 40 & 3)); break;
        default: WRITE_ONCE(ring.avail.flags, (u16)(seed >> 48)); break;
        }
    }
}

static void storm_round(u32 round)
{
    describe();
    scsi_task_describe(&control, &task, VIRTIO_SCSI_T_TMF_ABORT_TASK_SET, 0, 0);
    table[0] = ring.desc[0];
    table[1] = ring.desc[1];
    table[2] = ring.desc[2];
    ring.desc[3] = (struct vring_desc){(u64)table, 48, VRING_DESC_F_INDIRECT, 0};
    for (u32 i = 0; i < STORM_ROUND; i++) {
        ring_offer(&drive, i % 2 ? 3 : 0);
        ring_offer(&control, 0);
    }
    if (round % 2)
        smp_yield(); /* where both have one CPU, it is the other one's now */
    ring_notify(&drive);
    ring_notify(&control);
}

static void storm(void)
{
    u32 resets = 0, answers = 0;

    smp_run(1, rewrite);
    for (u32 round = 0; round < STORM; round++) {
        storm_round(round);
        resets += needs_reset(&drive);
        answers += ring.used.idx + control_ring.used.idx;
    }
    __atomic_store_n(&over, 1, __ATOMIC_RELEASE);
    smp_wait(1);
    say("%u of %u rounds ended in a refusal, %u requests in an answer", resets, STORM, answers);
    ok(works_again(), "descriptors and commands that another vCPU rewrites");
}

/* The next event, asked for with a ring and a request that nobody else writes to. */
static u32 event_next(void)
{
    static struct virtio quiet;
    static struct ring quiet_ring;
    static struct scsi_request poll;

    quiet = drive;
    virtio_begin(&quiet, &quiet_ring, ALL_OFFERED);
    return scsi_run(&quiet, &poll, 8, 0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8) == SCSI_OK ? poll.data[4] : ~0u;
}

/* The storm goes on while the operator works: both events come, in their order, and none else. */
static void ejected(void)
{
    u32 seen[2] = {0}, count = 0, wrong = 0;

    smp_run(1, rewrite);
    for (u32 round = 0; count < 2 && !wrong; round++) {
        u32 event;

        storm_round(round);
        event = event_next();
        if (event == EVENT_GONE || event == EVENT_NEW)
            seen[count++] = event;
        else
            wrong += event != 0;
    }
    __atomic_store_n(&over, 1, __ATOMIC_RELEASE);
    smp_wait(1);
    ok(!wrong && seen[0] == EVENT_GONE && seen[1] == EVENT_NEW, "the medium goes, another one comes");
    begin();
    scsi_run(&drive, &request, 0, 0x00);
    scsi_run(&drive, &request, 0, 0x00);
    ok(scsi_do(&drive, &request, 0, read_first, SCSI_BLOCK) == SCSI_OK && request.data[0] == 0 &&
           request.data[1] == 0,
       "and it is the one that is read");
}

void guest_main(void)
{
    static const struct ring_target commands = {&drive, &ring, describe, 1, works_again};
    static const struct ring_target tasks = {&control, &control_ring, describe_task, 1, works_again};
    bool operated = word_given("eject");

    plan(operated ? 2 : 2 * ATTACKS_ALL + 15);
    smp_setup();
    smp_start_all();
    if (!virtio_find(&drive, SCSI_SLOT))
        bail_out("there is no controller");
    drive.queue = SCSI_COMMANDS;
    if (operated) {
        ejected();
        return;
    }
    attack_chains(&commands);
    attack_tables(&commands);
    attack_rings(&commands);
    attack_places(&commands);
    attack_chains(&tasks);
    attack_tables(&tasks);
    attack_rings(&tasks);
    attack_places(&tasks);
    opcodes();
    lengths();
    units();
    functions();
    event_buffers();
    storm();
}
