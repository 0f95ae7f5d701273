/* SPDX-License-Identifier: MIT */
/*
 * hv/storage: what may be asked of a disk, and disks in memory against a plain array, with their frames
 * counted.
 */
// sources: hv/storage/block.c hv/storage/block_ram.c hv/memory/frame.c hv/memory/memory.c
// sources: hv/memory/guest_map.c tests/unit/fake_memory.c tests/unit/fake_guest_ram.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/lib/errno.h"
#include "hv/storage/block.h"
#include "tests/unit/fake_guest_ram.h"
#include "tests/unit/fake_memory.h"

#define OWNER   ((frame_owner_t)17)
#define BYTES   (3u << 20) /* more than one leaf */
#define SECTORS (BYTES / BLOCK_SECTOR)
#define BUFFER  0x200000ull
#define HOLE    0xd0000000ull

static struct guest_memory memory;
static struct block_device *disk;
static u8 model[BYTES];
static u8 file[BYTES];

static void begin(u64 base_bytes)
{
    const struct boot_file base = {"root.img", base_bytes ? file : NULL, base_bytes};

    fake_memory_begin();
    fake_guest_ram_reset(&memory, 64 << 20);
    for (u32 i = 0; i < BYTES; i++)
        file[i] = (u8)(i * 7 + (i >> 9));
    memset(model, 0, sizeof(model));
    memcpy(model, file, base_bytes);
    assert_int_equal(block_ram_create(&base, BYTES, OWNER, &disk), 0);
}

static void end(void)
{
    block_close(disk);
    assert_int_equal(frame_owned(OWNER), 0);
    assert_int_equal(frame_promised(OWNER), 0);
}

static int ask(enum block_operation operation, u64 sector, u64 sectors, const struct guest_segment *segments,
               u32 count)
{
    struct block_request request = {.operation = operation,
                                    .sector = sector,
                                    .sectors = sectors,
                                    .memory = &memory,
                                    .segments = segments,
                                    .segment_count = count};

    return block_submit(disk, &request);
}

static int move(enum block_operation operation, u64 sector, u64 sectors)
{
    const struct guest_segment segment = {BUFFER, sectors * BLOCK_SECTOR};

    return ask(operation, sector, sectors, &segment, 1);
}

static void check_all(void)
{
    assert_int_equal(move(BLOCK_READ, 0, disk->sectors), 0);
    assert_memory_equal(fake_guest_ram_at(BUFFER), model, disk->sectors * BLOCK_SECTOR);
}

static void test_what_may_be_asked(void **state)
{
    const struct guest_segment hole = {HOLE, 512}, odd = {BUFFER, 513};
    const struct guest_segment around[] = {{~0ull - 511, 1024}, {BUFFER, 512}};

    (void)state;
    begin(0);
    assert_int_equal(move(BLOCK_READ, SECTORS - 1, 1), 0);
    assert_int_equal(move(BLOCK_READ, SECTORS - 1, 2), -EINVAL);
    assert_int_equal(move(BLOCK_READ, SECTORS, 0), 0);
    assert_int_equal(move(BLOCK_READ, SECTORS + 1, 0), -EINVAL);
    assert_int_equal(move(BLOCK_WRITE, ~0ull, 1), -EINVAL);
    assert_int_equal(ask(BLOCK_DISCARD, 1, ~0ull, NULL, 0), -EINVAL);
    assert_int_equal(ask(BLOCK_READ, 0, 1, &hole, 1), -EFAULT);
    assert_int_equal(ask(BLOCK_WRITE, 0, 3, around, 2), -EFAULT);
    assert_int_equal(ask(BLOCK_READ, 0, 1, &odd, 1), -EINVAL);
    assert_int_equal(ask(BLOCK_READ, 0, 2, &(struct guest_segment){BUFFER, 512}, 1), -EINVAL);
    assert_int_equal(ask(BLOCK_FLUSH, ~0ull, ~0ull, NULL, 0), 0);
    disk->read_only = true;
    assert_int_equal(move(BLOCK_WRITE, 0, 1), -EROFS);
    assert_int_equal(ask(BLOCK_DISCARD, 0, 8, NULL, 0), -EROFS);
    assert_int_equal(move(BLOCK_READ, 0, 1), 0);
    disk->read_only = false;
    disk->discard_sectors = 0;
    assert_int_equal(ask(BLOCK_DISCARD, 0, 8, NULL, 0), -ENOTSUP);
    block_abort(disk);                       /* nothing is in progress */
    assert_int_equal(frame_owned(OWNER), 1); /* the object; nothing was written */
    end();
}

