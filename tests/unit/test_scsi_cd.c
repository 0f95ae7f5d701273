/* SPDX-License-Identifier: MIT */
/* A CD drive's commands: what a driver looks at in each answer, its tray, what is told of media. */
// sources: hv/storage/scsi_cd.c hv/storage/media.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/lib/errno.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"
#include "hv/storage/scsi_cd.h"

#define BLOCKS           1000u
#define GOOD             0
#define NOT_READY_CLOSED 0x23a01
#define NOT_READY_OPEN   0x23a02
#define BAD_FIELD        0x52400
#define CHANGED          0x62800
#define WAS_RESET        0x62900

static struct scsi_cd cd;
static struct scsi_command command;
static struct block_device medium = {.name = "a", .sectors = 4 * BLOCKS, .depth = 1};
static struct block_device large = {.name = "b", .sectors = 4ull * 2000000, .depth = 1};

void log_line(enum log_level level, const char *format, ...)
{
    (void)level, (void)format;
    fail();
}

size_t string_copy(char *to, const char *from, size_t size)
{
    return (size_t)snprintf(to, size, "%s", from);
}

void panic_at(const char *file, int line, const char *format, ...)
{
    fail_msg("%s:%d: %s", file, line, format);
    abort();
}

static void check_events(struct media *media, u32 clearing)
{
    (void)clearing;
    media_checked(media, 0);
}

static u64 clock_read(void)
{
    return 0;
}

static void alarm_set(u64 ms)
{
    assert_int_equal(ms, ~0ull); /* it tells by itself */
}

/* Sense key, code and qualifier as one number; 0: all went well. */
static u32 run_bytes(const u8 cdb[SCSI_CDB_BYTES])
{
    memset(&command, 0xa5, sizeof(command));
    memcpy(command.cdb, cdb, SCSI_CDB_BYTES);
    scsi_cd_execute(&cd, 2, &command);
    assert_true(command.bytes <= SCSI_DATA_MAX);
    if (command.status == SCSI_GOOD)
        return GOOD;
    assert_int_equal(command.status, SCSI_CHECK_CONDITION);
    assert_int_equal(command.sense[0], 0x70);
    assert_int_equal(command.bytes, 0);
    assert_null(command.medium);
    return (u32)command.sense[2] << 16 | (u32)command.sense[12] << 8 | command.sense[13];
}
#define run(...) run_bytes((const u8[SCSI_CDB_BYTES]){__VA_ARGS__})
#define ready()  run(0x00)

/* GET EVENT STATUS NOTIFICATION: the event's code; *status as a byte. */
static u8 event(u8 *status)
{
    assert_int_equal(run(0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8), GOOD);
    assert_int_equal(command.bytes, 8);
    assert_memory_equal(command.data, "\0\6\4\x10", 4);
    *status = command.data[5];
    return command.data[4];
}

#define assert_event(code, is)                   \
    do {                                         \
        u8 status_;                              \
        assert_int_equal(event(&status_), code); \
        assert_int_equal(status_, is);           \
    } while (0)
#define OPEN   1
#define INSIDE 2

static int setup_with(struct block_device *in)
{
    static const struct media_host host = {clock_read, alarm_set};
    static const struct media_ops ops = {.check_events = check_events};

    media_start(&host);
    memset(&cd, 0, sizeof(cd));
    cd.media.ops = &ops;
    cd.media.poll_ms = MEDIA_POLL_DEFAULT;
    strcpy(cd.media.name, "cd0");
    scsi_cd_init(&cd, in);
    media_add(&cd.media);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    setup_with(&medium);
    assert_int_equal(ready(), WAS_RESET);
    assert_int_equal(ready(), GOOD);
    return 0;
}

/* ---------------------------------------------------------------- who it is */

