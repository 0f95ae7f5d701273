/* SPDX-License-Identifier: MIT */
/*
 * A CD drive of the machine: all of a medium is read, and its checksum printed, which the test knows. With
 * "watch" it goes on by polling for media events, as Linux does, prints each, reads each of two new media,
 * and locks the tray; it ends when it has been asked for the medium, and has ejected it. With "keys" it polls
 * before that once for each key "p", and no more behind another one. With "stuck" it locks the tray and waits
 * for a key, reads what will not come before the medium has gone by force, and then all of another medium.
 */
// alone: tests/system/test_cd_drives.py gives it its drive
#include "lib/apic.h"
#include "lib/serial.h"
#include "lib/tap.h"
#include "lib/virtio_scsi.h"

#define AT_ONCE    33u /* blocks; more than lintel hands over at once */
#define POLL_US    20000u
#define PATIENCE   30u /* seconds */
#define OPEN_TRAY  2u
#define ADLER_BASE 65521u

static struct virtio drive;
static struct ring ring;
static struct scsi_request request;
static u8 data[AT_ONCE * SCSI_BLOCK];

static void ask(const u8 cdb[12], u32 bytes)
{
    scsi_describe(&drive, 0, &request, 0, cdb, bytes);
    ring.desc[2].addr = (u64)data;
    ring_offer(&drive, 0);
    ring_notify(&drive);
}

/* As scsi_do, with more data, of a drive that takes its time. */
static u32 run_bytes(const u8 cdb[12], u32 bytes)
{
    struct vring_used_elem used;
    u32 waited = 0;

    ask(cdb, bytes);
    while (!ring_wait(&drive, &used))
        if (++waited == PATIENCE)
            return SCSI_NO_ANSWER;
    return scsi_answer(&request);
}
#define run(bytes, ...) run_bytes((const u8[12]){__VA_ARGS__}, bytes)

static u32 get_32(const u8 *at)
{
    return (u32)at[0] << 24 | (u32)at[1] << 16 | (u32)at[2] << 8 | at[3];
}

/* As zlib has it. */
static u32 adler(u32 sum, u32 bytes)
{
    u32 a = sum & 0xffff, b = sum >> 16;

    for (u32 i = 0; i < bytes; i++) {
        a += data[i];
        b += a;
        if (i % 4096 == 4095) {
            a %= ADLER_BASE;
            b %= ADLER_BASE;
        }
    }
    return b % ADLER_BASE << 16 | a % ADLER_BASE;
}

static bool lock(bool lock)
{
    return run(0, 0x1e, 0, 0, 0, lock) == SCSI_OK;
}

/* All of the medium; false: it can't be read. */
static bool medium_read(void)
{
    u32 blocks, count, sum = 1, answer = run(8, 0x25);

    while (answer == SCSI_CHANGED || answer == SCSI_WAS_RESET)
        answer = run(8, 0x25);
    if (answer) {
        say("no medium: %x", answer);
        return false;
    }
    blocks = get_32(data) + 1;
    for (u32 block = 0; block < blocks; block += count) {
        count = blocks - block < AT_ONCE ? blocks - block : AT_ONCE;
        answer = run(count * SCSI_BLOCK, 0x28, 0, (u8)(block >> 24), (u8)(block >> 16), (u8)(block >> 8),
                     (u8)block, 0, 0, (u8)count);
        if (answer) {
            say("block %u: %x", block, answer);
            return false;
        }
        sum = adler(sum, count * SCSI_BLOCK);
    }
    say("medium of %u blocks, sum %x", blocks, sum);
    answer = run(SCSI_BLOCK, 0x28, 0, (u8)(blocks >> 24), (u8)(blocks >> 16), (u8)(blocks >> 8), (u8)blocks,
                 0, 0, 1);
    return ok(answer == 0x52100, "nothing is read behind its end: %x", answer);
}

static u8 event_get(void)
{
    if (run(8, 0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8) != SCSI_OK)
        bail_out("no answer about events");
    return data[4];
}

/* By the polls of Linux. */
static void watch(void)
{
    for (;;) {
        u8 event;

        event = event_get();
        if (event)
            say("event %u, status %u", event, data[5]);
        if (event == 1)
            break;
        if (event == 2 && medium_read() && lock(true))
            say("locked");
        delay_us(POLL_US);
    }
    ok(lock(false) && run(0, 0x1b, 0, 0, 0, OPEN_TRAY) == SCSI_OK, "the tray opens");
    say("answer %x", run(0, 0x00));
}

static char key_get(void)
{
    while (!serial_has_key())
        delay_us(POLL_US);
    return serial_key();
}

static void watch_by_keys(void)
{
    while (key_get() == 'p') {
        u8 event = event_get();

        say("event %u, status %u", event, data[5]);
    }
}

static void stuck(void)
{
    static const u8 read[12] = {0x28, 0, 0, 0, 0, 5, 0, 0, 8};
    u32 answer = SCSI_NO_ANSWER, waited = 0;
    struct vring_used_elem used;

    ok(lock(true), "the tray is locked");
    key_get();
    ask(read, 8 * SCSI_BLOCK);
    say("it is asked");
    while (answer == SCSI_NO_ANSWER && waited++ < PATIENCE)
        answer = ring_wait(&drive, &used) ? scsi_answer(&request) : SCSI_NO_ANSWER;
    ok(answer == SCSI_NO_MEDIUM, "a read under way while the medium goes: %x", answer);
    ok(run(0, 0x00) == SCSI_NO_MEDIUM && event_get() == 3, "it has gone");
    while (event_get() != 2)
        delay_us(POLL_US);
    medium_read();
}

void guest_main(void)
{
    if (!virtio_find(&drive, SCSI_SLOT))
        bail_out("there is no drive");
    drive.queue = SCSI_COMMANDS;
    virtio_begin(&drive, &ring, ALL_OFFERED);
    plan(word_given("watch") ? 4 : word_given("stuck") ? 5 : 1);
    medium_read();
    if (word_given("stuck"))
        stuck();
    if (word_given("keys"))
        watch_by_keys();
    if (word_given("watch"))
        watch();
}
