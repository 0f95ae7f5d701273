/* SPDX-License-Identifier: MIT */
/*
 * Saving and loading the floating point and vector state of guests: XSAVE where the CPU has it, else FXSAVE.
 */
#include "arch/x86/machine/fpu.h"

#include "arch/x86/machine/cpu.h"

#define FXSAVE_BYTES 512
#define FXSAVE_FCW   0  /* u16: control word */
#define FXSAVE_MXCSR 24 /* u32 */
#define FXSAVE_MASK  28 /* u32: bits that MXCSR has; 0: MASK_OLDEST */
#define MASK_OLDEST  0xffbf
#define XSAVE_HEADER 512 /* u64 XSTATE_BV: which parts are not in their initial state; the rest is 0 */
#define HEADER_END   576
#define PARTS_KNOWN  0x2e7 /* x87, SSE, AVX, AVX-512, PKRU: no value of theirs is refused */
#define FCW_RESET    0x37f /* what FNINIT gives; all exceptions masked */
#define MXCSR_RESET  0x1f80

void fpu_enable(void)
{
    write_cr0((read_cr0() & ~(CR0_EM | CR0_TS)) | CR0_MP | CR0_NE);
    write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT | (cpu_features.xsave ? CR4_OSXSAVE : 0));
}

u64 fpu_area_bytes(void)
{
    return cpu_features.xsave ? cpu_features.xsave_bytes : FXSAVE_BYTES;
}

void fpu_area_init(void *area)
{
    u8 *bytes = area;

    *(u16 *)(bytes + FXSAVE_FCW) = FCW_RESET;
    *(u32 *)(bytes + FXSAVE_MXCSR) = MXCSR_RESET;
    if (cpu_features.xsave)
        *(u64 *)(bytes + XSAVE_HEADER) = 0;
}

static u32 mxcsr_mask(void)
{
    u8 area[FXSAVE_BYTES] ALIGNED(16) = {0};
    u32 mask;

    asm volatile("fxsave64 (%0)" : : "r"(area) : "memory");
    mask = *(u32 *)(area + FXSAVE_MASK);
    return mask ? mask : MASK_OLDEST;
}

bool fpu_area_is_possible(const void *area)
{
    const u8 *bytes = area;
    const u64 *header = (const u64 *)(bytes + XSAVE_HEADER);

    if (*(const u32 *)(bytes + FXSAVE_MXCSR) & ~mxcsr_mask())
        return false;
    if (!cpu_features.xsave)
        return true;
    for (unsigned i = 1; i < (HEADER_END - XSAVE_HEADER) / sizeof(*header); i++)
        if (header[i])
            return false;
    return !(header[0] & ~(cpu_features.xsave_mask & PARTS_KNOWN));
}

void fpu_save(void *area)
{
    u64 mask = cpu_features.xsave_mask;

    if (!cpu_features.xsave) {
        asm volatile("fxsave64 (%0)" : : "r"(area) : "memory");
        return;
    }
    xsetbv(0, mask);
    asm volatile("xsave64 (%0)" : : "r"(area), "a"((u32)mask), "d"((u32)(mask >> 32)) : "memory");
}

void fpu_load(const void *area, u64 guest_xcr0)
{
    u64 mask = cpu_features.xsave_mask;

    if (!cpu_features.xsave) {
        asm volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
        return;
    }
    xsetbv(0, mask);
    asm volatile("xrstor64 (%0)" : : "r"(area), "a"((u32)mask), "d"((u32)(mask >> 32)) : "memory");
    xsetbv(0, guest_xcr0);
}

u64 fpu_xcr0(void)
{
    return cpu_features.xsave ? xgetbv(0) : 0;
}