/* Frames come with writes, go with discards, and are those that were promised. */
static void test_frames(void **state)
{
    u64 promised;

    (void)state;
    begin(0);
    promised = frame_promised(OWNER);
    assert_int_equal(promised, BYTES / PAGE_SIZE + 2);
    assert_int_equal(move(BLOCK_WRITE, 7, 2), 0); /* two pages and their leaf */
    assert_int_equal(frame_promised(OWNER), promised - 3);
    assert_int_equal(ask(BLOCK_DISCARD, 1, 15, NULL, 0), 0); /* the second page alone is whole */
    assert_int_equal(frame_promised(OWNER), promised - 2);
    fake_memory_make_short(0);
    assert_int_equal(move(BLOCK_WRITE, 0, SECTORS), 0);
    assert_int_equal(frame_promised(OWNER), 0);
    fake_memory_make_plenty();
    end();
}

static void test_no_memory(void **state)
{
    const struct boot_file none = {0}, empty = {"empty", file, 0};

    (void)state;
    fake_memory_begin();
    assert_int_equal(block_ram_create(&none, 0, OWNER, &disk), -EINVAL);
    assert_int_equal(block_ram_create(&empty, 0, OWNER, &disk), -EINVAL);
    assert_int_equal(block_ram_create(&none, BIT(46) + 512, OWNER, &disk), -EINVAL);
    fake_memory_make_short(BYTES / PAGE_SIZE + 1);
    assert_int_equal(block_ram_create(&none, BYTES, OWNER, &disk), -ENOMEM);
    fake_memory_make_plenty();
    fake_memory_make_short(BYTES / PAGE_SIZE + 2);
    assert_int_equal(block_ram_create(&none, BYTES, OWNER, &disk), -ENOMEM);
    fake_memory_make_plenty();
    assert_int_equal(frame_promised(OWNER), 0);
}

/* A file that ends within a sector: zeros behind it, and its bytes stay as they are whatever is written. */
static void test_file(void **state)
{
    static u8 before[BYTES];
    const u64 bytes = (1u << 20) + 1000;

    (void)state;
    begin(bytes);
    memcpy(before, file, sizeof(file));
    assert_int_equal(disk->sectors, bytes / BLOCK_SECTOR + 1);
    assert_string_equal(disk->name, "root.img");
    check_all();
    memset(fake_guest_ram_at(BUFFER), 0x55, BLOCK_SECTOR);
    assert_int_equal(move(BLOCK_WRITE, disk->sectors - 1, 1), 0);
    memset(model + (disk->sectors - 1) * BLOCK_SECTOR, 0x55, BLOCK_SECTOR);
    assert_int_equal(ask(BLOCK_DISCARD, 8, 8, NULL, 0), 0);
    memset(model + PAGE_SIZE, 0, PAGE_SIZE);
    check_all();
    assert_memory_equal(before, file, sizeof(file));
    end();
}

static u32 seed = 1;

static u32 random_below(u32 limit)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % limit;
}

/* One write, read or discard of a few odd segments, on both the disk and the array. */
static void random_step(void)
{
    struct guest_segment segments[4];
    u32 operation = random_below(3), count = 0, sectors = 1 + random_below(40);
    u64 sector = random_below((u32)disk->sectors - sectors), left = sectors * BLOCK_SECTOR, at = BUFFER;

    if (operation == 2) {
        u64 first = ALIGN_UP(sector, 8ull), last = ALIGN_DOWN(sector + sectors, 8ull);

        assert_int_equal(ask(BLOCK_DISCARD, sector, sectors, NULL, 0), 0);
        if (first < last)
            memset(model + first * BLOCK_SECTOR, 0, (last - first) * BLOCK_SECTOR);
        return;
    }
    while (left > 0) {
        u64 most = random_below(9000), part = count == 3 ? left : MIN(left, most);

        segments[count++] = (struct guest_segment){at, part};
        if (operation == 0)
            memset(fake_guest_ram_at(at), (int)random_below(256), part);
        if (operation == 0)
            memcpy(model + sector * BLOCK_SECTOR + sectors * BLOCK_SECTOR - left, fake_guest_ram_at(at),
                   part);
        at += part + random_below(5000);
        left -= part;
    }
    assert_int_equal(ask(operation == 0 ? BLOCK_WRITE : BLOCK_READ, sector, sectors, segments, count), 0);
    for (u32 i = 0, done = 0; i < count && operation == 1; done += (u32)segments[i++].bytes)
        assert_memory_equal(fake_guest_ram_at(segments[i].gpa), model + sector * BLOCK_SECTOR + done,
                            segments[i].bytes);
}