static void test_inquiry(void **state)
{
    (void)state;
    assert_int_equal(run(0x12, 0, 0, 0, 255), GOOD);
    assert_int_equal(command.bytes, 36);
    assert_memory_equal(command.data, "\5\x80\5\2\x1f\0\0\0lintel  virtual CD-ROM  ", 32);
    assert_int_equal(run(0x12, 0, 0, 0, 5), GOOD);
    assert_int_equal(command.bytes, 5);
    assert_int_equal(run(0x12, 0, 1, 0, 255), BAD_FIELD);
    assert_int_equal(run(0x12, 1, 0, 0, 255), GOOD);
    assert_int_equal(command.bytes, 7);
    assert_memory_equal(command.data, "\5\0\0\3\0\x80\x83", 7);
    assert_int_equal(run(0x12, 1, 0x80, 0, 255), GOOD);
    assert_memory_equal(command.data,
                        "\5\x80\0\x10"
                        "cd0             ",
                        20);
    assert_int_equal(run(0x12, 1, 0x83, 0, 255), GOOD);
    assert_int_equal(command.bytes, 32);
    assert_memory_equal(command.data, "\5\x83\0\x1c\2\1\0\x18lintel  cd0             ", 32);
    assert_int_equal(run(0x12, 1, 0x77, 0, 255), BAD_FIELD);
}

