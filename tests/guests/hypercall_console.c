/* SPDX-License-Identifier: MIT */
/*
 * Console write: text appears as it is, from any RAM, across pages, up to 4,096 bytes; a range that is not
 * all RAM writes nothing. tests/system/test_hypercalls.py looks at the console.
 */
#include "guest/pv/lintel.h"
#include "lib/tap.h"

#define HOLE    0xa0000ull
#define RAM_TOP 0x4000000ull /* 64 MiB */
#define DEVICE  0xfee00000ull
#define UNUSED  0x3000000ull /* RAM that nobody has touched */

static char buffer[3 * 4096] ALIGNED(4096);

static s64 console_write(u64 gpa, u64 bytes)
{
    return lintel_call2(LINTEL_CALL_CONSOLE_WRITE, gpa, bytes);
}

static u64 put(u64 at, const char *text)
{
    u64 count = 0;

    for (; *text; text++)
        ((volatile char *)at)[count++] = *text;
    return count;
}

static void texts(void)
{
    u64 bytes = put((u64)buffer, "written by a call\n");
    unsigned i;

    ok(console_write((u64)buffer, bytes) == (s64)bytes, "%lu bytes are written", bytes);
    ok(console_write((u64)buffer, 0) == 0, "no bytes are written");
    for (i = 0; i < 4095; i++)
        buffer[4096 + i] = 'x';
    buffer[4096 + 4095] = '\n';
    ok(console_write((u64)buffer + 4096, LINTEL_CONSOLE_MAX) == LINTEL_CONSOLE_MAX, "4096 bytes are written");
    bytes = put((u64)buffer + 4096 - 11, "........across........\n");
    ok(console_write((u64)buffer + 4096 - 11, bytes) == (s64)bytes, "across two pages");
    put(UNUSED + 4096, "\n");
    i = console_write(UNUSED, 1) == 1;
    ok(console_write(UNUSED + 4095, 2) == 2 && i, "untouched RAM is zero");
}

static void refused(u64 gpa, u64 bytes, s64 result, const char *what)
{
    s64 got = console_write(gpa, bytes);

    ok(got == result, "%s: %ld", what, got);
}

static void refusals(void)
{
    put((u64)buffer, "MUST NOT APPEAR\n");
    put(HOLE - 16, "MUST NOT APPEAR\n");
    put(RAM_TOP - 16, "MUST NOT APPEAR\n");
    put(RAM_TOP - 1024, "MUST NOT APPEAR\n");
    refused((u64)buffer, LINTEL_CONSOLE_MAX + 1, -LINTEL_EINVAL, "4097 bytes");
    refused((u64)buffer, ~0ull, -LINTEL_EINVAL, "2^64 - 1 bytes");
    refused(HOLE, 1, -LINTEL_EFAULT, "from a hole");
    refused(HOLE, 0, 0, "nothing from a hole");
    refused(DEVICE, 4, -LINTEL_EFAULT, "from a device");
    refused(HOLE - 16, 17, -LINTEL_EFAULT, "into a hole");
    refused(RAM_TOP - 1024, 4096, -LINTEL_EFAULT, "far beyond the end of RAM");
    refused(RAM_TOP - 16, 4096, -LINTEL_EFAULT, "beyond the end of RAM");
    refused(RAM_TOP, 1, -LINTEL_EFAULT, "behind the end of RAM");
    refused(~0ull - 3, 8, -LINTEL_EFAULT, "around the end of addresses");
    refused(1ull << 52, 16, -LINTEL_EFAULT, "beyond physical addresses");
    refused(1ull << 63, 16, -LINTEL_EFAULT, "far beyond physical addresses");
}

void guest_main(void)
{
    plan(5 + 12);
    texts();
    refusals();
}