static void test_against_a_model(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 2; round++) {
        begin(round ? BYTES - 70000 : 0);
        for (unsigned i = 0; i < 800; i++)
            random_step();
        check_all();
        end();
    }
}

/* A medium: no frame beside its own small object, whole blocks, never written. */
static void test_rom(void **state)
{
    const struct boot_file base = {"tools.iso", file, BYTES - 1000};
    const struct guest_segment segment = {BUFFER, 2 * BLOCK_SECTOR};

    (void)state;
    fake_memory_begin();
    fake_guest_ram_reset(&memory, 64 << 20);
    memset(file, 0x5a, sizeof(file));
    assert_int_equal(block_rom_create(&(struct boot_file){"none", file, 0}, 0, OWNER, &disk), -EINVAL);
    assert_int_equal(block_rom_create(&base, 0, OWNER, &disk), 0);
    assert_int_equal(frame_promised(OWNER), 0);
    assert_int_equal(frame_owned(OWNER), 1);
    assert_int_equal(disk->sectors, SECTORS);
    assert_int_equal(ask(BLOCK_READ, SECTORS - 2, 2, &segment, 1), 0);
    assert_int_equal(*fake_guest_ram_at(BUFFER + 1024 - 1001), 0x5a);
    assert_int_equal(*fake_guest_ram_at(BUFFER + 1024 - 1000), 0);
    assert_int_equal(*fake_guest_ram_at(BUFFER + 1023), 0);
    assert_int_equal(ask(BLOCK_WRITE, 0, 2, &segment, 1), -EROFS);
    assert_int_equal(ask(BLOCK_DISCARD, 0, 8, NULL, 0), -EROFS);
    assert_int_equal(ask(BLOCK_READ, SECTORS - 1, 2, &segment, 1), -EINVAL);
    end();
}

/* A blank medium, of whatever size: nothing is promised for writes that can't be, and no page is needed. */
static void test_blank_rom(void **state)
{
    const struct boot_file none = {0};
    const struct guest_segment segment = {BUFFER, 2 * BLOCK_SECTOR};
    const u64 bytes = BIT(40);

    (void)state;
    fake_memory_begin();
    fake_guest_ram_reset(&memory, 64 << 20);
    assert_int_equal(block_rom_create(&none, 0, OWNER, &disk), -EINVAL);
    assert_int_equal(block_rom_create(&none, bytes, OWNER, &disk), 0);
    assert_int_equal(frame_promised(OWNER), 0);
    assert_int_equal(frame_owned(OWNER), 1);
    assert_string_equal(disk->name, "ram");
    assert_int_equal(disk->sectors, bytes / BLOCK_SECTOR);
    memset(fake_guest_ram_at(BUFFER), 0x5a, 2 * BLOCK_SECTOR);
    assert_int_equal(ask(BLOCK_READ, disk->sectors - 2, 2, &segment, 1), 0);
    for (u32 i = 0; i < 2 * BLOCK_SECTOR; i++)
        assert_int_equal(fake_guest_ram_at(BUFFER)[i], 0);
    assert_int_equal(ask(BLOCK_WRITE, 0, 2, &segment, 1), -EROFS);
    assert_int_equal(ask(BLOCK_DISCARD, 0, 8, NULL, 0), -EROFS);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_may_be_asked), cmocka_unit_test(test_frames),
        cmocka_unit_test(test_no_memory),         cmocka_unit_test(test_file),
        cmocka_unit_test(test_against_a_model),   cmocka_unit_test(test_rom),
        cmocka_unit_test(test_blank_rom),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