static void test_units(void **state)
{
    (void)state;
    assert_int_equal(run(0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0), GOOD);
    assert_int_equal(command.bytes, 24);
    assert_memory_equal(command.data, "\0\0\0\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 18);
    assert_int_equal(run(0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 15), BAD_FIELD);
    assert_int_equal(run(0xa0, 0, 1, 0, 0, 0, 0, 0, 0, 16), GOOD);
    assert_int_equal(command.bytes, 8);
    scsi_cd_execute(NULL, 2, &command); /* still REPORT LUNS */
    assert_int_equal(command.status, SCSI_GOOD);
    command.cdb[0] = 0x00;
    scsi_cd_execute(NULL, 2, &command);
    assert_int_equal(command.status, SCSI_CHECK_CONDITION);
    assert_int_equal(command.sense[12], 0x25);
    command.cdb[0] = 0x12;
    command.cdb[4] = 36;
    scsi_cd_execute(NULL, 2, &command);
    assert_int_equal(command.status, SCSI_GOOD);
    assert_int_equal(command.data[0], 0x7f);
}

static void test_modes(void **state)
{
    (void)state;
    assert_int_equal(run(0x1a, 0, 0x2a, 0, 128), GOOD);
    assert_int_equal(command.bytes, 26);
    assert_int_equal(command.data[0], 25);
    assert_int_equal(command.data[2], 0x80);
    assert_memory_equal(command.data + 4, "\x2a\x14\x0b\0\0\0\x29", 7);
    assert_int_equal(run(0x1e, 0, 0, 0, 1), GOOD);
    assert_int_equal(run(0x5a, 0, 0x3f, 0, 0, 0, 0, 1, 0), GOOD);
    assert_int_equal(command.bytes, 8 + 12 + 22);
    assert_int_equal(command.data[1], 40);
    assert_int_equal(command.data[8], 0x01);
    assert_int_equal(command.data[20], 0x2a);
    assert_int_equal(command.data[26], 0x2b); /* locked */
    assert_int_equal(run(0x5a, 0, 0x6a, 0, 0, 0, 0, 1, 0), GOOD);
    assert_int_equal(command.data[10], 0); /* nothing can be changed */
    assert_int_equal(run(0x5a, 0, 0xea, 0, 0, 0, 0, 1, 0), 0x53900);
    assert_int_equal(run(0x5a, 0, 0x0e, 0, 0, 0, 0, 1, 0), BAD_FIELD);
}

static void test_configuration(void **state)
{
    (void)state;
    assert_int_equal(run(0x46, 0, 0, 0, 0, 0, 0, 1, 0), GOOD);
    assert_int_equal(command.bytes, 76);
    assert_memory_equal(command.data, "\0\0\0\x48\0\0\0\x08\0\0\3\x08\0\x10\0\0\0\x08\1", 19);
    assert_int_equal(run(0x46, 2, 0, 0x10, 0, 0, 0, 1, 0), GOOD);
    assert_int_equal(command.bytes, 20);
    assert_memory_equal(command.data + 8, "\0\x10\1\x08\0\0\x08\0\0\1", 10);
    assert_int_equal(run(0x46, 2, 0, 0x77, 0, 0, 0, 1, 0), GOOD);
    assert_int_equal(command.bytes, 8);
    assert_int_equal(run(0x46, 1, 0, 0x1e, 0, 0, 0, 1, 0), GOOD);
    assert_int_equal(command.bytes, 16); /* CDs, and not DVDs */
    assert_int_equal(run(0x46, 3, 0, 0, 0, 0, 0, 1, 0), BAD_FIELD);
    assert_int_equal(scsi_cd_eject(&cd, false), 0);
    scsi_cd_insert(&cd, &large);
    assert_int_equal(run(0x46, 0, 0, 0, 0, 0, 0, 0, 8), GOOD);
    assert_int_equal(command.bytes, 8);
    assert_int_equal(command.data[7], 0x10);
}

static void test_what_it_does_not_know(void **state)
{
    u8 cdb[SCSI_CDB_BYTES] = {0x2a};

    (void)state;
    assert_int_equal(run_bytes(cdb), 0x52000); /* WRITE(10) */
    cdb[0] = 0xff;
    assert_int_equal(run_bytes(cdb), 0x52000);
}

/* ---------------------------------------------------------------- the medium */

static void test_reading(void **state)
{
    (void)state;
    assert_int_equal(run(0x25), GOOD);
    assert_memory_equal(command.data, "\0\0\3\xe7\0\0\x08\0", 8);
    assert_int_equal(run(0x28, 0, 0, 0, 3, 0xe6, 0, 0, 2), GOOD);
    assert_ptr_equal(command.medium, &medium);
    assert_int_equal(command.sector, 4 * 998);
    assert_int_equal(command.sectors, 8);
    scsi_cd_read_end(&cd, &command, 0);
    assert_int_equal(command.status, SCSI_GOOD);
    scsi_cd_read_end(&cd, &command, -EIO);
    assert_int_equal(command.sense[2], 3);
    scsi_cd_read_end(&cd, &command, -ENOMEDIUM); /* the drive has found it gone; nobody has told yet */
    assert_int_equal(command.sense[2], 2);
    assert_int_equal(command.sense[12], 0x3a);
    assert_int_equal(run(0x28, 0, 0, 0, 3, 0xe6, 0, 0, 3), 0x52100); /* never past the end */
    assert_int_equal(run(0x28, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 1), 0x52100);
    assert_int_equal(run(0xa8, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff), 0x52100);
    assert_int_equal(run(0xa8, 0, 0, 0, 0, 0, 0, 0, 3, 0xe8), GOOD);
    assert_int_equal(command.sectors, 4000);
    assert_int_equal(run(0x28, 0, 0, 0, 3, 0xe8, 0, 0, 0), GOOD); /* nothing, at the very end */
    assert_null(command.medium);
}

static void test_contents(void **state)
{
    (void)state;
    assert_int_equal(run(0x43, 0, 0, 0, 0, 0, 0, 1, 0), GOOD);
    assert_int_equal(command.bytes, 20);
    assert_memory_equal(command.data, "\0\x12\1\1\0\x14\1\0\0\0\0\0\0\x14\xaa\0\0\0\3\xe8", 20);
    assert_int_equal(run(0x43, 2, 0, 0, 0, 0, 0xaa, 1, 0), GOOD);
    assert_memory_equal(command.data, "\0\x0a\1\1\0\x14\xaa\0\0\0\x0f\x19", 12); /* 0 min, 15 s, 25 blocks */
    assert_int_equal(run(0x43, 0, 1, 0, 0, 0, 0, 0, 12), GOOD);
    assert_memory_equal(command.data, "\0\x0a\1\1\0\x14\1\0\0\0\0\0", 12);
    assert_int_equal(run(0x43, 0, 0, 0, 0, 0, 0, 0, 12, 0x40), GOOD);
    assert_int_equal(command.bytes, 12);
    assert_int_equal(run(0x43, 0, 2, 0, 0, 0, 0, 0, 12), BAD_FIELD);
    assert_int_equal(run(0x43, 0, 0, 0, 0, 0, 2, 0, 12), BAD_FIELD);
    assert_int_equal(run(0x51, 0, 0, 0, 0, 0, 0, 0, 200), GOOD);
    assert_int_equal(command.bytes, 34);
    assert_memory_equal(command.data, "\0\x20\x0e\1\1\1\1\x20", 8);
    assert_int_equal(run(0x51, 1, 0, 0, 0, 0, 0, 0, 200), BAD_FIELD);
}

/* ---------------------------------------------------------------- changes */

static void test_each_change_is_told_once(void **state)
{
    (void)state;
    assert_event(0, INSIDE);
    assert_int_equal(scsi_cd_eject(&cd, false), 0);
    assert_int_equal(cd.media.pending, MEDIA_CHANGE);
    assert_int_equal(ready(), NOT_READY_OPEN);
    assert_int_equal(run(0x25), NOT_READY_OPEN);
    assert_int_equal(run(0x28, 0, 0, 0, 0, 0, 0, 0, 1), NOT_READY_OPEN);
    assert_int_equal(run(0x43, 0, 0, 0, 0, 0, 0, 1, 0), NOT_READY_OPEN);
    assert_event(3, OPEN);
    assert_int_equal(cd.media.pending, 0);
    assert_event(0, OPEN);
    assert_int_equal(scsi_cd_eject(&cd, true), -ENOENT);
    scsi_cd_insert(&cd, &large);
    assert_int_equal(cd.media.pending, MEDIA_CHANGE);
    assert_event(2, INSIDE); /* is told beside the unit attention */
    assert_event(0, INSIDE);
    assert_int_equal(run(0x12, 0, 0, 0, 36), GOOD);
    assert_int_equal(ready(), CHANGED);
    assert_int_equal(ready(), GOOD);
    assert_int_equal(run(0x25), GOOD);
    assert_memory_equal(command.data, "\0\x1e\x84\x7f", 4);
}

/* The guest slept: both are told, and one unit attention is enough. */
static void test_a_swap_that_nobody_saw(void **state)
{
    (void)state;
    scsi_cd_eject(&cd, false);
    scsi_cd_insert(&cd, &large);
    assert_event(3, INSIDE);
    assert_int_equal(cd.media.pending, MEDIA_CHANGE); /* the other half is not seen yet */
    assert_event(2, INSIDE);
    assert_int_equal(cd.media.pending, 0);
    assert_event(0, INSIDE);
    assert_int_equal(ready(), CHANGED);
    assert_int_equal(ready(), GOOD);
    /* And what came and went: it has gone. */
    scsi_cd_eject(&cd, false);
    assert_event(3, OPEN);
    scsi_cd_insert(&cd, &medium);
    scsi_cd_eject(&cd, false);
    assert_event(3, OPEN);
    assert_event(0, OPEN);
    assert_int_equal(ready(), NOT_READY_OPEN);
}

static void test_a_short_answer_takes_no_event(void **state)
{
    (void)state;
    scsi_cd_eject(&cd, false);
    assert_int_equal(run(0x4a, 1, 0, 0, 0x10, 0, 0, 0, 4), GOOD);
    assert_int_equal(command.bytes, 4);
    assert_int_equal(run(0x4a, 1, 0, 0, 0x02, 0, 0, 0, 8), GOOD); /* another class */
    assert_memory_equal(command.data, "\0\2\x80\x10", 4);
    assert_int_equal(run(0x4a, 0, 0, 0, 0x10, 0, 0, 0, 8), BAD_FIELD);
    assert_event(3, OPEN);
}

static void test_request_sense_takes_the_attention(void **state)
{
    (void)state;
    scsi_cd_eject(&cd, false);
    scsi_cd_insert(&cd, &large);
    assert_int_equal(run(0x03, 0, 0, 0, 18), GOOD);
    assert_int_equal(command.bytes, 18);
    assert_int_equal(command.data[2], 6);
    assert_int_equal(command.data[12], 0x28);
    assert_int_equal(run(0x03, 0, 0, 0, 18), GOOD);
    assert_int_equal(command.data[2], 0);
    assert_int_equal(ready(), GOOD);
    assert_int_equal(run(0x03, 1, 0, 0, 18), BAD_FIELD);
}

static void test_the_guests_tray(void **state)
{
    (void)state;
    assert_int_equal(run(0x1b, 0, 0, 0, 1), GOOD); /* the motor */
    assert_int_equal(ready(), GOOD);
    assert_int_equal(run(0x1b, 0, 0, 0, 2), GOOD);
    assert_int_equal(ready(), NOT_READY_OPEN);
    assert_event(3, OPEN);
    assert_int_equal(run(0x1b, 0, 0, 0, 2), GOOD); /* it is open already */
    assert_event(0, OPEN);
    assert_int_equal(run(0x1b, 0, 0, 0, 3), GOOD);
    assert_event(2, INSIDE);
    assert_int_equal(ready(), CHANGED);
    assert_int_equal(ready(), GOOD);
    run(0x1b, 0, 0, 0, 2);
    assert_int_equal(scsi_cd_eject(&cd, false), 0); /* out of the open tray: the guest knows it has gone */
    assert_event(3, OPEN);
    assert_event(0, OPEN);
    assert_int_equal(run(0x1b, 0, 0, 0, 3), GOOD);
    assert_int_equal(ready(), NOT_READY_CLOSED);
    assert_event(0, 0);
}

static void test_locked(void **state)
{
    (void)state;
    assert_int_equal(run(0x1e, 0, 0, 0, 1), GOOD);
    assert_int_equal(run(0x1b, 0, 0, 0, 2), 0x55302);
    assert_int_equal(scsi_cd_eject(&cd, false), -EAGAIN);
    assert_int_equal(cd.media.pending, MEDIA_EJECT_REQUEST);
    assert_int_equal(ready(), GOOD);
    assert_event(1, INSIDE);
    assert_int_equal(cd.media.pending, 0);
    assert_event(0, INSIDE);
    assert_int_equal(scsi_cd_eject(&cd, false), -EAGAIN);
    assert_int_equal(run(0x1e), GOOD);
    assert_int_equal(run(0x1b, 0, 0, 0, 2), GOOD); /* the guest has honoured it unasked */
    assert_event(3, OPEN);
    assert_event(0, OPEN);
    scsi_cd_insert(&cd, &large);
    assert_event(2, INSIDE);
    run(0x00);
    run(0x1e, 0, 0, 0, 1);
    assert_int_equal(scsi_cd_eject(&cd, true), 0); /* always works */
    assert_int_equal(ready(), NOT_READY_OPEN);
}

/* What was read of a medium that has gone is an error, whatever the medium said. */
static void test_a_read_overtaken(void **state)
{
    struct scsi_command late;

    (void)state;
    assert_int_equal(run(0x28, 0, 0, 0, 0, 0, 0, 0, 1), GOOD);
    late = command;
    scsi_cd_eject(&cd, true);
    scsi_cd_read_end(&cd, &late, 0);
    assert_int_equal(late.status, SCSI_CHECK_CONDITION);
    assert_memory_equal(late.sense + 12, "\x3a\x02", 2);
    late = command;
    scsi_cd_insert(&cd, &large);
    scsi_cd_read_end(&cd, &late, 0);
    assert_int_equal(late.sense[2], 6);
    assert_int_equal(late.sense[12], 0x28);
    assert_int_equal(ready(), GOOD); /* that was the one for this change */
}

static void test_reset(void **state)
{
    (void)state;
    run(0x1e, 0, 0, 0, 1);
    scsi_cd_eject(&cd, true);
    scsi_cd_insert(&cd, &large);
    scsi_cd_reset(&cd);
    assert_false(cd.locked);
    assert_int_equal(cd.media.pending, 0);
    assert_event(0, INSIDE);
    assert_int_equal(ready(), WAS_RESET);
    assert_int_equal(ready(), GOOD); /* and not of the change, too */
    run(0x1b, 0, 0, 0, 2);
    scsi_cd_bus_reset(&cd);
    assert_int_equal(ready(), WAS_RESET);
    assert_int_equal(ready(), NOT_READY_OPEN);
    scsi_cd_reset(&cd);
    assert_int_equal(ready(), WAS_RESET);
    assert_int_equal(ready(), GOOD);
    setup_with(NULL);
    assert_int_equal(ready(), WAS_RESET);
    assert_int_equal(ready(), NOT_READY_CLOSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_inquiry, setup),
        cmocka_unit_test_setup(test_units, setup),
        cmocka_unit_test_setup(test_modes, setup),
        cmocka_unit_test_setup(test_configuration, setup),
        cmocka_unit_test_setup(test_what_it_does_not_know, setup),
        cmocka_unit_test_setup(test_reading, setup),
        cmocka_unit_test_setup(test_contents, setup),
        cmocka_unit_test_setup(test_each_change_is_told_once, setup),
        cmocka_unit_test_setup(test_a_swap_that_nobody_saw, setup),
        cmocka_unit_test_setup(test_a_short_answer_takes_no_event, setup),
        cmocka_unit_test_setup(test_request_sense_takes_the_attention, setup),
        cmocka_unit_test_setup(test_the_guests_tray, setup),
        cmocka_unit_test_setup(test_locked, setup),
        cmocka_unit_test_setup(test_a_read_overtaken, setup),
        cmocka_unit_test_setup(test_reset, setup),
    };

    return cmocka_run_group_tests_name("scsi_cd", tests, NULL, NULL);
}
