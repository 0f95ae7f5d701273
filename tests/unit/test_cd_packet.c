/* SPDX-License-Identifier: MIT */
/* The packets that lintel sends to a CD drive of the machine, byte by byte, and what it makes of answers. */
// sources: hv/storage/cd_packet.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/lib/errno.h"
#include "hv/storage/cd_packet.h"

static u8 packet[CD_PACKET_BYTES];

static void is(const u8 right[CD_PACKET_BYTES])
{
    assert_memory_equal(packet, right, CD_PACKET_BYTES);
    memset(packet, 0xee, sizeof(packet));
}

static void test_packets(void **state)
{
    (void)state;
    memset(packet, 0xee, sizeof(packet));
    cd_packet_test_ready(packet);
    is((u8[CD_PACKET_BYTES]){0x00});
    cd_packet_request_sense(packet);
    is((u8[CD_PACKET_BYTES]){0x03, [4] = 18});
    cd_packet_get_events(packet);
    is((u8[CD_PACKET_BYTES]){0x4a, 1, [4] = 0x10, [8] = 8});
    cd_packet_read_capacity(packet);
    is((u8[CD_PACKET_BYTES]){0x25});
    cd_packet_read(packet, 0x12345678, 0x102);
    is((u8[CD_PACKET_BYTES]){0x28, [2] = 0x12, 0x34, 0x56, 0x78, [7] = 1, 2});
    cd_packet_move_tray(packet, true);
    is((u8[CD_PACKET_BYTES]){0x1b, [4] = 2});
    cd_packet_move_tray(packet, false);
    is((u8[CD_PACKET_BYTES]){0x1b, 1, [4] = 3});
    cd_packet_lock_tray(packet, true);
    is((u8[CD_PACKET_BYTES]){0x1e, [4] = 1});
    cd_packet_lock_tray(packet, false);
    is((u8[CD_PACKET_BYTES]){0x1e});
}

static void test_errors(void **state)
{
    (void)state;
    for (u32 error = 0; error < 256; error++) {
        int right = error >> 4 == 2   ? -ENOMEDIUM
                    : error >> 4 == 6 ? -ESTALE
                    : error >> 4 == 5 ? -ENOTSUP
                                      : -EIO;

        assert_int_equal(cd_error_judge((u8)error), right);
    }
}

/* Every code with every status; the reserved bits count for nothing. */
static void test_events(void **state)
{
    (void)state;
    for (u32 code = 0; code < 16; code++)
        for (u32 status = 0; status < 4; status++)
            for (u32 reserved = 0; reserved < 2; reserved++) {
                const u8 answer[CD_ANSWER_BYTES] = {
                    0, 6, 4, 0x10, (u8)(code | (reserved ? 0xf0 : 0)), (u8)(status | (reserved ? 0xfc : 0)),
                    9, 9};
                struct cd_finding finding;

                memset(&finding, 0xff, sizeof(finding));
                assert_true(cd_events_judge(answer, &finding));
                assert_int_equal(finding.open, status & 1);
                assert_int_equal(finding.present, status == 2); /* what lies in an open tray can't be read */
                assert_int_equal(finding.changed, code >= 2 && code <= 4);
                assert_int_equal(finding.eject_wanted, code == 1);
            }
}

static void test_no_events(void **state)
{
    static const u8 others[][CD_ANSWER_BYTES] = {
        {0},                               /* nothing at all */
        {0, 2, 0x84, 0x02},                /* not of this class */
        {0, 6, 0x84, 0x10, 2, 2, 0, 0},    /* no event is available */
        {0, 6, 1, 0x02, 2, 2, 0, 0},       /* of another class */
        {0xff, 0xff, 0xff, 0xff, 2, 2, 0}, /* rubbish */
    };
    struct cd_finding finding;

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(others); i++)
        assert_false(cd_events_judge(others[i], &finding));
}

static void test_ready(void **state)
{
    static const struct {
        int status;
        bool known, present, changed;
    } rows[] = {{0, true, true, false},
                {-ENOMEDIUM, true, false, false},
                {-ESTALE, true, true, true},
                {-EIO, false, true, false},
                {-ENOTSUP, false, true, false}};
    struct cd_finding finding;

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(rows); i++) {
        assert_int_equal(cd_ready_judge(rows[i].status, &finding), rows[i].known);
        assert_int_equal(finding.present, rows[i].present);
        assert_int_equal(finding.changed, rows[i].changed);
        assert_false(finding.open || finding.eject_wanted);
    }
}

static void test_capacity(void **state)
{
    (void)state;
    assert_int_equal(cd_capacity_judge((u8[CD_ANSWER_BYTES]){0, 0, 1, 2, 0, 0, 8, 0}), 0x103);
    assert_int_equal(cd_capacity_judge((u8[CD_ANSWER_BYTES]){0, 0, 0, 0, 0, 0, 8, 0}), 1);
    assert_int_equal(cd_capacity_judge((u8[CD_ANSWER_BYTES]){0xff, 0xff, 0xff, 0xfe, 0, 0, 8, 0}),
                     0xffffffff);
    assert_int_equal(cd_capacity_judge((u8[CD_ANSWER_BYTES]){0xff, 0xff, 0xff, 0xff, 0, 0, 8, 0}), 0);
    assert_int_equal(cd_capacity_judge((u8[CD_ANSWER_BYTES]){0, 0, 1, 2, 0, 0, 9, 0x30}),
                     0); /* an audio CD's */
    assert_int_equal(cd_capacity_judge((u8[CD_ANSWER_BYTES]){0}), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packets),   cmocka_unit_test(test_errors), cmocka_unit_test(test_events),
        cmocka_unit_test(test_no_events), cmocka_unit_test(test_ready),  cmocka_unit_test(test_capacity),
    };

    return cmocka_run_group_tests_name("cd_packet", tests, NULL, NULL);
}
