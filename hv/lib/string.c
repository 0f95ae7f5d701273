/* SPDX-License-Identifier: MIT */
/*
 * Memory and text. The copies move eight bytes per step: what counts instructions (an emulator, a
 * single-stepper) counts each step of a REP, and processors without fast byte strings take as long. No SIMD:
 * lintel never touches a guest's vector registers. The compiler flags keep the loops here from becoming calls
 * to themselves.
 */
#ifdef LINTEL_HOST_TEST
/*
 * On the host everybody else uses the C library, whose functions the sanitizers check; ours stand beside it.
 */
#define memcpy  lintel_memcpy
#define memmove lintel_memmove
#define memset  lintel_memset
#define memcmp  lintel_memcmp
#define strlen  lintel_strlen
#define strnlen lintel_strnlen
#define strcmp  lintel_strcmp
#define strncmp lintel_strncmp
#define strchr  lintel_strchr
#endif

#include "hv/lib/string.h"

/* Eight bytes at any address. */
typedef u64 __attribute__((aligned(1), may_alias)) loose_u64;

static inline u64 load_word(const u8 *at)
{
    return *(const loose_u64 *)at;
}

static inline void store_word(u8 *at, u64 value)
{
    *(loose_u64 *)at = value;
}

/* Upwards; right for overlaps with to below from. The last word is read before anything can overwrite it. */
static inline void copy_up(u8 *to, const u8 *from, size_t bytes)
{
    u8 *end = to + bytes;
    size_t words = bytes / 8;
    u64 last;

    if (bytes < 8) {
        while (to < end)
            *to++ = *from++;
        return;
    }
    last = load_word(from + bytes - 8);
    asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
    if (to != end)
        store_word(end - 8, last);
}

/* Downwards; right for overlaps with to above from. */
static void copy_down(u8 *to, const u8 *from, size_t bytes)
{
    while (bytes >= 8) {
        bytes -= 8;
        store_word(to + bytes, load_word(from + bytes));
    }
    while (bytes > 0) {
        bytes--;
        to[bytes] = from[bytes];
    }
}

void *memcpy(void *restrict to, const void *restrict from, size_t bytes)
{
    copy_up(to, from, bytes);
    return to;
}

void *memmove(void *to, const void *from, size_t bytes)
{
    /* One comparison for both: to below from gives a huge difference. */
    if ((uintptr_t)to - (uintptr_t)from >= bytes)
        copy_up(to, from, bytes);
    else
        copy_down(to, from, bytes);
    return to;
}

void *memset(void *at, int value, size_t bytes)
{
    u64 pattern = (u8)value * 0x0101010101010101ull;
    u8 *to = at, *end = to + bytes;
    size_t words = bytes / 8;

    if (bytes < 8) {
        while (to < end)
            *to++ = (u8)value;
        return at;
    }
    asm volatile("rep stosq" : "+D"(to), "+c"(words) : "a"(pattern) : "memory");
    if (to != end)
        store_word(end - 8, pattern);
    return at;
}

int memcmp(const void *a, const void *b, size_t bytes)
{
    const u8 *left = a, *right = b;

    while (bytes >= 8 && load_word(left) == load_word(right)) {
        left += 8;
        right += 8;
        bytes -= 8;
    }
    for (; bytes > 0; bytes--, left++, right++)
        if (*left != *right)
            return *left - *right;
    return 0;
}

size_t strlen(const char *text)
{
    const char *end = text;

    while (*end)
        end++;
    return (size_t)(end - text);
}

size_t strnlen(const char *text, size_t most)
{
    size_t length = 0;

    while (length < most && text[length])
        length++;
    return length;
}

int strcmp(const char *a, const char *b)
{
    return strncmp(a, b, SIZE_MAX);
}

int strncmp(const char *a, const char *b, size_t most)
{
    for (; most > 0; most--, a++, b++) {
        if (*a != *b)
            return (u8)*a - (u8)*b;
        if (!*a)
            return 0;
    }
    return 0;
}

char *strchr(const char *text, int c)
{
    for (; *text != (char)c; text++)
        if (!*text)
            return NULL;
    return (char *)(uintptr_t)text; /* as ISO C has it: the caller knows whether it may write */
}

size_t string_copy(char *to, const char *from, size_t size)
{
    size_t length = strlen(from), kept;

    if (size == 0)
        return length;
    kept = MIN(length, size - 1);
    memcpy(to, from, kept);
    to[kept] = 0;
    return length;
}
