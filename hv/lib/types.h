/* SPDX-License-Identifier: MIT */
/*
 * The words everybody shares: fixed-width integers, addresses, pages, bits.
 *
 * Addresses are integers, never pointers, so that none of them can be dereferenced by mistake:
 *   gva  guest virtual      gpa  guest physical (what a guest calls RAM)     gfn = gpa >> 12
 *   hva  a plain C pointer  hpa  host physical (what the memory bus sees)    mfn = hpa >> 12
 */
#ifndef HV_LIB_TYPES_H
#define HV_LIB_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;

typedef u64 gva_t;
typedef u64 gpa_t;
typedef u64 hpa_t;
typedef u64 gfn_t;
typedef u64 mfn_t;

#define PAGE_SHIFT 12
#define PAGE_SIZE  4096ull
#define PAGE_MASK  (~(PAGE_SIZE - 1))
#define SIZE_2M    (1ull << 21)
#define SIZE_1G    (1ull << 30)
#define SIZE_4G    (1ull << 32)

#define BIT(n)          (1ull << (n))
#define BITS(high, low) ((~0ull >> (63 - (high))) & (~0ull << (low)))

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
/* The mask is as wide as the wider of the two: a narrow one would cut the upper half off. */
#define ALIGN_UP(value, align)   (((value) + (align)-1) & ~((__typeof__((value) + (align)))(align)-1))
#define ALIGN_DOWN(value, align) ((value) & ~((__typeof__((value) + (align)))(align)-1))
#define IS_ALIGNED(value, align) (((value) & ((align)-1)) == 0)
#define MIN(a, b)                ((a) < (b) ? (a) : (b))
#define MAX(a, b)                ((a) > (b) ? (a) : (b))

#define likely(condition)   __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)

#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

#define PACKED                   __attribute__((packed))
#define ALIGNED(n)               __attribute__((aligned(n)))
#define NORETURN                 __attribute__((noreturn))
#define PRINTF_LIKE(text, first) __attribute__((format(printf, text, first)))

/* Volatile access for words that another CPU, a guest or a device may change meanwhile. */
#define READ_ONCE(object)         __atomic_load_n(&(object), __ATOMIC_RELAXED)
#define WRITE_ONCE(object, value) __atomic_store_n(&(object), (value), __ATOMIC_RELAXED)

#endif
