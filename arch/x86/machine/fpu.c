/* SPDX-License-Identifier: MIT */
/*
 * Saving and loading the floating point and vector state of guests: XSAVE where the CPU has it, else FXSAVE.
 */
#include "arch/x86/machine/fpu.h"

#include "arch/x86/machine/cpu.h"

#define FXSAVE_BYTES 512
#define FXSAVE_FCW   0     /* u16: control word */
#define FXSAVE_MXCSR 24    /* u32 */
#define XSAVE_HEADER 512   /* u64 XSTATE_BV: which parts are not in their initial state */
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
