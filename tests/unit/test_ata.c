/* SPDX-License-Identifier: MIT */
/* What ATA disks tell of themselves: words of IDENTIFY DEVICE, of which not all can be believed. */
// sources: drivers/ata.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "drivers/ata.h"

static u16 words[256];
static struct ata_identity identity;

/* A disk of 2^33 + 5 sectors with a queue of 32, which flushes and trims. */
static int setup(void **state)
{
    (void)state;
    memset(words, 0, sizeof(words));
    words[49] = BIT(9);
    words[60] = words[61] = 0xffff;
    words[75] = 31;
    words[76] = BIT(8);
    words[83] = BIT(14) | BIT(13) | BIT(12) | BIT(10);
    words[100] = 5;
    words[102] = 2;
    words[106] = BIT(14);
    words[169] = BIT(0);
    return 0;
}

static void test_a_disk(void **state)
{
    (void)state;
    ata_identify(words, &identity);
    assert_int_equal(identity.sectors, (2ull << 32) + 5);
    assert_int_equal(identity.queue_depth, 32);
    assert_true(identity.lba48 && identity.has_flush && identity.has_trim);
}

static void test_an_old_disk(void **state)
{
    (void)state;
    words[60] = 0x4000, words[61] = 3;
    words[76] = 0xffff; /* not SATA */
    words[83] = 0xffff; /* not valid */
    words[106] = 0xffff;
    words[169] = 0xffff;
    ata_identify(words, &identity);
    assert_int_equal(identity.sectors, 0x34000);
    assert_int_equal(identity.queue_depth, 0);
    assert_false(identity.lba48 || identity.has_flush || identity.has_trim);
}

/* They can't be driven. */
static void test_other_sectors(void **state)
{
    (void)state;
    words[106] = BIT(14) | BIT(12);
    words[117] = 2048; /* words: 4096 bytes */
    ata_identify(words, &identity);
    assert_int_equal(identity.sectors, 0);
    words[106] = BIT(14) | BIT(13) | 3; /* eight of 512 bytes in each physical one */
    ata_identify(words, &identity);
    assert_int_equal(identity.sectors, (2ull << 32) + 5);
    words[49] = 0; /* cylinders, heads, sectors */
    ata_identify(words, &identity);
    assert_int_equal(identity.sectors, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_disk, setup),
        cmocka_unit_test_setup(test_an_old_disk, setup),
        cmocka_unit_test_setup(test_other_sectors, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
