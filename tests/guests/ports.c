/* SPDX-License-Identifier: MIT */
/* Port I/O: holes, sizes, strings, and the devices that need no interrupt. */
#include "lib/io.h"
#include "lib/tap.h"

#define HOLE           0x1234
#define NOT_AN_ADDRESS 0x800000000000
#define SCRATCH        0x3ff /* of the serial port: keeps a byte; the port behind it belongs to nobody */

extern u64 page_tables_2[2048];

static u8 buffer[64];

static void fill(void)
{
    unsigned i;

    for (i = 0; i < sizeof(buffer); i++)
        buffer[i] = (u8)i;
}

static void holes(void)
{
    ok(in8(HOLE) == 0xff, "a byte from nowhere is 0xff");
    ok(in16(HOLE) == 0xffff, "a word is 0xffff");
    ok(in32(HOLE) == 0xffffffff, "a long is 0xffffffff");
    out8(HOLE, 1);
    out16(0xffff, 1);
    out32(0xfffd, 1);
    ok(in32(0xffff) == 0xffffffff, "the end of the port space is nothing special");
}

static void sizes(void)
{
    u64 rax = ~0ull;

    out8(SCRATCH, 0x5a);
    ok(in8(SCRATCH) == 0x5a, "the scratch register keeps a byte");
    ok(in16(SCRATCH) == 0xff5a, "a word over a device's end: %x", in16(SCRATCH));
    out16(SCRATCH, 0x1234);
    ok(in8(SCRATCH) == 0x34, "a word written there gives its low byte");
    asm volatile("inb %%dx, %%al" : "+a"(rax) : "d"(SCRATCH));
    ok(rax == 0xffffffffffffff34, "IN AL changes AL alone: %lx", rax);
    asm volatile("inl %%dx, %%eax" : "+a"(rax) : "d"(HOLE));
    ok(rax == 0xffffffff, "IN EAX clears the upper half: %lx", rax);
}

static void strings(void)
{
    u8 *to = buffer;
    const u8 *from = buffer;
    u64 count = 10;

    fill();
    asm volatile("rep outsb" : "+S"(from), "+c"(count) : "d"(SCRATCH) : "memory");
    ok(in8(SCRATCH) == 9 && from == buffer + 10 && !count, "REP OUTSB ends behind its last byte");
    count = 5;
    asm volatile("rep insb" : "+D"(to), "+c"(count) : "d"(SCRATCH) : "memory");
    ok(buffer[0] == 9 && buffer[4] == 9 && buffer[5] == 5 && to == buffer + 5,
       "REP INSB fills what it should");
    count = 0;
    asm volatile("rep insb" : "+D"(to), "+c"(count) : "d"(SCRATCH) : "memory");
    ok(buffer[5] == 5 && to == buffer + 5, "a count of 0 does nothing");
    to = buffer + 8;
    count = 2;
    asm volatile("std; rep insw; cld" : "+D"(to), "+c"(count) : "d"(HOLE) : "memory");
    ok(buffer[9] == 0xff && buffer[6] == 0xff && buffer[5] == 5 && to == buffer + 4, "downwards with DF");
    from = (const u8 *)((u64)buffer + 0x500000000);
    asm volatile("addr32 outsb" : "+S"(from) : "d"(SCRATCH) : "memory");
    ok(in8(SCRATCH) == 9 && (u64)from == (u64)buffer + 1, "with 32-bit addresses");
}

/* The page before 2 GiB + 2 MiB is there, the one behind is not. */
static void strings_that_fault(void)
{
    u8 *end = (u8 *)0x80000000ull, *to = end - 2;
    u64 count = 4, saved = page_tables_2[1024], before = page_tables_2[1023];
    int vector;

    page_tables_2[1023] = ((u64)buffer & ~(SIZE_2M - 1)) | 0x83;
    page_tables_2[1024] = 0;
    asm volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" : : : "rax", "memory");
    to = (u8 *)(0x7fe00000 + 0x1ffffe);
    vector = TRY("rep insb", : "+D"(to), "+c"(count) : "d"(HOLE) : "memory");
    ok(vector == VECTOR_PF && capture.address == 0x80000000 && capture.error == 2,
       "INS into no page: %d, error %lx, %lx", vector, capture.error, capture.address);
    ok(to == end && count == 2, "what was done before it stands: %lu left", count);
    vector = TRY("outsb", : : "S"(end), "d"(HOLE) : "memory");
    ok(vector == VECTOR_PF && capture.error == 0, "OUTS from no page: %d, error %lx", vector, capture.error);
    vector = TRY("outsb", : : "S"(NOT_AN_ADDRESS), "d"(HOLE) : "memory");
    ok(vector == VECTOR_GP, "OUTS from an address that is not canonical: %d", vector);
    page_tables_2[1023] = before;
    page_tables_2[1024] = saved;
    asm volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" : : : "rax", "memory");
}

static void devices(void)
{
    u8 got;

    out8(0x3f8 + 4, 0x1f); /* loop-back: what is sent comes in again, and nothing leaves */
    out8(0x3f8, 'Z');
    got = in8(0x3f8 + 5) & 1 ? in8(0x3f8) : 0;
    out8(0x3f8 + 4, 0x0b);
    ok(got == 'Z', "the serial port hears itself in loop-back: %x", got);
    ok((in8(0x3f8 + 2) & 0xc0) == 0xc0, "it says that its FIFOs are on");
    out32(0xcf8, 0x80000000);
    got = (u8)(in32(0xcfc) != 0xffffffff);
    ok(got, "PCI 00:00.0 is a host bridge");
    out32(0xcf8, 0x80000800);
    ok(in32(0xcfc) == 0xffffffff, "PCI 00:01.0 is nothing");
    out8(0x70, 0x0d);
    ok(in8(0x71) & 0x80, "the RTC's battery is good");
    out8(0x80, 1);
    ok(in8(0x64) != 0xff, "there is something like a keyboard controller");
}

void guest_main(void)
{
    plan(24);
    holes();
    sizes();
    strings();
    strings_that_fault();
    devices();
}
