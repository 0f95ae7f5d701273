/* SPDX-License-Identifier: MIT */
/*
 * /tests/records NAME FOLDER: appends numbered records to files in FOLDER, four at a time, and makes each
 * safe by fsync. Only then it writes "ack NAME NUMBER" past all caches over the first sector of FOLDER/acks,
 * which is there, and says the same. Without an end: the machine is killed meanwhile, and
 * tests/system/test_persistence.py looks for what was said. A static Linux program without a C library.
 */
#define _GNU_SOURCE /* O_DIRECT */
#include <asm/unistd.h>
#include <linux/fcntl.h>

#include "hv/lib/types.h"

#define FILES      4 /* that grow at the same time */
#define PER_FILE   16
#define PAYLOAD    6000u /* bytes at most */
#define DIGITS_MAX 20
#define SECTOR     512

/* The payload follows; the sum is the CRC-32 of all behind it. */
struct record {
    u32 sum, bytes;
    u64 number;
    u8 payload[PAYLOAD];
};

static struct record record;
static char path[256];
ALIGNED(SECTOR) static char line[SECTOR]; /* zeros behind what is said */

static long call(long number, long a, long b, long c, long d)
{
    register long fourth __asm__("r10") = d;
    long result;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth)
                     : "rcx", "r11", "memory");
    return result;
}

/* Behind what stands there; returns the new end. */
static char *append(char *at, const char *text)
{
    while (*text)
        *at++ = *text++;
    *at = '\0';
    return at;
}

static char *append_number(char *at, u64 number)
{
    char digits[DIGITS_MAX + 1], *digit = digits + DIGITS_MAX;

    *digit = '\0';
    do {
        *--digit = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    return append(at, digit);
}

/* Make the line; returns its length. */
static long line_make(const char *word, const char *name, u64 number)
{
    char *end = append_number(append(append(append(line, word), name), " "), number);

    return append(end, "\n") - line;
}

static void say(const char *word, const char *name, u64 number)
{
    long length = line_make(word, name, number);

    call(__NR_write, 1, (long)line, length, 0);
}

static long expect(const char *what, long result)
{
    if (result < 0) {
        say("records: no ", what, (u64)-result);
        call(__NR_exit, 1, 0, 0, 0);
    }
    return result;
}

static u32 crc32(const u8 *bytes, u64 count)
{
    u32 sum = ~0u;

    for (u64 i = 0; i < count; i++) {
        sum ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            sum = sum >> 1 ^ (sum & 1 ? 0xedb88320u : 0);
    }
    return ~sum;
}

/* All of it follows from the number. Returns its size. */
static u64 record_make(u64 number)
{
    u64 word = number * 0x9e3779b97f4a7c15;
    const u32 bytes = (u32)((word >> 40) % (PAYLOAD + 1));

    for (u32 i = 0; i < bytes; i++) {
        word = word * 6364136223846793005 + 1442695040888963407;
        record.payload[i] = (u8)(word >> 56);
    }
    record.number = number;
    record.bytes = bytes;
    record.sum = crc32((const u8 *)&record.bytes, sizeof(record) - sizeof(record.sum) - PAYLOAD + bytes);
    return sizeof(record) - PAYLOAD + bytes;
}

/* The file of a record; a new one has a name that is safe, too. */
static long file_open(const char *folder, u64 number)
{
    const long flags = O_WRONLY | O_CREAT | O_APPEND;
    long folder_file = expect("folder", call(__NR_open, (long)folder, O_RDONLY | O_DIRECTORY, 0, 0));
    long file;

    append_number(append(append(path, folder), "/"), number / (FILES * PER_FILE) * FILES + number % FILES);
    file = expect("file", call(__NR_open, (long)path, flags, 0644, 0));
    expect("fsync of the folder", call(__NR_fsync, folder_file, 0, 0, 0));
    call(__NR_close, folder_file, 0, 0, 0);
    return file;
}

/* It is safe, if the drive keeps its word. */
static void acknowledge(long acks, const char *name, u64 number)
{
    long length = line_make("ack ", name, number);

    expect("ack", call(__NR_pwrite64, acks, (long)line, SECTOR, 0));
    call(__NR_write, 1, (long)line, length, 0);
}

static void work(const char *name, const char *folder)
{
    long files[FILES], acks;

    append(append(path, folder), "/acks");
    acks = expect("acks", call(__NR_open, (long)path, O_WRONLY | O_DIRECT, 0, 0));

    for (u64 number = 0;; number++) {
        long *file = &files[number % FILES];
        u64 bytes = record_make(number);

        if (number / FILES % PER_FILE == 0) {
            if (number >= FILES)
                call(__NR_close, *file, 0, 0, 0);
            *file = file_open(folder, number);
        }
        if (expect("write", call(__NR_write, *file, (long)&record, (long)bytes, 0)) != (long)bytes)
            expect("whole write", -1);
        expect("fsync", call(__NR_fsync, *file, 0, 0, 0));
        acknowledge(acks, name, number);
    }
}

/* The kernel's stack: the count of words, the words. */
__attribute__((used)) static void begin(const u64 *stack)
{
    if (stack[0] == 3)
        work((const char *)stack[2], (const char *)stack[3]);
    say("records: two words expected, not", "", stack[0] - 1);
    call(__NR_exit, 2, 0, 0, 0);
}

__asm__(".globl _start\n_start: mov %rsp, %rdi\nand $-16, %rsp\ncall begin\n");
