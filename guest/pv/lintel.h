/* SPDX-License-Identifier: MIT */
/*
 * lintel's calls, for kernels that run under it: copy this header and lintel.c into yours. Freestanding C,
 * 32 or 64 bits; no state but the choice of the instruction. What the calls do: docs/abi.md. From ring 0 of
 * protected or long mode, on any CPU, in any context.
 *
 *     if (lintel_available() && lintel_has(LINTEL_FEATURE_CONSOLE_WRITE))
 *         lintel_call2(LINTEL_CALL_CONSOLE_WRITE, physical_address, bytes);
 */
#ifndef LINTEL_H
#define LINTEL_H

#include <stdbool.h>
#include <stdint.h>

#define LINTEL_CALL_BASE          0x4c540000u
#define LINTEL_CALL_RANGE         0xffffu                 /* numbers BASE to BASE + RANGE are lintel's */
#define LINTEL_CALL_VERSION       (LINTEL_CALL_BASE + 0)  /* -> LINTEL_ABI_VERSION or later */
#define LINTEL_CALL_FEATURES      (LINTEL_CALL_BASE + 1)  /* word -> LINTEL_FEATURE bits of that word */
#define LINTEL_CALL_CONSOLE_WRITE (LINTEL_CALL_BASE + 2)  /* physical address, bytes -> bytes, or an error */
#define LINTEL_CALL_YIELD         (LINTEL_CALL_BASE + 3)  /* -> 0 */
#define LINTEL_CALL_CPU_ON        (LINTEL_CALL_BASE + 4)  /* vCPU, entry, EBX there -> 0, or an error */
#define LINTEL_CALL_CPU_OFF       (LINTEL_CALL_BASE + 5)  /* -> 0, when the operator starts it again */
#define LINTEL_CALL_CPU_STATE     (LINTEL_CALL_BASE + 6)  /* vCPU -> LINTEL_CPU_*, or an error */
#define LINTEL_CALL_SYSTEM_OFF    (LINTEL_CALL_BASE + 7)  /* does not return */
#define LINTEL_CALL_SYSTEM_RESET  (LINTEL_CALL_BASE + 8)  /* does not return */
#define LINTEL_CALL_P2M_MAP       (LINTEL_CALL_BASE + 9)  /* physical address -> entries, or an error */
#define LINTEL_CALL_P2M_UNMAP     (LINTEL_CALL_BASE + 10) /* -> 0, or an error */

#define LINTEL_ABI_VERSION 0x10001 /* major << 16 | minor */

#define LINTEL_FEATURE_CONSOLE_WRITE 0 /* numbers of bits: 32 to a word */
#define LINTEL_FEATURE_YIELD         1
#define LINTEL_FEATURE_CPU_POWER     2 /* CPU_ON, CPU_OFF, CPU_STATE */
#define LINTEL_FEATURE_SYSTEM_POWER  3 /* SYSTEM_OFF, SYSTEM_RESET */
#define LINTEL_FEATURE_P2M           4 /* P2M_MAP, P2M_UNMAP: the operator has allowed it */

enum lintel_cpu { LINTEL_CPU_OFF, LINTEL_CPU_ON, LINTEL_CPU_PENDING };

#define LINTEL_CONSOLE_MAX 4096

/* What P2M_MAP shows: 8 bytes per guest frame, a machine frame, or with this bit the same as the guest's. */
#define LINTEL_P2M_MISSING  (~0ull) /* a hole, RAM not given yet, or all of 2 MiB is identity */
#define LINTEL_P2M_IDENTITY (1ull << 62)

/* Errors are negative. */
#define LINTEL_EPERM       1    /* not from ring 0 of protected or long mode; not allowed to this VM */
#define LINTEL_ENOENT      2    /* not mapped */
#define LINTEL_EFAULT      14   /* the range is not all RAM */
#define LINTEL_EBUSY       16   /* RAM or a device is there */
#define LINTEL_EINVAL      22   /* more than LINTEL_CONSOLE_MAX; no such vCPU; beyond 4 GiB */
#define LINTEL_ENOSYS      38   /* no such call */
#define LINTEL_EALREADY    114  /* the vCPU is on */
#define LINTEL_EINPROGRESS 115  /* ... or about to be */
#define LINTEL_KVM_ENOSYS  1000 /* the same, outside lintel's numbers, under KVM's signature */

/* CPUID. Leaf SIGNATURE has `LinuxPVLinux` in EBX, ECX, EDX; bit 0 of FEATURES' EAX: ports need no delays. */
#define LINTEL_CPUID_SIGNATURE   0x40000002u
#define LINTEL_CPUID_FEATURES    0x40000003u
#define LINTEL_CPUID_TIMING      0x40000010u /* EAX: TSC kHz, EBX: local APIC timer kHz */
#define LINTEL_CPUID_NO_IO_DELAY 1u

/* Either instruction works on every CPU: lintel rewrites the wrong one where it stands, at its first use. */
enum lintel_instruction { LINTEL_VMCALL, LINTEL_VMMCALL };

/* Does lintel run under this kernel, and show it? A VM with personality none does not. */
bool lintel_available(void);
/* Which of the two instructions calls use from now on. Until told: the one of the CPU's vendor. */
void lintel_choose(enum lintel_instruction instruction);
/* Is this LINTEL_FEATURE there? Only where lintel_available. */
bool lintel_has(unsigned feature);

/* The call with these arguments: its result, or a negative error. Keeps every other register. */
intptr_t lintel_call4(uintptr_t number, uintptr_t a, uintptr_t b, uintptr_t c, uintptr_t d);

static inline intptr_t lintel_call3(uintptr_t number, uintptr_t a, uintptr_t b, uintptr_t c)
{
    return lintel_call4(number, a, b, c, 0);
}

static inline intptr_t lintel_call2(uintptr_t number, uintptr_t a, uintptr_t b)
{
    return lintel_call4(number, a, b, 0, 0);
}

static inline intptr_t lintel_call1(uintptr_t number, uintptr_t a)
{
    return lintel_call4(number, a, 0, 0, 0);
}

static inline intptr_t lintel_call0(uintptr_t number)
{
    return lintel_call4(number, 0, 0, 0, 0);
}

#endif
