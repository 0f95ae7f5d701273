/* SPDX-License-Identifier: MIT */
/*
 * Writes pseudo-random bytes to every port and every range of MSRs, and reads them. What resets or ends
 * this VM (that is what some ports are for) ends its own run alone.
 */
// hostile: it may end by any reset, stop or power-off
#include "lib/io.h"
#include "lib/tap.h"

static u64 random_state = 88172645463325252ull;

/* Marsaglia's xorshift. */
static u64 random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* The ports that end a VM, for later; the serial port, to be heard. */
static bool is_kept_back(u32 port)
{
    return (port >= 0x3f8 && port < 0x400) || (port >= 0x600 && port < 0x610) || port == 0xcf9 ||
           port == 0x64 || port == 0x92 || port == 0x60;
}

static void port_disturb(u16 port)
{
    u64 value = random_next();

    switch (value >> 60 & 3) {
    case 0: out8(port, (u8)value); break;
    case 1: out16(port, (u16)value); break;
    default: out32(port, (u32)value); break;
    }
    (void)in8(port);
    (void)in32(port);
}

static void ports(void)
{
    u32 port;

    for (port = 0; port < 0x10000; port++)
        /* A wide access reaches the next three ports. */
        if (!is_kept_back(port) && !is_kept_back(port + 1) && !is_kept_back(port + 2) &&
            !is_kept_back(port + 3))
            port_disturb((u16)port);
}

static void msr_disturb(u32 msr)
{
    u64 value = random_next();

    wrmsr_try(msr, value & (random_next() & 1 ? ~0ull : 0xffffff));
    rdmsr_try(msr, &value);
}

static void msrs(void)
{
    static const u32 ranges[][2] = {{0, 0x1000},
                                    {0x40000000, 0x40000100},
                                    {0x4b564d00, 0x4b564d10},
                                    {0xc0000000, 0xc0000200},
                                    {0xc0010000, 0xc0010200},
                                    {0xfffffff0, 0xffffffff}};
    unsigned i;
    u32 msr;

    for (i = 0; i < ARRAY_SIZE(ranges); i++)
        for (msr = ranges[i][0]; msr < ranges[i][1]; msr++)
            if (msr < 0xc0000080 || msr > 0xc0000102) /* its own: EFER and the segment bases */
                msr_disturb(msr);
    for (i = 0; i < 1000; i++)
        msr_disturb((u32)random_next());
}

static void devices(void)
{
    unsigned i;

    for (i = 0; i < 4096; i += 4) {
        mmio_write(0xfee00000 + i, (u32)random_next() & ~0x700u); /* no INIT of itself */
        mmio_write(0xfec00000 + i, (u32)random_next());
        (void)mmio_read(0xfee00000 + i);
    }
}

static void on_anything(struct frame *frame)
{
    (void)frame;
}

void guest_main(void)
{
    unsigned i;

    for (i = 32; i < 256; i++)
        interrupt_handle((u8)i, on_anything);
    interrupt_handle(VECTOR_NMI, on_anything);
    say("ports");
    ports();
    say("MSRs");
    msrs();
    say("devices");
    devices();
    say("the ports that end it");
    for (i = 0; i < 10000; i++)
        port_disturb(
            (u16[]){0x60, 0x64, 0x92, 0x600, 0x602, 0x604, 0x608, 0xcf8, 0xcf9, 0x3f9}[random_next() % 10]);
}
