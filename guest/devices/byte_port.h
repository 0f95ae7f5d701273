/* SPDX-License-Identifier: MIT */
/*
 * The ISA bus hands wide accesses to byte-wide devices one byte at a time, lowest port first; so do these.
 * (The bus above has seen to it that no access leaves the device.) Called by the port handlers of 8-bit
 * devices, in their locks.
 */
#ifndef GUEST_DEVICES_BYTE_PORT_H
#define GUEST_DEVICES_BYTE_PORT_H

#include "hv/lib/types.h"

static inline u32 byte_port_read(void *device, u16 port, unsigned size, u8 (*read)(void *device, u16 port))
{
    u32 value = read(device, port);

    for (unsigned i = 1; i < MIN(size, sizeof(value)); i++)
        value |= (u32)read(device, (u16)(port + i)) << (8 * i);
    return value;
}

static inline void byte_port_write(void *device, u16 port, unsigned size, u32 value,
                                   void (*write)(void *device, u16 port, u8 value))
{
    for (unsigned i = 0; i < MIN(size, sizeof(value)); i++)
        write(device, (u16)(port + i), (u8)(value >> (8 * i)));
}

#endif
