/* SPDX-License-Identifier: MIT */
/* CRC-32 as GPT has it, bit by bit: written apart from partition.c's, which it judges. */
#ifndef TESTS_UNIT_CRC32_H
#define TESTS_UNIT_CRC32_H

#include "hv/lib/types.h"

static inline u32 crc32_of(const u8 *at, size_t bytes)
{
    u32 crc = ~0u;

    for (size_t i = 0; i < bytes; i++)
        for (u32 bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (((crc ^ at[i] >> bit) & 1) ? 0xedb88320u : 0);
    return ~crc;
}

#endif
